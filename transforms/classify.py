"""Classifying: chips of the chip cube become shards of the map cube, by RunInference."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import apache_beam as beam
import numpy as np
import zarr
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference

from model.inputs import InputSpec
from model.legend import LULC6
from model.predict import Prediction, Predictor
from transforms.beside import Beside, at_the_end
from transforms.blend import blend_chips, core_of, cut_edges, is_blended
from transforms.chips import OPEN_CUBES, open_chip_cube, read_chips
from transforms.failures import FAILED, Failure
from transforms.grid import BlockKey, Grid, TileIndex
from transforms.here import Here
from transforms.layers import LAYERS
from transforms.mapcube import MapCube, open_map_cube, unclassified, write_core
from transforms.pixels.chip import Chips, Quality
from transforms.store import storage_errors
from transforms.weights import load_checkpoint

Mapped = tuple[Chips, Prediction, np.ndarray | None]
"""Chips, what the network makes of them, and the probabilities where they are wanted."""


class ChipClassifier(ModelHandler[Here[Chips], Here[Mapped], Predictor]):
    """Runs the network on the chips of one block at a time, in fixed, padded batches.

    A block's result is a function of the block alone: neither the bundle that Beam puts it in nor
    its neighbours can change a byte.

    Args:
      path: of the checkpoint, as the worker sees it; may be a gs:// address.
      device: "cpu" or "cuda".
      threads: of torch per process; None leaves torch's own choice.
      probabilities: whether those of all classes are wanted.
      precision: what the network computes in; a worker that cannot do so fast refuses to start.
    """

    def __init__(
        self,
        path: str,
        device: str = "cpu",
        threads: int | None = None,
        probabilities: bool = False,
        precision: str = "float32",
    ):
        # One block a batch: a failing block then takes no other with it.
        super().__init__(min_batch_size=1, max_batch_size=1)
        self.path = path
        self.device = device
        self.threads = threads
        self.probabilities = probabilities
        self.precision = precision

    def load_model(self) -> Predictor:
        network = load_checkpoint(self.path)
        return Predictor(network, self.device, self.threads, precision=self.precision)

    def run_inference(
        self, batch: Sequence[Here[Chips]], model: Predictor, inference_args: dict | None = None
    ) -> list[Here[Mapped]]:
        return [Here(self._mapped(here.value, model)) for here in batch]

    def _mapped(self, chips: Chips, model: Predictor) -> Mapped:
        if self.probabilities:
            return chips, *model.predict_with_probabilities(chips.optical, chips.sar)
        return chips, model.predict(chips.optical, chips.sar), None

    def get_num_bytes(self, batch: Sequence[Here[Chips]]) -> int:
        # Beam's own way pickles the batch to learn its size.
        return sum(array.nbytes for here in batch for array in here.value)


def map_block(
    mapped: Mapped, grid: Grid, names: Iterable[str], blended: bool
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """What a block leaves in its map cube.

    Args:
      mapped: its chips; with probabilities where the map is blended or shows them.
      grid: processing grid.
      names: of the layers.
      blended: whether chips pass into each other, or end at their borders.

    Returns:
      Layers by name; the edges that are blended with those of the neighbours, None if they are not.
    """
    chips, prediction, probability = mapped
    if not blended:
        return map_layers(names, chips, prediction, grid, probability), None
    block = blend_chips(LULC6.indices(prediction.lulc), probability, grid)
    core = core_of(block, grid.reach)
    layers = {
        name: np.ascontiguousarray(core.layer(name, LULC6)) for name in filter(is_blended, names)
    }
    others = [name for name in names if name not in layers]
    return layers | map_layers(others, chips, prediction, grid), cut_edges(block, grid.reach)


def map_layers(
    names: Iterable[str],
    chips: Chips,
    prediction: Prediction,
    grid: Grid,
    probability: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Layers of one block's core, each chip as it is.

    Args:
      names: of the layers.
      chips: of the block.
      prediction: of these chips.
      grid: processing grid; says which part of a chip is its core.
      probability: (chip, class, y, x) uint8 percent, where those layers are wanted.

    Returns:
      Layer name -> (y, x) of the block's core; dtype and nodata as in `ALL_LAYERS`.
    """
    inner = slice(grid.halo, grid.halo + grid.core_size)
    quality = chips.quality[:, inner, inner]
    ages = {"optical_age": (0, Quality.NO_OPTICAL), "sar_age": (1, Quality.NO_SAR)}
    classes = {f"probability_{c.name}": c.index for c in LULC6.classes}

    def cores(name: str) -> np.ndarray:
        if name in ages:
            sensor, unseen = ages[name]
            age = chips.age[:, sensor, None, None]
            return np.where(quality & np.uint8(unseen), LAYERS[name].nodata, age)
        if name in classes:
            return probability[:, classes[name], inner, inner]
        of = chips if name in Chips._fields else prediction
        return getattr(of, name)[:, inner, inner]

    return {name: _assemble(cores(name), grid) for name in names}


def _assemble(cores: np.ndarray, grid: Grid) -> np.ndarray:
    """(chip, y, x) -> (y, x) of the block."""
    n, size = grid.chips_per_block, grid.core_size
    rows = cores.reshape(n, n, size, size).swapaxes(1, 2)
    return np.ascontiguousarray(rows.reshape(n * size, n * size))


@dataclass
class ListChips(beam.PTransform):
    """TileIndex -> BlockKey of chips that are not classified yet, by two listings a tile.

    Attributes:
      root: the run's folder.
      grid: processing grid.
      only: blocks to be classified; None: all that are not.
    """

    root: str
    grid: Grid
    only: frozenset[BlockKey] | None = None

    def expand(self, tiles):
        return (
            tiles
            | "List" >> beam.FlatMap(unclassified, self.root, self.grid).with_output_types(BlockKey)
            | "Choose" >> beam.Filter(lambda key, only: only is None or key in only, self.only)
            # A tile's hundred keys would else be one worker's: spread the keys, never pixels.
            | "Spread keys" >> beam.Reshuffle()
        )


@dataclass
class ClassifyBlocks(beam.PTransform):
    """BlockKey -> BlockKey, once the block's layers lie in the map cube; and failures.

    Attributes:
      root: the run's folder, which holds the map cubes already.
      grid: processing grid.
      inputs: bands of the chip cubes.
      layers: names of the map layers to write.
      handler: the network.
      blended: whether the map cubes are.
    """

    root: str
    grid: Grid
    inputs: InputSpec
    layers: tuple[str, ...]
    handler: ChipClassifier
    blended: bool

    def expand(self, keys):
        chips = keys | "Read chips" >> beam.ParDo(
            _ReadChips(self.root, self.grid, self.inputs, self.handler.device)
        ).with_outputs(FAILED, main="chips")
        classified, unfit = (
            chips.chips
            | "Network" >> RunInference(KeyedModelHandler(self.handler)).with_exception_handling()
        )
        written = classified | "Write cores" >> beam.ParDo(
            _WriteCores(self.root, self.grid, self.layers, self.blended, self.handler.device)
        ).with_outputs(FAILED, main="written")
        unfit = unfit.failed_inferences | "Name the block" >> beam.FlatMap(_failed_batch)
        failed = (chips[FAILED], unfit, written[FAILED]) | "Failures" >> beam.Flatten()
        return written.written, failed


def _failed_batch(dead: tuple[Any, tuple]) -> list[Failure]:
    batch, (kind, message, _) = dead
    return [Failure(str(key), "network", f"{kind.__name__}: {message}") for key, _ in batch]


MOST_AT_ONCE = 8


def blocks_at_once(device: str) -> int:
    """How many blocks a bundle reads at once beside the network, and how many it writes.

    On a CPU the network keeps all cores busy, and one block is enough. A GPU leaves them free, and
    maps a block in less time than one core needs to read it. A block takes up to 50 MB meanwhile.
    """
    return 1 if device == "cpu" else min(MOST_AT_ONCE, max(1, (os.cpu_count() or 1) // 4))


@dataclass
class _ReadChips(beam.DoFn):
    """Reads the next blocks while the network works on the one before."""

    root: str
    grid: Grid
    inputs: InputSpec
    device: str

    def setup(self):
        self._cube = lru_cache(OPEN_CUBES)(self._open)

    def start_bundle(self):
        self._beside = Beside(blocks_at_once(self.device))

    def process(self, key: BlockKey) -> Iterator:
        yield from self._beside.do(self._read, key)

    def finish_bundle(self) -> Iterator:
        yield from map(at_the_end, self._beside.rest())

    def _read(self, key: BlockKey) -> tuple[BlockKey, Here[Chips]] | beam.pvalue.TaggedOutput:
        try:
            return key, Here(read_chips(self._cube(key.tile), self.grid, key))
        except (*storage_errors(), ValueError, RuntimeError) as error:
            # A torn or foreign shard is one block's failure; the rest of the tile goes on.
            return beam.pvalue.TaggedOutput(FAILED, Failure.of(key, "read chips", error))

    def _open(self, tile: TileIndex) -> zarr.Group:
        return open_chip_cube(self.root, tile, self.grid, self.inputs)


@dataclass
class _WriteCores(beam.DoFn):
    """Writes blocks while the network works on the next."""

    root: str
    grid: Grid
    layers: tuple[str, ...]
    blended: bool
    device: str

    def setup(self):
        self._cube = lru_cache(OPEN_CUBES)(self._open)
        self._written = Metrics.counter("classify", "blocks written")

    def start_bundle(self):
        self._beside = Beside(blocks_at_once(self.device))

    def process(self, element: tuple[BlockKey, Here[Mapped]]) -> Iterator:
        yield from map(self._counted, self._beside.do(self._write, *element))

    def finish_bundle(self) -> Iterator:
        yield from map(at_the_end, map(self._counted, self._beside.rest()))

    def _write(self, key: BlockKey, mapped: Here[Mapped]) -> BlockKey | beam.pvalue.TaggedOutput:
        layers, edges = map_block(mapped.value, self.grid, self.layers, self.blended)
        try:
            write_core(self._cube(key.tile), self.grid, key, layers, edges)
        except storage_errors() as error:
            # What storage refuses is this block's failure; without its seal it is not complete.
            return beam.pvalue.TaggedOutput(FAILED, Failure.of(key, "write map", error))
        return key

    def _counted(self, result: BlockKey | beam.pvalue.TaggedOutput):
        # On the bundle's own thread, the only one where Beam counts.
        if isinstance(result, BlockKey):
            self._written.inc()
        return result

    def _open(self, tile: TileIndex) -> MapCube:
        return open_map_cube(self.root, tile, self.grid)
