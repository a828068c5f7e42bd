"""Beam's worker pool and job service, as programs apart from the test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WORKER_POOL = ("apache_beam.runners.worker.worker_pool_main", "--service_port")
JOB_SERVICE = ("apache_beam.runners.portability.local_job_service_main", "--port")


@contextmanager
def beam_service(program: tuple[str, str], log: Path) -> Iterator[str]:
    """HOST:PORT of a service that runs meanwhile; what it says goes to `log`."""
    module, port_flag = program
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The pool starts its workers as `python`, whichever comes first on the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with open(log, "w") as out:
        service = subprocess.Popen(
            [sys.executable, "-m", module, port_flag, str(port)],
            env=os.environ | {"PATH": path},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(port, service, log)
        yield f"127.0.0.1:{port}"
    finally:
        service.terminate()
        try:
            service.wait(20)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()


def _wait_for(port: int, service: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        assert service.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no service at port {port}: {log.read_text()}")
