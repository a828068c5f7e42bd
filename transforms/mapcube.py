"""Map cubes: the classified layers of one tile at rest, one Zarr group per tile.

One shard is one block's core, so that every block has one writer and whole shards only. A block's
seal (`transforms/seal.py`) is written last: it marks the block as complete.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from model.legend import Legend
from transforms import cf, store
from transforms.chips import finished_chips
from transforms.grid import BlockKey, Grid, TileIndex
from transforms.layers import ALL_LAYERS, Layer
from transforms.seal import SealedStore, open_sealed, sealed_blocks

if TYPE_CHECKING:
    import zarr


class MapCube(NamedTuple):
    """An open map cube."""

    tile: TileIndex
    attributes: dict[str, Any]
    arrays: dict[str, zarr.Array]  # by layer name, each (y, x) of the tile's map
    seals: SealedStore


def map_cube_url(root: str, tile: TileIndex) -> str:
    return store.join(root, "maps", f"{tile.path}.zarr")


def create_map_cube(
    root: str,
    tile: TileIndex,
    grid: Grid,
    layers: tuple[Layer, ...],
    legend: Legend,
    attributes: dict[str, Any],
) -> None:
    """Create a tile's map cube, without pixels; one that exists and agrees is kept.

    Args:
      root: the run's folder, local or `gs://`.
      attributes: what the map was made from (target date, checkpoint digest, ...), JSON.

    Raises:
      ValueError: the cube exists and was made with other attributes.
    """
    geobox = grid.tile_geobox(tile)
    chunk, shard = (grid.core_size,) * 2, (grid.block_core_size,) * 2
    arrays = cf.coordinate_arrays(geobox) | {
        layer.name: store.ArraySpec(
            geobox.shape,
            chunk,
            shard,
            layer.dtype,
            layer.nodata,
            ("y", "x"),
            cf.layer_attributes(layer, legend),
        )
        for layer in layers
    }
    url = map_cube_url(root, tile)
    made_from = {
        "title": f"CloudLULC-Net map of tile {tile}",
        "tile": str(tile),
        "grid": asdict(grid),
        "layers": [layer.name for layer in layers],
        "legend": legend.to_dict(),
    }
    store.create_cube(url, arrays, attributes | made_from | cf.group_attributes(geobox))
    cf.write_coordinates(store.open_group(url, "r+"), geobox)


def open_map_cube(root: str, tile: TileIndex, grid: Grid) -> MapCube:
    """Open a tile's map cube to read and write.

    Raises:
      FileNotFoundError: the tile has no cube.
      ValueError: the cube was made on another grid.
    """
    url = map_cube_url(root, tile)

    def block_of(name: str, index: tuple[int, ...]) -> tuple[int, int] | None:
        return None if name in ("y", "x") else index

    group = open_sealed(url, tile, block_of)
    attributes = dict(group.attrs)
    store.check_attributes(url, attributes, {"grid": asdict(grid), "tile": str(tile)})
    arrays = {name: store.open_array(group, name) for name in attributes["layers"]}
    return MapCube(tile, attributes, arrays, group.store)


def write_core(cube: MapCube, grid: Grid, key: BlockKey, layers: dict[str, np.ndarray]) -> None:
    """Write the layers of one block, a whole shard each, and its seal last.

    Args:
      layers: by name, each (y, x) of the block's core, dtype and nodata as in `ALL_LAYERS`.

    Raises:
      ValueError: layers, shapes or dtypes are not the cube's.
    """
    if key.tile != cube.tile or set(layers) != set(cube.arrays):
        raise ValueError(
            f"block {key}: got layers {sorted(layers)}, expected {sorted(cube.arrays)} "
            f"of tile {cube.tile}"
        )
    shape = (grid.block_core_size,) * 2
    for name, pixels in layers.items():
        expected = (shape, ALL_LAYERS[name].dtype)
        if (pixels.shape, str(pixels.dtype)) != expected:
            raise ValueError(
                f"block {key}, layer {name!r}: got {(pixels.shape, str(pixels.dtype))}, "
                f"expected {expected}"
            )
    core = grid.core(key)
    for name, pixels in layers.items():
        cube.arrays[name][core] = pixels
    cube.seals.seal(key, [map_shard(name, key) for name in layers])


def map_shard(layer: str, key: BlockKey) -> str:
    """Name in its cube of the shard that is a block's."""
    return f"{layer}/c/{key.row}/{key.col}"


def finished_blocks(root: str, tile: TileIndex, grid: Grid) -> set[BlockKey]:
    """Blocks of a tile whose map is complete, by one listing; none where there is no cube."""
    return sealed_blocks(map_cube_url(root, tile), tile, grid.blocks_per_tile)


def ingested_blocks(root: str, tile: TileIndex, grid: Grid) -> set[BlockKey]:
    """Blocks of a tile that need no fetching: their chips lie there, or a map made from them."""
    return finished_chips(root, tile, grid) | finished_blocks(root, tile, grid)


class MapReader:
    """Reads windows of the maps of a run; a tile without a cube is nodata.

    Keeps the metadata of the last cubes that it opened. Pickles without them.

    Args:
      root: the run's folder.
      grid: processing grid.
      made_from: attributes that every cube has to carry (date, checkpoint's digest, legend, ...):
        maps of two networks or two legends are no one product.
    """

    def __init__(self, root: str, grid: Grid, made_from: dict[str, Any] | None = None):
        self.root = root
        self.grid = grid
        self.made_from = made_from or {}
        self._open = lru_cache(maxsize=64)(self._open_or_none)

    def __reduce__(self):
        return MapReader, (self.root, self.grid, self.made_from)

    def __call__(self, tile: TileIndex, layer: str, rows: slice, cols: slice) -> np.ndarray | None:
        """(y, x) window of a layer in the tile's map; None where the tile has no cube.

        Raises:
          ValueError: the cube has no such layer, or was made from something else.
        """
        cube = self._open(tile)
        if cube is None:
            return None
        if layer not in cube.arrays:
            raise ValueError(
                f"map cube {tile}: got layer {layer!r}, expected one of {list(cube.arrays)}; "
                "classify again with this layer, or leave it out"
            )
        return cube.arrays[layer][rows, cols]

    def _open_or_none(self, tile: TileIndex) -> MapCube | None:
        try:
            cube = open_map_cube(self.root, tile, self.grid)
        except FileNotFoundError:
            return None
        url = map_cube_url(self.root, tile)
        store.check_attributes(url, cube.attributes, self.made_from)
        return cube
