"""A run whose maps are made, not classified: smooth classes and evidence, as large as real ones.

The highest of six fields of noise, octave upon octave, is the class; confidence, reliability and
cloud follow from such fields. They are functions of the place alone, so blocks agree where they
overlap: blending them changes nothing, and takes as long as it always does.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from model.legend import LULC6
from pipeline import launch
from pipeline.config import DEFAULT_CHECKPOINT, RunConfig, file_digest
from pipeline.region import Region
from transforms.blend import Blended, core_of, cut_edges
from transforms.grid import BlockKey, Grid
from transforms.layers import choose_layers
from transforms.mapcube import MapReader, open_map_cube, write_core
from transforms.period import parse_day
from transforms.pixels.pairing import PairRule
from transforms.plan import plan_tile
from transforms.plan_file import write_plan
from transforms.sources import open_source

_OCTAVES = ((640, 0.6), (160, 0.7), (40, 0.6), (9, 0.22))
"""Distance between nodes, px, and amplitude."""

_NODES = 512  # per side; then a field repeats itself


def run_in(out: str, region: Region) -> RunConfig:
    return RunConfig(
        region=region,
        rule=PairRule(parse_day("2024-06-15")),
        source="synthetic:seed=1",
        out=out,
        checkpoint=DEFAULT_CHECKPOINT,
        checkpoint_digest=file_digest(DEFAULT_CHECKPOINT),
        threads=1,
    )


def write_maps(run: RunConfig) -> None:
    """Everything that the mosaic job reads: run.json, plans and map cubes, all blocks finished."""
    source = open_source(run.source)
    launch.start(run)
    for tile in run.tiles():
        keys = list(run.grid.blocks(tile, run.region.geometry))
        write_plan(run.out, tile, plan_tile(tile, keys, run.grid, run.rule, source))
        cube = open_map_cube(run.out, tile, run.grid)
        for key in keys:
            block, evidence = made_block(key, run.grid)
            core = core_of(block, run.grid.reach)
            layers = evidence | {n: core.layer(n, LULC6) for n in ("lulc", "confidence")}
            write_core(cube, run.grid, key, layers, cut_edges(block, run.grid.reach))


def made_block(key: BlockKey, grid: Grid) -> tuple[Blended, dict[str, np.ndarray]]:
    """A block with what reaches over its border, and the other layers of its core."""
    box, reach = grid.core_geobox(key), grid.reach
    side = grid.block_core_size
    top, left = -round(box.y0) // grid.resolution, round(box.x0) // grid.resolution
    around = np.arange(-reach, side + reach)
    scores = np.stack([field(n, top + around, left + around) for n in range(len(LULC6.classes))])
    scores = np.exp(3.5 * scores)
    percent = np.rint(100 * scores / scores.sum(0)).astype(np.uint8)
    block = Blended(percent.argmax(0).astype(np.uint8), percent)
    rows, cols = top + np.arange(side), left + np.arange(side)
    cloud = np.clip(45 * (field(7, rows, cols) - 0.6), 0, 100)
    reliability = np.clip(75 + 12 * field(8, rows, cols) - 1.5 * cloud, 0, 100)
    swath = rows[:, None] + 4 * cols  # the border of a pass runs from north-north-east
    return block, {
        "cloud": np.rint(cloud).astype(np.uint8),
        "reliability": np.rint(reliability).astype(np.uint8),
        "optical_age": np.where(swath % 90_000 < 45_000, -3, 2).astype(np.int16),
        "sar_age": np.where(swath % 70_000 < 35_000, -1, 5).astype(np.int16),
    }


def field(seed: int, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """(y, x) float32, about -2 to 2, the same for the same place whatever the window."""
    total = np.zeros((len(rows), len(cols)), np.float32)
    for number, (step, amplitude) in enumerate(_OCTAVES):
        nodes = _lattice(seed, number)
        lines = np.stack([w[:, None] * nodes[at] for at, w in _between(rows, step)]).sum(0)
        for at, weight in _between(cols, step):
            total += amplitude * lines[:, at] * weight
    return total


@cache
def _lattice(seed: int, octave: int) -> np.ndarray:
    rng = np.random.default_rng((seed, octave))
    return rng.standard_normal((_NODES, _NODES)).astype(np.float32)


def _between(places: np.ndarray, step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The two nodes around each place, and the weight of each."""
    before, share = places // step, (places % step / step).astype(np.float32)
    smooth = share * share * (3 - 2 * share)
    yield before % _NODES, 1 - smooth
    yield (before + 1) % _NODES, smooth


def write_geotiffs(run: RunConfig, folder: Path) -> None:
    """The same pixels as a GeoTIFF per layer and tile, `<layer>_<tile>.tif`, blended."""
    import rasterio

    read, side = MapReader(run.out, run.grid), run.grid.block_core_size
    folder.mkdir(parents=True)
    for tile in run.tiles():
        left, dx, _, top, _, dy = run.grid.tile_geobox(tile).gdal_transform
        for layer in choose_layers(run.layers):
            with rasterio.open(
                folder / f"{layer.name}_{tile.path}.tif",
                "w",
                driver="GTiff",
                width=run.grid.tile_size,
                height=run.grid.tile_size,
                count=1,
                dtype=layer.dtype,
                nodata=layer.nodata,
                crs=f"EPSG:{run.grid.tile_geobox(tile).epsg}",
                transform=rasterio.Affine(dx, 0, left, 0, dy, top),
                tiled=True,
                blockxsize=512,
                blockysize=512,
                compress="ZSTD",
                num_threads=2,
            ) as file:
                for first in range(0, run.grid.tile_size, side):
                    rows = slice(first, first + side)
                    pixels = read(tile, layer.name, rows, slice(0, run.grid.tile_size))
                    file.write(pixels, 1, window=((first, first + side), (0, file.width)))
