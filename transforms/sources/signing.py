"""Signed addresses: a token per storage container, fetched when it is needed, kept in memory only.

The protocol is that of the Planetary Computer's data authentication API: a GET of
{signing_url}/{account}/{container} answers {"token": "...", "msft:expiry": "2024-06-15T10:30:00Z"};
the token is the query of a signed address. Tokens die within the hour.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import requests

from transforms.scene import SourceUnavailable
from transforms.sources.patience import Patience, Transient
from transforms.sources.presets import Catalog

MARGIN = timedelta(minutes=5)
"""A token that dies sooner is not used for another read."""

KEY_VARIABLE = "PC_SDK_SUBSCRIPTION_KEY"
"""Optional; with a key the service allows more requests. The name is the vendor's SDK's."""


class Signer:
    """Signs the hrefs of a catalogue's assets.

    Attributes:
      catalog: says where tokens come from and which hosts get them.
      patience: with the token service.
      now: the time, UTC.
      timeout: of a request, s.
    """

    def __init__(
        self, catalog: Catalog, patience: Patience, now: Callable[[], datetime], timeout: float
    ):
        self.catalog, self.patience, self.now, self.timeout = catalog, patience, now, timeout
        self._tokens: dict[str, tuple[str, datetime]] = {}
        self._lock = threading.Lock()

    def sign(self, href: str) -> str:
        """The href with a token that is good for a while.

        Raises:
          SourceUnavailable: the token service does not give one.
        """
        with self._lock:  # so that threads do not ask for the same one side by side
            token, expiry = self._tokens.get(_container(href), ("", None))
            if expiry is None or self.now() >= expiry - MARGIN:
                token, expiry = self.patience(lambda: self._fetch(_container(href)))
                self._tokens[_container(href)] = token, expiry
        return f"{href}{'&' if '?' in href else '?'}{token}"

    def forget(self, signed: str) -> None:
        """Drop the token of an address that was refused, unless it was replaced meanwhile."""
        with self._lock:
            token, _ = self._tokens.get(_container(signed), ("", None))
            if token and signed.endswith(token):
                del self._tokens[_container(signed)]

    def _fetch(self, container: str) -> tuple[str, datetime]:
        url = f"{self.catalog.signing_url}/{container}"
        key = os.environ.get(KEY_VARIABLE)
        headers = {"Ocp-Apim-Subscription-Key": key} if key else {}
        try:
            answer = requests.get(url, headers=headers, timeout=self.timeout)
            status, document = answer.status_code, answer.json() if answer.ok else {}
        except (requests.RequestException, ValueError) as error:
            raise Transient(f"token service {url} cannot be read: {error}") from error
        if status == 429 or status >= 500:
            raise Transient(
                f"token service {url} answers {status}", answer.headers.get("Retry-After")
            )
        try:
            return document["token"], datetime.fromisoformat(document["msft:expiry"])
        except (KeyError, ValueError) as error:
            raise SourceUnavailable(
                f"token service {url} answers {status} without token and msft:expiry; see whether "
                f"{KEY_VARIABLE} holds a valid key and the container is one of the catalogue's"
            ) from error


def is_signed(catalog: Catalog, href: str) -> bool:
    """Whether the href lies on the hosts whose files need a token."""
    parts = urlsplit(href)
    web = parts.scheme in ("http", "https")
    return web and (parts.hostname or "").endswith(catalog.signed_host)


def _container(href: str) -> str:
    """ "account/container" of https://account.blob.core.windows.net/container/path."""
    parts = urlsplit(href)
    return f"{(parts.hostname or '').split('.')[0]}/{parts.path.strip('/').split('/')[0]}"
