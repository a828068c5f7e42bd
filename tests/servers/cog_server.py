"""A web server of files by range, and what services do to their clients: tokens, keys, faults."""

from __future__ import annotations

import http.client
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    answer: Callable[[_Handler, bytes], Answer | None]

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.answer(body)
        if answer is None:  # the connection breaks
            self.close_connection = True
            return
        status, headers, content = answer
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
            self.close_connection |= len(content) < int(headers.get("Content-Length", 0))

    do_POST = do_HEAD = do_GET

    def log_message(self, *args):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients go away: that is what the tests of timeouts do."""


@contextmanager
def serving(answer: Callable[[_Handler, bytes], Answer | None]) -> Iterator[str]:
    """Address of a server that gives these answers."""
    handler = type("Handler", (_Handler,), {"answer": lambda self, body: answer(self, body)})
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class CogServer:
    """Files of a folder by range, on request only with a token or with keys.

    Tokens are asked for at /token/{account}/{container} and live for `life` of the clock, which
    only moves when a test moves it.

    Attributes:
      folder: what is served.
      needs: "", "token" or the access key that requests have to be signed with.
      requests: status -> count, of files.
      issued: token -> when it dies.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.needs = ""
        self.life = timedelta(minutes=45)
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        self.requests: Counter[int] = Counter()
        self.methods: Counter[str] = Counter()
        self.issued: dict[str, datetime] = {}
        self._numbers = count()

    def now(self) -> datetime:
        return self.time

    def answer(self, handler: _Handler, body: bytes) -> Answer:
        parts = urlsplit(handler.path)
        if parts.path.startswith("/token/"):
            return self._issue()
        status, headers, content = self._file(handler, parts.path, parts.query)
        self.requests[status] += 1
        self.methods[handler.command] += 1
        return status, headers, content

    def _issue(self) -> Answer:
        name, expiry = f"secret{next(self._numbers)}", self.time + self.life
        self.issued[name] = expiry
        document = {"token": f"sv=1&sig={name}", "msft:expiry": expiry.isoformat()}
        return 200, {"Content-Type": "application/json"}, json.dumps(document).encode()

    def _file(self, handler: _Handler, path: str, query: str) -> Answer:
        sig = parse_qs(query).get("sig", [""])[0]
        if self.needs == "token":
            allowed = sig in self.issued and self.time < self.issued[sig]
        else:
            allowed = f"Credential={self.needs}" in handler.headers.get(
                "Authorization", "Credential="
            )
        if not allowed:
            return 403, {}, b"<Error>AuthenticationFailed</Error>"
        file = self.folder / path.lstrip("/")
        if not file.is_file():
            return 404, {}, b""
        data = file.read_bytes()
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        if not found:
            return 200, {"Accept-Ranges": "bytes"}, data
        first, last = int(found[1]), min(int(found[2] or len(data) - 1), len(data) - 1)
        if first >= len(data):
            return 416, {}, b""
        span = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        return 206, span, data[first : last + 1]


class Faults:
    """A proxy that spoils a share of the answers, chosen by seed; no file thrice in a row.

    Attributes:
      target: address that requests are passed on to.
      share: of requests that fail, 0-1.
      kinds: of faults: a status, "drop" (no answer), "hang" (none within the client's time) or
        "truncate" (half a body).
      seen: kind -> how often; "" where the answer was passed on.
    """

    def __init__(self, target: str, kinds: tuple[int | str, ...], share: float, seed: int = 0):
        self.target, self.kinds, self.share = target, kinds, share
        self.random = random.Random(seed)
        self.seen: Counter[int | str] = Counter()
        self.run: Counter[str] = Counter()  # faults in a row
        self.released = threading.Event()

    def answer(self, handler: _Handler, body: bytes) -> Answer | None:
        fault: int | str = ""
        if self.random.random() < self.share and (self.share == 1 or self.run[handler.path] < 2):
            fault = self.random.choice(self.kinds)
        self.run[handler.path] = self.run[handler.path] + 1 if fault else 0
        self.seen[fault] += 1
        if isinstance(fault, int):
            return fault, {}, b"it went wrong"
        if fault == "hang":
            self.released.wait(30)
        if fault in ("drop", "hang"):
            return None
        status, headers, content = self._pass_on(handler, body)
        if fault == "truncate" and content:
            return (
                status,
                headers | {"Content-Length": str(len(content))},
                content[: len(content) // 2],
            )
        return status, headers, content

    def _pass_on(self, handler: _Handler, body: bytes) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(self.target).netloc)
        wanted = ("Range", "Content-Type", "Authorization")
        headers = {k: handler.headers[k] for k in wanted if k in handler.headers}
        connection.request(handler.command, handler.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        kept = ["Content-Range", "Content-Type", "Accept-Ranges"]
        kept += ["Content-Length"] if handler.command == "HEAD" else []
        return answer.status, {k: v for k in kept if (v := answer.headers[k])}, content
