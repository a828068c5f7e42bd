"""Measuring: what a pair's pixels say of it, once per tile and pair, before its blocks are fetched.

Metadata are checked against the pixels of a few windows. A scene that contradicts them is put in
quarantine, and its blocks are paired again as if the catalogue did not hold it: the next pass
within reach maps them, and is looked at, too. The shift of the SAR against the optical pass is
measured on the same windows and holds for all blocks of the pair.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from transforms.failures import FAILED, Failure
from transforms.grid import BlockKey, GeoBox, Grid, TileIndex
from transforms.inspect import Findings, inspect_scene, scene_bands
from transforms.pixels.chip import Quality
from transforms.pixels.coregister import UNMEASURED, Shift, resolve
from transforms.pixels.likeness import window_sums
from transforms.pixels.pairing import Pair, PairRule
from transforms.pixels.prepare import PixelOptions, Read, optical_pass, sar_pass
from transforms.plan import PairRequest, pair_requests, plan_tile
from transforms.plan_file import plan_document
from transforms.scene import ImagerySource, Raster, Scene, SourceUnavailable
from transforms.store import find_json, join, remove, write_json

WINDOWS = 4
"""Blocks of a pair that are looked at, whatever their number: the cost is bounded."""

WINDOW = 512
"""Side of the window in the middle of each of these blocks, px at most."""

JUDGED_FROM = 0.1
"""Share of the windows that a scene has to cover to be judged: an edge is not a scene."""


class Measured(NamedTuple):
    """A pair as its blocks use it."""

    pair: Pair
    shift: Shift


class Outcome(NamedTuple):
    """What came of looking at a pair."""

    measured: Measured
    keys: tuple[BlockKey, ...]  # blocks to do that use it
    instead: tuple[PairRequest, ...] = ()  # pairs that the others use, still to be looked at
    quarantine: tuple[str, ...] = ()  # ids of its scenes that are not used


def sample(blocks: Sequence[BlockKey]) -> list[BlockKey]:
    """Blocks to look at: the middles of equal parts of a pair's blocks, row by row.

    They follow from the plan alone, so every run of it, stopped or not, measures the same.
    """
    count = min(WINDOWS, len(blocks))
    return [blocks[(2 * i + 1) * len(blocks) // (2 * count)] for i in range(count)]


def window(grid: Grid, key: BlockKey) -> GeoBox:
    """The middle of a block, on its pixels."""
    core = grid.core_geobox(key)
    side = min(WINDOW, core.width)
    edge = (core.width - side) // 2 * core.resolution
    return core._replace(x0=core.x0 + edge, y0=core.y0 - edge, width=side, height=side)


def measure_pair(
    pair: Pair, boxes: Sequence[GeoBox], read: Read, options: PixelOptions, at_once: int = 1
) -> tuple[list[Findings], dict[str, tuple[str, ...]], Shift]:
    """Look at the pixels of a pair.

    Args:
      pair: scenes of both passes.
      boxes: windows of one size.
      read: gives pixels; asked once for each scene and window.
      options: of the pixel arithmetic.
      at_once: how many windows are read, and looked at, at a time.

    Returns:
      findings of each scene; reasons of the quarantine by scene id; the shift of a pair that stays.

    Raises:
      SourceUnavailable: from `read`.
      ValueError: a scene cannot be interpreted at all.
    """
    scenes = [scene for passed in pair for scene in passed]

    def read_all(box: GeoBox) -> dict[tuple[str, GeoBox], Raster]:
        # For all bands that may be wanted: what follows asks for some of them.
        return {(s.id, box): read(s, box, scene_bands(s)) for s in scenes}

    def sums_of(box: GeoBox) -> np.ndarray:
        optical = optical_pass(pair.optical, box, seen, options)
        clear = (optical.flags & (Quality.CLOUD | Quality.SHADOW)) == 0
        return window_sums(optical.pixels, sar_pass(pair.sar, box, seen, options), clear)

    with ThreadPoolExecutor(at_once) as pool:
        seen = _Seen(pool.map(read_all, boxes))
    # All is arithmetic by now, and no block of the pair can begin before its end.
    with ThreadPoolExecutor(min(at_once, os.cpu_count() or 1)) as pool:
        looks = [pool.submit(inspect_scene, scene, seen, list(boxes)) for scene in scenes]
        both = pair.optical and pair.sar
        sums = [pool.submit(sums_of, box) for box in boxes] if both else []
        found = [look.result() for look in looks]
        quarantine = {
            f.scene: f.reasons for f in found if f.reasons and f.nodata <= 1 - JUDGED_FROM
        }
        if quarantine or not both:
            return found, quarantine, UNMEASURED
        return found, quarantine, resolve([s.result() for s in sums])


class _Seen:
    """A `Read` of what was read already: bands of a scene on a window."""

    def __init__(self, read: Iterable[dict[tuple[str, GeoBox], Raster]]):
        self._rasters = {at: raster for window in read for at, raster in window.items()}

    def __call__(self, scene: Scene, box: GeoBox, bands: tuple[str, ...]) -> Raster:
        raster = self._rasters[scene.id, box]
        planes = raster.pixels[[raster.bands.index(band) for band in bands]]
        return raster._replace(pixels=planes, bands=bands)


def record_name(optical: Sequence[str], sar: Sequence[str], after: str = "") -> str:
    """Name of the record of a pair, given the ids of its scenes.

    `after` is the name of the record whose pair it stands in for: that one's blocks and no others
    are its blocks, also where the same pair is the first choice of a neighbour.
    """
    text = "\n".join([*optical, "", *sar, *filter(None, [after])])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def record_url(root: str, tile: TileIndex, name: str) -> str:
    """Where the record of a tile and pair lies: one file, one writer."""
    return join(root, "plan", tile.path, f"{name}.json")


def read_record(root: str, tile: TileIndex, name: str) -> dict | None:
    """What was measured of a tile and pair; None where nothing was."""
    return find_json(record_url(root, tile, name))


def forget_record(root: str, tile: TileIndex, name: str) -> None:
    """Remove what was measured of a pair, and of those that stand in for it."""
    record = read_record(root, tile, name)
    instead = record.get("instead", {"blocks": {}}) if record else {"blocks": {}}
    for ids in instead["blocks"].values():
        if any(ids.values()):
            forget_record(root, tile, record_name(ids["optical"], ids["sar"], after=name))
    remove(record_url(root, tile, name))


def measured(
    root: str,
    request: PairRequest,
    grid: Grid,
    rule: PairRule,
    source: ImagerySource,
    options: PixelOptions,
    read: Read | None = None,
    at_once: int = 1,
) -> Outcome:
    """The pair of a request as its blocks use it: measured now, or as an earlier run measured it.

    Where a scene of it is in quarantine, all of its blocks are paired again by another search.

    Args:
      root: the run's folder, which keeps the record.
      request: the pair and its blocks.
      grid: processing grid.
      rule: which acquisitions may map the target date.
      source: of imagery.
      options: of the pixel arithmetic; with inputs "trust" nothing is read.
      read: gives pixels; the source's own by default.
      at_once: how many windows are read at a time.

    Raises:
      SourceUnavailable, ValueError: see `measure_pair` and `plan_tile`.
    """
    pair, tile = request.pair, request.blocks[0].tile
    if options.inputs == "trust":
        return Outcome(Measured(pair, UNMEASURED), request.todo)
    ids = [[scene.id for scene in scenes] for scenes in pair]
    name = record_name(*ids, request.after)
    url, record = record_url(root, tile, name), read_record(root, tile, name)
    if record is None:
        keys = sample(request.blocks)
        boxes = [window(grid, key) for key in keys]
        found, quarantine, shift = measure_pair(pair, boxes, read or source.read, options, at_once)
        record = {
            "optical": ids[0],
            "sar": ids[1],
            "windows": [str(key) for key in keys],
            "scenes": [f.to_dict() for f in found],
            "quarantine": {name: list(reasons) for name, reasons in quarantine.items()},
            "shift": _plain(shift),
        }
        write_json(url, record)
    if not record["quarantine"]:
        return Outcome(Measured(pair, _shift(record["shift"])), request.todo)
    without = tuple(sorted({*request.without, *record["quarantine"]}))
    earlier = record.get("instead")
    again = plan_tile(tile, request.blocks, grid, rule, source, without, earlier)
    finished = set(request.blocks) - set(request.todo)
    write_json(url, record | {"instead": plan_document(again, earlier, finished)})
    instead = [
        stand_in._replace(after=name, without=without)
        for stand_in in pair_requests(again, finished)
        if stand_in.todo
    ]
    nothing = tuple(r.key for r in again if not any(r.pair) and r.key not in finished)
    empty = Measured(Pair((), ()), UNMEASURED)
    return Outcome(empty, nothing, tuple(instead), tuple(record["quarantine"]))


def _plain(shift: Shift) -> dict | None:
    """A shift as JSON, which knows no NaN; None where none was measured."""
    if not np.isfinite(shift.error):
        return None
    numbers = {name: round(getattr(shift, name), 3) for name in ("dy", "dx", "error", "quality")}
    return shift._asdict() | numbers | {"applied": shift.applies}


def _shift(plain: dict | None) -> Shift:
    # Always by way of the record, so that a run that is gone on with uses the same digits.
    return UNMEASURED if plain is None else Shift(**{f: plain[f] for f in Shift._fields})


@dataclass
class MeasureInputs(beam.PTransform):
    """(BlockKey, PairRequest) -> (BlockKey, Measured) of every block to do, and failures.

    Attributes:
      root: the run's folder.
      grid: processing grid.
      rule: which acquisitions may map the target date.
      source: where pixels are read.
      options: of the pixel arithmetic; with inputs "trust" nothing is read.
      at_once: how many windows of a pair are read, and looked at, at a time.
    """

    root: str
    grid: Grid
    rule: PairRule
    source: ImagerySource
    options: PixelOptions
    at_once: int = 1

    def expand(self, pairs):
        given = self.root, self.grid, self.rule, self.source, self.options, self.at_once
        measure = _MeasurePair(*given)
        return pairs | "Look" >> beam.ParDo(measure).with_outputs(FAILED, main="requests")


@dataclass
class _MeasurePair(beam.DoFn):
    root: str
    grid: Grid
    rule: PairRule
    source: ImagerySource
    options: PixelOptions
    at_once: int

    def setup(self):
        self._read = CountedReads(self.source.read, "measure")
        self._quarantined = Metrics.counter("measure", "scenes in quarantine")
        self._replaced = Metrics.counter("measure", "blocks on another pass")
        self._shifted = Metrics.counter("measure", "pairs shifted")

    def process(self, element: tuple[BlockKey, PairRequest]) -> Iterator:
        _, request = element
        waiting = [request]
        while waiting:
            request = waiting.pop(0)
            with_what = self.grid, self.rule, self.source, self.options, self._read, self.at_once
            try:
                outcome = measured(self.root, request, *with_what)
            except (SourceUnavailable, ValueError) as error:
                # What was not looked at is not used: these blocks wait for the next run.
                for key in request.todo:
                    yield beam.pvalue.TaggedOutput(FAILED, Failure.of(key, "measure", error))
                continue
            finally:
                self._read.count()
            waiting += outcome.instead
            self._quarantined.inc(len(outcome.quarantine))
            self._replaced.inc(sum(len(stand_in.todo) for stand_in in outcome.instead))
            self._shifted.inc(int(outcome.measured.shift.applies))
            for key in outcome.keys:
                yield key, outcome.measured


class CountedReads:
    """`read` that notes its calls, their bytes and their time, on any thread.

    `count` hands them to Beam, on the bundle's own thread: the only one where Beam counts.
    """

    def __init__(self, read: Read, namespace: str):
        self._read = read
        self._noted: deque[tuple[int, int]] = deque()
        self._reads = Metrics.counter(namespace, "reads")
        self._bytes = Metrics.counter(namespace, "bytes read")
        self._milliseconds = Metrics.distribution(namespace, "read ms")

    def __call__(self, *args) -> Raster:
        start = time.monotonic()
        raster = self._read(*args)
        self._noted.append((int(1000 * (time.monotonic() - start)), raster.pixels.nbytes))
        return raster

    def count(self) -> None:
        while self._noted:
            milliseconds, size = self._noted.popleft()
            self._milliseconds.update(milliseconds)
            self._reads.inc()
            self._bytes.inc(size)
