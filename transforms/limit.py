"""A cap on how many elements are worked on at once, for the sake of a service behind them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import apache_beam as beam

from transforms.grid import BlockKey

AT_ONCE = 4
"""Reads that a lane has under way: while one is waited for or decoded, another is converted."""


def lane(element: tuple[BlockKey, Any], lanes: int, at_once: int = 1) -> int:
    """The lane of an element: equal on every worker and in every run, unlike `hash`.

    The blocks of a tile are dealt out from a lane that the tile decides, as many neighbours at a
    time as a lane works on at once: they share tiles of files. Drawn lots would leave some lanes
    half as long again as others, and a job ends with its longest.
    """
    key = element[0]
    return (crc32(str(key.tile).encode()) + (10 * key.row + key.col) // at_once) % lanes


@dataclass
class LimitConcurrency(beam.PTransform):
    """At most `most` elements (BlockKey, value) are processed at a time downstream.

    Elements are grouped by lane, and what comes next works on `at_once` elements of a lane at a
    time, so that the service, not the size of the cluster, sets the pace. The shuffle carries
    requests, never pixels.

    Attributes:
      most: how many elements may be in flight.
      at_once: how many of them one lane has in flight, `most` at most.
    """

    most: int
    at_once: int = 1

    def expand(self, elements):
        how = self.most // self.at_once, self.at_once
        return (
            elements
            | "Lane" >> beam.Map(lambda element, *how: (lane(element, *how), element), *how)
            | "Group" >> beam.GroupByKey()
            # Not sorted: a lane of a continent would have to be held in memory for it.
            | "One by one" >> beam.FlatMap(_elements)
        )


def _elements(group: tuple[int, Iterable]) -> Iterable:
    return group[1]
