"""Measuring: what a pair's pixels say of it, once per tile and pair, before its blocks are fetched.

Metadata are checked against the pixels of a few windows. A scene that contradicts them is put in
quarantine, and its blocks are paired again as if the catalogue did not hold it: the next pass
within reach maps them, and is looked at, too. The shift of the SAR against the optical pass is
measured on the same windows and holds for all blocks of the pair.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
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
from transforms.plan import PairRequest, pair_requests, plan_document, plan_tile
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
    pair: Pair, boxes: Sequence[GeoBox], read: Read, options: PixelOptions
) -> tuple[list[Findings], dict[str, tuple[str, ...]], Shift]:
    """Look at the pixels of a pair.

    Args:
      pair: scenes of both passes.
      boxes: windows of one size.
      read: gives pixels; asked once for each scene and window.
      options: of the pixel arithmetic.

    Returns:
      findings of each scene; reasons of the quarantine by scene id; the shift of a pair that stays.

    Raises:
      SourceUnavailable: from `read`.
      ValueError: a scene cannot be interpreted at all.
    """
    read = _remembering(read)
    found = [inspect_scene(scene, read, list(boxes)) for passed in pair for scene in passed]
    quarantine = {f.scene: f.reasons for f in found if f.reasons and f.nodata <= 1 - JUDGED_FROM}
    if quarantine or not pair.optical or not pair.sar:
        return found, quarantine, UNMEASURED

    def sums_of(box: GeoBox) -> np.ndarray:
        optical = optical_pass(pair.optical, box, read, options)
        clear = (optical.flags & (Quality.CLOUD | Quality.SHADOW)) == 0
        return window_sums(optical.pixels, sar_pass(pair.sar, box, read, options), clear)

    # All is read by now: this is arithmetic, while no block of the pair can begin.
    with ThreadPoolExecutor(len(boxes)) as pool:
        return found, quarantine, resolve(list(pool.map(sums_of, boxes)))


def _remembering(read: Read) -> Read:
    """`read` that asks once per scene and window, for all bands that may be wanted."""
    seen: dict[tuple[str, GeoBox], Raster] = {}

    def give(scene: Scene, box: GeoBox, bands: tuple[str, ...]) -> Raster:
        at = scene.id, box
        if at not in seen:
            seen[at] = read(scene, box, scene_bands(scene))
        raster = seen[at]
        planes = raster.pixels[[raster.bands.index(band) for band in bands]]
        return raster._replace(pixels=planes, bands=bands)

    return give


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
        found, quarantine, shift = measure_pair(pair, boxes, read or source.read, options)
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
    """

    root: str
    grid: Grid
    rule: PairRule
    source: ImagerySource
    options: PixelOptions

    def expand(self, pairs):
        measure = _MeasurePair(self.root, self.grid, self.rule, self.source, self.options)
        return pairs | "Look" >> beam.ParDo(measure).with_outputs(FAILED, main="requests")


@dataclass
class _MeasurePair(beam.DoFn):
    root: str
    grid: Grid
    rule: PairRule
    source: ImagerySource
    options: PixelOptions

    def setup(self):
        self._read = counted(self.source.read, "measure")
        self._quarantined = Metrics.counter("measure", "scenes in quarantine")
        self._replaced = Metrics.counter("measure", "blocks on another pass")
        self._shifted = Metrics.counter("measure", "pairs shifted")

    def process(self, element: tuple[BlockKey, PairRequest]) -> Iterator:
        _, request = element
        waiting = [request]
        while waiting:
            request = waiting.pop(0)
            with_what = self.grid, self.rule, self.source, self.options, self._read
            try:
                outcome = measured(self.root, request, *with_what)
            except (SourceUnavailable, ValueError) as error:
                # What was not looked at is not used: these blocks wait for the next run.
                for key in request.todo:
                    yield beam.pvalue.TaggedOutput(FAILED, Failure.of(key, "measure", error))
                continue
            waiting += outcome.instead
            self._quarantined.inc(len(outcome.quarantine))
            self._replaced.inc(sum(len(stand_in.todo) for stand_in in outcome.instead))
            self._shifted.inc(int(outcome.measured.shift.applies))
            for key in outcome.keys:
                yield key, outcome.measured


def counted(read: Read, namespace: str) -> Read:
    """`read` that counts itself, its bytes and its time."""
    reads = Metrics.counter(namespace, "reads")
    count = Metrics.counter(namespace, "bytes read")
    milliseconds = Metrics.distribution(namespace, "read ms")

    def give(*args) -> Raster:
        start = time.monotonic()
        raster = read(*args)
        milliseconds.update(int(1000 * (time.monotonic() - start)))
        reads.inc()
        count.inc(raster.pixels.nbytes)
        return raster

    return give
