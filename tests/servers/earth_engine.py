"""A stand-in for Earth Engine's REST API that the real client library talks to over HTTP.

    with EarthEngineServer() as server:
        source = EarthEngineSource(Settings("test-project", url=server.url, anonymous=True))

Discovery document and algorithms are those that the library brings for its own tests.
"""

from __future__ import annotations

import io
import json
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import NamedTuple

import numpy as np

from tests.servers.earth_engine_archive import PlanetArchive
from tests.servers.earth_engine_expressions import Evaluator, Layer, Refused
from transforms.grid import GeoBox

LIMIT = 50331648  # bytes of one answer, mask included

BUSY = {
    "429": (429, "Too many concurrent aggregations.", {}),
    "500": (500, "An internal error has occurred.", {}),
    "503": (503, "The service is currently unavailable.", {"Retry-After": "7"}),
}
TOKEN = "stand-in-token"  # what a service account's key is exchanged for at /token
FAULTS = (*BUSY, "timeout", "truncated", "cut short")


class Request(NamedTuple):
    """What was asked for, and what went wrong on purpose."""

    kind: str  # "discovery", "algorithms", "search", "pixels" or "token"
    body: dict
    headers: dict[str, str]  # names in lower case
    fault: str = ""
    layers: tuple[Layer, ...] = ()  # of "pixels"

    @property
    def bands(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)


@dataclass
class Faults:
    """Which requests go wrong: a share of all, drawn by seed in the order of arrival.

    Attributes:
      share: 0 to 1.
      seed: of the draw.
      kinds: some of FAULTS.
      hold: how long a "timeout" keeps its client waiting, s.
    """

    share: float = 0.0
    seed: int = 0
    kinds: tuple[str, ...] = FAULTS
    hold: float = 5.0
    _random: random.Random = field(init=False)

    def __post_init__(self):
        self._random = random.Random(self.seed)

    def draw(self) -> str:
        return self._random.choice(self.kinds) if self._random.random() < self.share else ""


class EarthEngineServer:
    """Serves an archive on a free port of 127.0.0.1 between `with` and its end.

    Attributes:
      archive: has `images(collection, bounds, period)` and `plane(image, band, geobox)`.
      faults: what goes wrong; may be exchanged while the server runs.
      refusal: (status, message) that everything but discovery is answered with, if given.
      requests: all that arrived, in order.
    """

    def __init__(self, archive=None, faults: Faults | None = None):
        self.archive = archive or PlanetArchive()
        self.faults = faults or Faults()
        self.refusal: tuple[int, str] | None = None
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (_Handler,), {"ee": self}))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> EarthEngineServer:
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def reset(self) -> None:
        """As at the start: a calm service, the default planet, nothing counted."""
        self.archive, self.faults, self.refusal = PlanetArchive(), Faults(), None
        self.requests.clear()

    def count(self, kind: str) -> int:
        return sum(r.kind == kind for r in self.requests)

    def of(self, kind: str) -> list[Request]:
        return [r for r in self.requests if r.kind == kind]

    def draw(self) -> str:
        with self._lock:
            return self.faults.draw()

    def answer(self, kind: str, body: dict) -> tuple[bytes, tuple[Layer, ...]]:
        """The answer to a request, and the layers that it holds, if any. Raises Refused."""
        if kind == "token":
            return json.dumps({"access_token": TOKEN, "expires_in": 3600}).encode(), ()
        if kind == "discovery":
            return discovery(self.url), ()
        if kind == "algorithms":
            return algorithms(), ()
        result = Evaluator(self.archive, body["expression"]).result()
        if kind == "search":
            return json.dumps({"result": result}).encode(), ()
        return pixels(result, body), tuple(result)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ee: EarthEngineServer

    def do_GET(self):
        self._serve("discovery" if "discovery" in self.path else "algorithms")

    def do_POST(self):
        kinds = {"value:compute": "search", "image:computePixels": "pixels", "/token": "token"}
        self._serve(next(kind for path, kind in kinds.items() if path in self.path))

    def _serve(self, kind: str) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(text) if text.startswith(b"{") else {}
        request = Request(
            kind, body, {k.lower(): v for k, v in self.headers.items()}, self.ee.draw()
        )
        try:
            if self.ee.refusal and kind != "discovery":
                self.ee.requests.append(request)
                return self._send_error(*self.ee.refusal)
            content, layers = self.ee.answer(kind, body)
        except Refused as error:
            self.ee.requests.append(request)
            return self._send_error(400, str(error))
        self.ee.requests.append(request._replace(layers=layers))
        fault = request.fault
        if fault in BUSY:
            self._send_error(*BUSY[fault])
        elif fault == "timeout":
            self.ee.closing.wait(self.ee.faults.hold)
            self.close_connection = True
        elif fault == "truncated":
            self._send(200, content[: len(content) // 2], {}, announced=len(content))
            self.close_connection = True
        else:
            self._send(200, content[: len(content) // 2] if fault else content, {})

    def _send_error(self, status: int, message: str, headers: dict | None = None) -> None:
        error = {"error": {"code": status, "message": message}}
        self._send(status, json.dumps(error).encode(), headers or {})

    def _send(self, status: int, content: bytes, headers: dict, announced: int = 0) -> None:
        self.send_response(status)
        binary = content.startswith(b"\x93NUMPY")
        media = "application/octet-stream" if binary else "application/json"
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(announced or len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args) -> None:
        """Tests read `requests`, not the console."""


def pixels(layers: list[Layer], body: dict) -> bytes:
    """A structured array, one field per layer, as NPY. Raises Refused for what is too large."""
    geobox = geobox_of(body["grid"])
    dtype = np.dtype([(layer.name, layer.dtype) for layer in layers])
    size = geobox.width * geobox.height * (dtype.itemsize + len(layers))
    if size > LIMIT:
        raise Refused(f"Total request size ({size} bytes) must be less than or equal to {LIMIT}.")
    out = np.empty(geobox.shape, dtype)
    for layer in layers:
        out[layer.name] = layer.pixels(geobox)[0]
    buffer = io.BytesIO()
    np.save(buffer, out)
    return buffer.getvalue()


def geobox_of(grid: dict) -> GeoBox:
    affine, size = grid["affineTransform"], grid["dimensions"]
    if affine["scaleX"] != -affine["scaleY"] or affine.get("shearX") or affine.get("shearY"):
        raise Refused(f"The stand-in's grids are north up: {affine}.")
    return GeoBox(
        int(grid["crsCode"].removeprefix("EPSG:")),
        affine["translateX"],
        affine["translateY"],
        affine["scaleX"],
        size["width"],
        size["height"],
    )


def discovery(url: str) -> bytes:
    document = json.loads(_shipped("cloud_api_discovery_document.json"))
    return json.dumps(document | {"rootUrl": url + "/", "baseUrl": url + "/"}).encode()


def algorithms() -> bytes:
    return _shipped("algorithms.json")


@cache
def _shipped(name: str) -> bytes:
    return resources.files("ee.tests").joinpath(name).read_bytes()


def serve() -> Iterator[EarthEngineServer]:
    """For fixtures: `yield from serve()`."""
    with EarthEngineServer() as server:
        yield server
