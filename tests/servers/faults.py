"""A proxy in front of a server that answers some requests with 429 or 503 instead."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit
from zlib import crc32


class Faults:
    """What the proxy saw: requests, and faults by their kind."""

    def __init__(self, share: float, seed: int):
        self.share, self.seed = share, seed
        self.seen: Counter[tuple[str, str]] = Counter()
        self.kinds: Counter[str] = Counter()
        self._lock = threading.Lock()

    def of(self, method: str, path: str) -> str:
        """ "" or a fault; follows from the request and how often it came, not from the order."""
        with self._lock:
            self.seen[method, path] += 1
            text = f"{self.seed} {method} {path} {self.seen[method, path]}"
            draw = crc32(text.encode()) % 10_000
            faulty = draw < 10_000 * self.share
            kind = ("429", "503", "503 after the work was done")[draw % 3] if faulty else ""
            self.kinds[kind] += 1
            return kind


@contextmanager
def faulty_proxy(server: str, share: float, seed: int) -> Iterator[tuple[str, Faults]]:
    """Address of a proxy for `server`, and what it did."""
    host = urlsplit(server).netloc
    faults = Faults(share, seed)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self._body()
            kind = faults.of(self.command, self.path)
            status, headers, answer = int(kind[:3] or 0), [], b'{"error": {"message": "fault"}}'
            if not kind or "after" in kind:
                connection = HTTPConnection(host, timeout=60)
                sent = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
                connection.request(self.command, self.path, body, sent | {"Host": host})
                response = connection.getresponse()
                if not kind:
                    status, headers, answer = response.status, response.getheaders(), None
                data = response.read()
                answer = data if answer is None else answer
                connection.close()
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value.replace(host, self.headers["Host"]))
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = handle_any

        def log_message(self, *args) -> None:
            """Say nothing: every request would be a line."""

    with _serving(Handler) as url:
        yield url, faults


@contextmanager
def refusing(status: int) -> Iterator[str]:
    """Address of a server that answers every request with a status, as Google Cloud words it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = json.dumps({"error": {"code": status, "message": "no such right"}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args) -> None:
            """Say nothing."""

    with _serving(Handler) as url:
        yield url


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}
