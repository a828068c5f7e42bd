"""Reading and writing run beside computing: on threads of their own, in the order of the keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows


class Beside:
    """Work of one bundle on threads beside the bundle's own; results come in the order of work.

    Pieces of work are under way while their caller goes on with the result of an earlier one. A
    bundle that is finished has called `rest`: nothing is left open behind what Beam commits.

    Attributes:
      at_once: how many pieces may be under way.
    """

    def __init__(self, at_once: int = 1):
        self.at_once = at_once
        self._pool = ThreadPoolExecutor(at_once)
        self._open: deque[Future] = deque()

    def do(self, work: Callable, *args: Any) -> Iterator[Any]:
        """Begin a piece of work, then hand on the oldest result if more than `at_once` are open.

        Raises:
          Exception: what that work raised.
        """
        self._open.append(self._pool.submit(work, *args))
        if len(self._open) > self.at_once:
            yield self._open.popleft().result()

    def rest(self) -> Iterator[Any]:
        """What `do` has not handed on yet, once it is done; see there."""
        with self._pool:
            while self._open:
                yield self._open.popleft().result()


def at_the_end(result: Any) -> Any:
    """A result as `finish_bundle` has to name it; the jobs know one window, that of all time."""
    if isinstance(result, beam.pvalue.TaggedOutput):
        return beam.pvalue.TaggedOutput(result.tag, GlobalWindows.windowed_value(result.value))
    return GlobalWindows.windowed_value(result)
