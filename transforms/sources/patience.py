"""How often, and how slowly, a service is asked again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from transforms.scene import SourceUnavailable

T = TypeVar("T")


class Transient(SourceUnavailable):
    """A failure that may be gone in a moment: 429, 5xx, a timeout, a body cut short."""


def share() -> float:
    """A number from 0 to 1. Unlike `random.random`, it is pickled without its state."""
    return random.random()


@dataclass(frozen=True)
class Patience:
    """Exponential backoff: 0.25, 0.5, 1, 2, 4 s, each with up to as much jitter.

    Attributes:
      attempts: calls of one request before it is given up.
      sleep: waits, s.
      jitter: share of the wait that is added, 0-1; keeps workers from knocking in step.
    """

    attempts: int = 6
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = share

    def __call__(self, call: Callable[[], T]) -> T:
        """What `call` returns, asked again while it raises `Transient`.

        Raises:
          Transient: of the last attempt.
        """
        for attempt in range(self.attempts - 1):
            try:
                return call()
            except Transient:
                self.sleep(0.25 * 2**attempt * (1 + self.jitter()))
        return call()


PATIENCE = Patience()
"""About ten seconds before a service counts as down."""
