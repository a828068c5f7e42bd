"""A STAC API server: rustac, from PyPI, with its in-memory backend."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def stac_api(items: list[dict], folder: Path, public: str | None = None) -> Iterator[str]:
    """Address of an API that holds the items, in the collections that they name.

    Args:
      items: their JSON.
      folder: for what the server loads.
      public: the address that its links have, for a server behind a proxy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name in sorted({item["collection"] for item in items}):
        files.append(folder / f"{name}.collection.json")
        files[-1].write_text(json.dumps(_collection(name)))
    files.append(folder / "items.json")
    files[-1].write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    bind = f"127.0.0.1:{free_port()}"
    address = ["--addr", public, "--bind", bind] if public else ["--addr", bind]
    program = Path(sys.executable).parent / "rustac"
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(
            [program, "serve", *address, *files], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            wait_for(f"http://{bind}/", server)
            yield f"http://{bind}"
        finally:
            server.kill()
            server.wait()


def wait_for(url: str, server: subprocess.Popen) -> None:
    """Until the server answers."""
    for _ in range(500):
        if server.poll() is not None:
            raise RuntimeError(f"{server.args} ended with {server.returncode}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # an answer, too
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"{server.args} does not answer at {url}")


def _collection(name: str) -> dict:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": name,
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2015-01-01T00:00:00Z", None]]},
        },
        "links": [],
    }
