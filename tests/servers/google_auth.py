"""A service account that no one knows: a generated key, and a server that gives it tokens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ACCOUNT = "nobody@test-project.iam.gserviceaccount.com"
TOKEN = "a-token-of-no-one"


class _Tokens(BaseHTTPRequestHandler):
    def do_POST(self):
        answer = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
        body = json.dumps(answer).encode()
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Nothing: the tests look at what was asked, not at lines of a log."""


@contextmanager
def service_account(folder: Path) -> Iterator[Path]:
    """The credentials file of a service account, for GOOGLE_APPLICATION_CREDENTIALS."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Tokens)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path = folder / "service-account.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "test-project",
                "private_key_id": "0",
                "private_key": pem.decode(),
                "client_email": ACCOUNT,
                "client_id": "0",
                "token_uri": f"http://127.0.0.1:{server.server_port}/token",
            }
        )
    )
    try:
        yield path
    finally:
        server.shutdown()
        server.server_close()
