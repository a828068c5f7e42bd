"""How often, and how slowly, a service that is busy, not wrong, is asked again.

Retries belong to the sources, and to nobody else: tries of several floors would multiply.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

from transforms.scene import SourceUnavailable

T = TypeVar("T")

LONGEST_RETRY_AFTER = 600.0
"""What a service may ask for, s: a longer wait would look like a worker that hangs."""


class Transient(SourceUnavailable):
    """A failure that may be gone in a moment: 429, 5xx, a timeout, a body cut short.

    Attributes:
      retry_after: what the service asked for in its `Retry-After` header, if it did.
    """

    def __init__(self, reason: str, retry_after: str | None = None):
        super().__init__(reason)
        self.retry_after = retry_after


def share() -> float:
    """A number in [0, 1). `random.random` itself is pickled with its state: every worker of a job
    would draw the same waits."""
    return random.random()


@dataclass(frozen=True)
class Patience:
    """Exponential backoff: waits of `first`, twice, four times as long, ..., with jitter.

    Attributes:
      attempts: calls of one request before it is given up.
      first: wait after the first failure, s, without jitter.
      longest: wait that is never exceeded by the doubling, s, without jitter.
      sleep: waits for as many seconds.
      jitter: share of the wait that is added, 0-1; keeps workers from knocking in step.
      clock: seconds since 1970, for a `Retry-After` that names a date.
    """

    attempts: int = 6
    first: float = 0.25
    longest: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = share
    clock: Callable[[], float] = time.time

    def __call__(self, call: Callable[[], T]) -> T:
        """What `call` returns, asked again while it raises `Transient`.

        Raises:
          SourceUnavailable: no attempt succeeded; it is not `Transient`, so that whoever called
            this patiently does not ask as often again.
        """
        for attempt in range(self.attempts):
            try:
                return call()
            except Transient as error:
                if attempt == self.attempts - 1:
                    raise SourceUnavailable(
                        f"{error}; given up after {self.attempts} attempts"
                    ) from error
                self.sleep(self.wait(attempt, error.retry_after))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def wait(self, attempt: int, retry_after: str | None = None) -> float:
        """Seconds to wait after the failure of `attempt`, counted from 0."""
        usual = min(self.first * 2**attempt, self.longest)
        return max(usual, self._asked(retry_after)) + usual * self.jitter()

    def _asked(self, retry_after: str | None) -> float:
        """Seconds of a `Retry-After` header, RFC 9110: a number or a date; 0 if unreadable."""
        text = (retry_after or "").strip()
        if text.isdigit():
            seconds = float(text)
        else:
            try:
                seconds = parsedate_to_datetime(text).timestamp() - self.clock()
            except ValueError:
                seconds = 0.0
        return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


PATIENCE = Patience()
"""About ten seconds before a service counts as down."""
