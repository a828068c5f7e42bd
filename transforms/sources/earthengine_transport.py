"""How requests to Earth Engine travel: credentials, connections, and which failures may pass."""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from transforms.sources.patience import Transient

PROCESS_REQUESTS = 10
"""Concurrent requests, and connections, of one process."""

SCOPES = (
    "https://www.googleapis.com/auth/earthengine",
    "https://www.googleapis.com/auth/cloud-platform",
)

_BUSY = {408, 429, 500, 502, 503, 504}
"""HTTP answers that may differ next time."""


class Settings(NamedTuple):
    """What the process-wide client is initialised with."""

    project: str  # of Google Cloud, registered for Earth Engine
    key: str = ""  # path of a service account's key file
    url: str = ""  # of the service; empty: the high-volume endpoint
    anonymous: bool = False  # no credentials: for stand-ins
    deadline: float = 300.0  # of one request, s: as long as Earth Engine itself computes


class Refused(Exception):
    """The service answered, and would answer the same again."""


class Transport:
    """Pooled connections with a deadline, as googleapiclient calls them (httplib2's interface).

    The library's own transport has neither a deadline while it initialises nor a pool that fits.
    """

    def __init__(self, deadline: float):
        import requests

        self._deadline = deadline
        self._session = requests.Session()
        pool = requests.adapters.HTTPAdapter(pool_maxsize=PROCESS_REQUESTS)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, pool)

    def request(
        self, uri, method="GET", body=None, headers=None, redirections=None, connection_type=None
    ):
        """(httplib2.Response, bytes).

        Raises:
          Transient: the answer is JSON that was cut short.
          requests.RequestException: no answer, or not all of it.
        """
        import httplib2

        answer = self._session.request(
            method, uri, data=body, headers=headers, timeout=self._deadline
        )
        if answer.ok and answer.headers.get("Content-Type", "").startswith("application/json"):
            try:
                json.loads(answer.content)
            except ValueError as error:
                # The library would take what it cannot parse for a string.
                size = len(answer.content)
                raise Transient(f"answer of {size} bytes is no whole JSON: {error}") from error
        fields = {**answer.headers, "status": str(answer.status_code)}
        return httplib2.Response(fields), answer.content


def credentials_of(ee, settings: Settings):
    """Anonymous, a service account's, or those of `earthengine authenticate` or of the machine.

    Raises:
      ValueError: there are none, or the key file is none; says what to do.
    """
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import DefaultCredentialsError
    from google.oauth2.service_account import Credentials

    if settings.anonymous:
        return AnonymousCredentials()
    if settings.key:
        try:
            return Credentials.from_service_account_file(settings.key, scopes=SCOPES)
        except (OSError, ValueError) as error:
            # Neither chained nor quoted: what it says may hold a part of the key.
            raise ValueError(
                f"source earthengine: {settings.key} is no readable key file of a service account "
                f"({type(error).__name__}); download one in JSON, and give its path on the workers"
            ) from None
    try:
        if os.path.exists(ee.oauth.get_credentials_path()):
            return ee.data.get_persistent_credentials()
        # Not by the library: it asks for no scopes, without which service accounts get no token.
        return google.auth.default(scopes=SCOPES)[0]
    except (ee.EEException, DefaultCredentialsError):
        raise ValueError(
            "source earthengine: no credentials; run `earthengine authenticate`, or `gcloud auth "
            "application-default login`, or give a service account's key=FILE"
        ) from None


def transport_errors() -> tuple[type[Exception], ...]:
    """What a call of the client library raises, besides its own exception."""
    from google.auth.exceptions import GoogleAuthError
    from googleapiclient.errors import Error
    from requests import RequestException

    return Error, RequestException, GoogleAuthError


def failure_of(error: Exception) -> Transient | Refused:
    """Whether another try may help, told by what the service answered."""
    from google.auth.exceptions import GoogleAuthError
    from googleapiclient.errors import HttpError
    from requests import RequestException

    # The library's exception has the text alone; the answer that it was made of is its context.
    answer = error if isinstance(error, HttpError) else error.__context__
    if isinstance(answer, HttpError):
        reason = f"HTTP {answer.resp.status}: {answer.reason or error}"
        if answer.resp.status in _BUSY:
            return Transient(reason, answer.resp.get("retry-after"))
        return Refused(reason)
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, RequestException):
        return Transient(reason)
    if isinstance(error, GoogleAuthError) and error.retryable:
        return Transient(reason)
    return Refused(reason)


def advice(reason: str) -> str:
    """What to do about a refusal."""
    if "has not been used in project" in reason or "disabled" in reason:
        return (
            "enable the Earth Engine API of the project, "
            "https://console.cloud.google.com/apis/library/earthengine.googleapis.com"
        )
    if "not registered" in reason:
        return "register the project, https://console.cloud.google.com/earth-engine"
    return (
        "check the project's name, that it is registered for Earth Engine, and that the account "
        "may use it (roles Earth Engine Resource Viewer and Service Usage Consumer)"
    )
