"""Trying again: exponential backoff with jitter for a service that is busy, not wrong."""

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


def uniform() -> float:
    """A number in [0, 1). `random.random` itself is pickled with its state: every worker of a job
    would draw the same waits."""
    return random.random()


class Transient(Exception):
    """A failure that may be gone next time; `retry_after` is what the service asked for."""

    def __init__(self, reason: str, retry_after: str | None = None):
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Backoff:
    """Waits 1, 2, 4, ... seconds, each halved by up to as much jitter, or longer where asked to.

    Attributes:
      attempts: calls before giving up.
      first: wait after the first failure, s.
      longest: wait that is never exceeded by the doubling, s.
      sleep: waits for as many seconds.
      jitter: a number in [0, 1): keeps the workers of a job from knocking in step.
      clock: seconds since 1970, for a `Retry-After` that names a date.
    """

    attempts: int = 6
    first: float = 1.0
    longest: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = uniform
    clock: Callable[[], float] = time.time

    def run(self, what: str, call: Callable[[], T]) -> T:
        """The result of `call`, which is repeated as long as it raises Transient.

        Raises:
          SourceUnavailable: the last attempt failed, too; names `what` and the last reason.
        """
        for attempt in range(self.attempts):
            try:
                return call()
            except Transient as error:
                if attempt == self.attempts - 1:
                    raise SourceUnavailable(
                        f"{what}: {error}; given up after {self.attempts} attempts"
                    ) from error
                self.sleep(self.wait(attempt, error.retry_after))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def wait(self, attempt: int, retry_after: str | None = None) -> float:
        """Seconds to wait after the failure of `attempt`, counted from 0."""
        half = min(self.first * 2**attempt, self.longest) / 2
        return max(half, self._asked(retry_after)) + half * self.jitter()

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
