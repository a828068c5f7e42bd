"""A cap on how many elements are worked on at once, for the sake of a service behind them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import apache_beam as beam

from transforms.grid import BlockKey


def lane(element: tuple[BlockKey, Any], lanes: int) -> int:
    """The lane of an element: equal on every worker and in every run, unlike `hash`.

    The blocks of a tile are dealt out one by one, from a lane that the tile decides: drawn lots
    would leave some lanes half as long again as others, and a job ends with its longest.
    """
    key = element[0]
    return (crc32(str(key.tile).encode()) + 10 * key.row + key.col) % lanes


@dataclass
class LimitConcurrency(beam.PTransform):
    """At most `lanes` elements (BlockKey, value) are processed at a time downstream.

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
            # Not sorted: a lane of a continent would have to be held in memory for it.
            | "One by one" >> beam.FlatMap(_elements)
        )


def _elements(group: tuple[int, Iterable]) -> Iterable:
    return group[1]
