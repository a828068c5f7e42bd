"""Secrets out of sight: what people and files are told holds no signature, password or key."""

from __future__ import annotations

import logging
import os
import re

KEY_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PC_SDK_SUBSCRIPTION_KEY")
"""Environment variables that hold secrets."""

# Links to the console name their project, and nothing else, in the query: without it they lead
# nowhere, and the id of a project is no secret.
_CONSOLE = (
    r"https://console\.cloud\.google\.com/[\w./-]+"
    r"\?project=(?:[a-z][a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9](?=[\s'\")]|$)"
)
_QUERY = re.compile(rf"\b(?!{_CONSOLE})([a-z][a-z0-9+]*://[^\s?'\"]+)\?[^\s'\")]*")
_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+]*://)[^\s/@'\"]*@")
_PRIVATE_KEY = re.compile(r"-----BEGIN[^-]*PRIVATE KEY-----.*?(-----END[^-]*-----|$)", re.DOTALL)


def masked(text: str) -> str:
    """`text` without the queries and passwords of addresses, private keys, and keys of ours.

    The query of a signed address is its signature; what it names is found by the rest.
    """
    text = _PRIVATE_KEY.sub("...", _PASSWORD.sub(r"\1...@", _QUERY.sub(r"\1?...", text)))
    for name in KEY_VARIABLES:
        secret = os.environ.get(name, "")
        if len(secret) >= 8:  # a shorter one would strike out words
            text = text.replace(secret, "...")
    return text


class _Masking(logging.Filter):
    """Strikes secrets out of log records: GDAL names what it could not read."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = masked(record.getMessage()), ()
        return True


_MASKING = _Masking()


def mask_gdal() -> None:
    """Have GDAL's messages masked before anything handles them; a second call changes nothing."""
    for name in ("rasterio._env", "rasterio._err", "rasterio._base", "rasterio._io"):
        logging.getLogger(name).addFilter(_MASKING)
