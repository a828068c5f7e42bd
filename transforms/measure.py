"""Measuring: what a pair's pixels say of it, once per tile and pair, before its blocks are fetched.

Metadata are checked against the pixels of a few windows. A scene that contradicts them is put in
quarantine: its blocks are mapped from what is left of the pair. The shift of the SAR against the
optical pass is measured on the same windows and holds for all blocks of the pair.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from transforms.failures import FAILED, Failure
from transforms.grid import BlockKey, GeoBox, Grid, TileIndex
from transforms.inspect import Findings, inspect_scene, scene_bands
from transforms.pixels.chip import Quality
from transforms.pixels.coregister import UNMEASURED, Shift, resolve, window_sums
from transforms.pixels.pairing import Pair, PairRule
from transforms.pixels.prepare import PixelOptions, Read, optical_pass, sar_pass
from transforms.plan import PairRequest
from transforms.scene import ImagerySource, Raster, Scene, SourceUnavailable
from transforms.store import exists, join, read_json, write_json

WINDOWS = 4
"""Blocks of a pair that are looked at, whatever their number: the cost is bounded."""

WINDOW = 512
"""Side of the window in the middle of each of these blocks, px at most."""

JUDGED_FROM = 0.1
"""Share of the windows that a scene has to cover to be judged: an edge is not a scene."""


class Measured(NamedTuple):
    """A pair as its blocks use it."""

    pair: Pair  # without scenes in quarantine
    shift: Shift


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
      findings of each scene; reasons of the quarantine by scene id; the shift of what is left.

    Raises:
      SourceUnavailable: from `read`.
      ValueError: a scene cannot be interpreted at all.
    """
    read = _remembering(read)
    found = [inspect_scene(scene, read, list(boxes)) for passed in pair for scene in passed]
    quarantine = {f.scene: f.reasons for f in found if f.reasons and f.nodata <= 1 - JUDGED_FROM}
    good = pair.without(quarantine)
    if not good.optical or not good.sar:
        return found, quarantine, UNMEASURED
    sums = []
    for box in boxes:
        optical = optical_pass(good.optical, box, read, options)
        clear = (optical.flags & (Quality.CLOUD | Quality.SHADOW)) == 0
        sums.append(window_sums(optical.pixels, sar_pass(good.sar, box, read, options), clear))
    return found, quarantine, resolve(np.concatenate(sums))


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


def record_url(root: str, tile: TileIndex, optical: Sequence[str], sar: Sequence[str]) -> str:
    """Where the record of a tile and pair lies: one file, one writer."""
    name = hashlib.sha256("\n".join([*optical, "", *sar]).encode()).hexdigest()[:16]
    return join(root, "plan", tile.path, f"{name}.json")


def read_record(
    root: str, tile: TileIndex, optical: Sequence[str], sar: Sequence[str]
) -> dict | None:
    """What was measured of a tile and pair, given the ids of its scenes; None where nothing was."""
    url = record_url(root, tile, optical, sar)
    return read_json(url) if exists(url) else None


def measured(
    root: str, request: PairRequest, grid: Grid, rule: PairRule, read: Read, options: PixelOptions
) -> Measured:
    """The pair of a request as its blocks use it: measured now, or as an earlier run measured it.

    Raises:
      SourceUnavailable, ValueError: see `measure_pair`.
    """
    pair, tile = request.pair, request.blocks[0].tile
    if options.inputs == "trust":
        return Measured(pair, UNMEASURED)
    ids = [[scene.id for scene in scenes] for scenes in pair]
    record = read_record(root, tile, *ids)
    if record is None:
        keys = sample(request.blocks)
        boxes = [window(grid, key) for key in keys]
        found, quarantine, shift = measure_pair(pair, boxes, read, options)
        record = {
            "optical": ids[0],
            "sar": ids[1],
            "windows": [str(key) for key in keys],
            "scenes": [f.to_dict() for f in found],
            "quarantine": {name: list(reasons) for name, reasons in quarantine.items()},
            "shift": _plain(shift),
            "regime": rule.regime(pair.without(quarantine)),
        }
        write_json(record_url(root, tile, *ids), record)
    return Measured(pair.without(record["quarantine"]), _shift(record["shift"]))


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
        self._shifted = Metrics.counter("measure", "pairs shifted")

    def process(self, element: tuple[BlockKey, PairRequest]) -> Iterator:
        _, request = element
        try:
            found = measured(self.root, request, self.grid, self.rule, self._read, self.options)
        except (SourceUnavailable, ValueError) as error:
            # What was not looked at is not used: all blocks of the pair wait for the next run.
            for key in request.todo:
                yield beam.pvalue.TaggedOutput(FAILED, Failure.of(key, "measure", error))
            return
        self._quarantined.inc(sum(map(len, request.pair)) - sum(map(len, found.pair)))
        self._shifted.inc(int(found.shift.applies))
        for key in request.todo:
            yield key, found


def counted(read: Read, namespace: str) -> Read:
    """`read` that counts its bytes and its time."""
    count = Metrics.counter(namespace, "bytes read")
    milliseconds = Metrics.distribution(namespace, "read ms")

    def give(*args) -> Raster:
        start = time.monotonic()
        raster = read(*args)
        milliseconds.update(int(1000 * (time.monotonic() - start)))
        count.inc(raster.pixels.nbytes)
        return raster

    return give
