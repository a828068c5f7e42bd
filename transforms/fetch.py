"""Fetching: the scenes of a block become its chips, and the chips a shard of the chip cube."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import apache_beam as beam
import zarr
from apache_beam.metrics import Metrics

from model.inputs import InputSpec
from transforms.beside import Beside, at_the_end
from transforms.chips import OPEN_CUBES, open_chip_cube, write_chips
from transforms.failures import FAILED, Failure
from transforms.grid import BlockKey, Grid, TileIndex
from transforms.here import Here
from transforms.measure import CountedReads, Measured
from transforms.pixels.chip import Chips
from transforms.pixels.pairing import PairRule
from transforms.pixels.prepare import PixelOptions, prepare_block
from transforms.scene import ImagerySource, SourceUnavailable
from transforms.store import storage_errors

WRITERS = 2
"""Blocks of a bundle that are written at a time: one compresses while another waits for storage."""


@dataclass
class FetchBlocks(beam.PTransform):
    """(BlockKey, Measured) -> (BlockKey, Here[Chips]), and failures.

    Attributes:
      source: where pixels are read.
      grid: processing grid.
      rule: the target date from which ages count.
      options: of the pixel arithmetic.
      at_once: how many blocks of a bundle are read and prepared at a time.
    """

    source: ImagerySource
    grid: Grid
    rule: PairRule
    options: PixelOptions
    at_once: int = 1

    def expand(self, requests):
        fetch = _FetchBlock(self.source, self.grid, self.rule, self.options, self.at_once)
        return requests | "Prepare" >> beam.ParDo(fetch).with_outputs(FAILED, main="chips")


@dataclass
class _FetchBlock(beam.DoFn):
    source: ImagerySource
    grid: Grid
    rule: PairRule
    options: PixelOptions
    at_once: int

    def setup(self):
        self._read = CountedReads(self.source.read, "fetch")

    def start_bundle(self):
        self._beside = Beside(self.at_once)

    def process(self, element: tuple[BlockKey, Measured]) -> Iterator:
        yield from self._counted(self._beside.do(self._prepare, *element))

    def finish_bundle(self) -> Iterator:
        yield from map(at_the_end, self._counted(self._beside.rest()))

    def _prepare(
        self, key: BlockKey, measured: Measured
    ) -> tuple[BlockKey, Here[Chips]] | beam.pvalue.TaggedOutput:
        given = measured.pair, self.rule.target, self.grid, self._read, self.options
        try:
            return key, Here(prepare_block(key, *given, measured.shift))
        except (SourceUnavailable, ValueError) as error:
            # A scene that cannot be used is its block's failure, not the job's.
            return beam.pvalue.TaggedOutput(FAILED, Failure.of(key, "fetch", error))

    def _counted(self, results: Iterator) -> Iterator:
        for result in results:
            self._read.count()
            yield result


@dataclass
class WriteChips(beam.PTransform):
    """(BlockKey, Here[Chips]) -> BlockKey, once the block is in its tile's cube; and failures.

    Attributes:
      root: the run's folder, which holds the cubes already.
      grid: processing grid.
      inputs: bands of the cubes.
    """

    root: str
    grid: Grid
    inputs: InputSpec

    def expand(self, chips):
        write = _WriteChips(self.root, self.grid, self.inputs)
        return chips | "Write shard" >> beam.ParDo(write).with_outputs(FAILED, main="written")


@dataclass
class _WriteChips(beam.DoFn):
    """Writes blocks while the next ones are read."""

    root: str
    grid: Grid
    inputs: InputSpec

    def setup(self):
        self._cube = lru_cache(OPEN_CUBES)(self._open)
        self._written = Metrics.counter("fetch", "blocks written")

    def start_bundle(self):
        self._beside = Beside(WRITERS)

    def process(self, element: tuple[BlockKey, Here[Chips]]) -> Iterator:
        key, chips = element
        yield from map(self._counted, self._beside.do(self._write, key, chips.value))

    def finish_bundle(self) -> Iterator:
        yield from map(at_the_end, map(self._counted, self._beside.rest()))

    def _write(self, key: BlockKey, chips: Chips) -> BlockKey | beam.pvalue.TaggedOutput:
        try:
            write_chips(self._cube(key.tile), self.grid, self.inputs, key, chips)
        except storage_errors() as error:
            # What storage refuses is this block's failure; without its seal it is not complete.
            return beam.pvalue.TaggedOutput(FAILED, Failure.of(key, "write chips", error))
        return key

    def _counted(self, result: BlockKey | beam.pvalue.TaggedOutput):
        # On the bundle's own thread, the only one where Beam counts.
        if isinstance(result, BlockKey):
            self._written.inc()
        return result

    def _open(self, tile: TileIndex) -> zarr.Group:
        return open_chip_cube(self.root, tile, self.grid, self.inputs)
