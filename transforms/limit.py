"""A cap on how many elements are worked on at once, for the sake of a service behind them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import apache_beam as beam


def lane(element: Any, lanes: int) -> int:
    """The lane of an element: equal on every worker and in every run, unlike `hash`."""
    return crc32(str(element[0]).encode()) % lanes


@dataclass
class LimitConcurrency(beam.PTransform):
    """At most `lanes` elements (key, value) are processed at a time downstream.

    Elements are grouped by lane and a lane is worked through one by one, so that the service,
    not the size of the cluster, sets the pace. The shuffle carries requests, never pixels.

    Attributes:
      lanes: how many elements may be in flight.
    """

    lanes: int

    def expand(self, elements):
        return (
            elements
            | "Lane" >> beam.Map(lambda element, n: (lane(element, n), element), self.lanes)
            | "Group" >> beam.GroupByKey()
            | "One by one" >> beam.FlatMap(_in_order)
        )


def _in_order(group: tuple[int, Iterable]) -> list:
    # Grouped values come in any order; sorted, a rerun fetches in the same sequence.
    return sorted(group[1], key=lambda element: element[0])
