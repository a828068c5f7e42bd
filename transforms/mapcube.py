"""Map cubes: the classified layers of one tile at rest, one Zarr group per tile.

One shard is one block's core, so that every block has one writer and whole shards only. A block's
seal (`transforms/seal.py`) is written last: it marks the block as complete.

A cube that is blended holds, beside its layers, the array `edges`: what each block says of both
sides of its border (`transforms/blend.py`). Whoever reads such maps reads them blended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from model.legend import Legend
from transforms import cf, cubes, shards, store
from transforms.blend import NOTHING, Blended, Piece, Span, bands, blend, edge_piece, is_blended
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
    edges: zarr.Array | None  # (row, col, side, class, across, along) of all blocks
    legend: Legend
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
    blended: bool = False,
) -> None:
    """Create a tile's map cube, without pixels; one that exists and agrees is kept.

    Args:
      root: the run's folder, local or `gs://`.
      attributes: what the map was made from (target date, checkpoint digest, ...), JSON.
      blended: whether blocks leave edges to be blended with those of their neighbours.

    Raises:
      ValueError: the cube exists and was made with other attributes.
    """
    geobox = grid.tile_geobox(tile)
    chunk, shard = (grid.core_size,) * 2, (grid.block_core_size,) * 2
    arrays = cf.coordinate_arrays(geobox) | {
        layer.name: cubes.ArraySpec(
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
    if blended:
        arrays["edges"] = _edges_spec(grid, legend)
    url = map_cube_url(root, tile)
    made_from = {
        "title": f"CloudLULC-Net map of tile {tile}",
        "tile": str(tile),
        "grid": asdict(grid),
        "layers": [layer.name for layer in layers],
        "legend": legend.to_dict(),
        "blended": blended,
    }
    about = attributes | made_from | cf.group_attributes(geobox)
    cubes.create_cube(url, arrays, about, lambda cube: cf.write_coordinates(cube, geobox))


def _edges_spec(grid: Grid, legend: Legend) -> cubes.ArraySpec:
    sides = (4, len(legend.classes), 2 * grid.reach, grid.block_core_size + 2 * grid.reach)
    return cubes.ArraySpec(
        (grid.blocks_per_tile, grid.blocks_per_tile, *sides),
        (1, 1, *sides),
        None,
        "uint8",
        NOTHING,
        ("row", "col", "side", "class", "across", "along"),
        {"units": "percent", "sides": ["top", "bottom", "left", "right"]},
    )


def open_map_cube(root: str, tile: TileIndex, grid: Grid) -> MapCube:
    """Open a tile's map cube to read and write.

    Raises:
      FileNotFoundError: the tile has no cube.
      ValueError: the cube was made on another grid.
    """
    url = map_cube_url(root, tile)

    def block_of(name: str, index: tuple[int, ...]) -> tuple[int, int] | None:
        return None if name in ("y", "x") else index[:2]

    group = open_sealed(url, tile, block_of)
    attributes = dict(group.attrs)
    cubes.check_attributes(url, attributes, {"grid": asdict(grid), "tile": str(tile)})
    arrays = {name: group[name] for name in attributes["layers"]}
    edges = group["edges"] if attributes["blended"] else None
    legend = Legend.from_dict(attributes["legend"])
    return MapCube(tile, attributes, arrays, edges, legend, group.store)


def write_core(
    cube: MapCube,
    grid: Grid,
    key: BlockKey,
    layers: dict[str, np.ndarray],
    edges: np.ndarray | None = None,
) -> None:
    """Write the layers of one block, a whole shard each, and its seal last.

    Args:
      layers: by name, each (y, x) of the block's core, dtype and nodata as in `ALL_LAYERS`.
      edges: as `blend.cut_edges` makes them, where the cube is blended.

    Raises:
      ValueError: layers, edges, shapes or dtypes are not the cube's.
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
    found, wanted = (None if array is None else array.shape[-4:] for array in (edges, cube.edges))
    if found != wanted:
        raise ValueError(f"block {key}: got edges of shape {found}, expected {wanted}")
    chunk = (grid.core_size,) * 2
    written = ((map_shard(name, key), shards.encode(layers[name], chunk)) for name in layers)
    if edges is not None:
        shard = f"{map_shard('edges', key)}/0/0/0/0"
        written = chain(written, [(shard, shards.encode(edges, None))])
    cube.seals.write(key, written)


def map_shard(layer: str, key: BlockKey) -> str:
    """Name in its cube of the shard that is a block's."""
    return f"{layer}/c/{key.row}/{key.col}"


def finished_blocks(root: str, tile: TileIndex, grid: Grid) -> set[BlockKey]:
    """Blocks of a tile whose map is complete, by one listing; none where there is no cube."""
    return sealed_blocks(map_cube_url(root, tile), tile, grid.blocks_per_tile)


def ingested_blocks(root: str, tile: TileIndex, grid: Grid) -> set[BlockKey]:
    """Blocks of a tile that need no fetching: their chips lie there, or a map made from them."""
    return finished_chips(root, tile, grid) | finished_blocks(root, tile, grid)


def unclassified(tile: TileIndex, root: str, grid: Grid) -> list[BlockKey]:
    """Blocks whose chips are complete and whose map is not, in order, by two listings."""
    return sorted(finished_chips(root, tile, grid) - finished_blocks(root, tile, grid))


class MapReader:
    """Reads windows of the maps of a run; a tile without a cube is nodata.

    Maps that leave edges are blended over the borders of blocks and tiles: which block mapped a
    pixel no longer shows. A pixel without data in its own block has none, and a block that is not
    mapped says nothing.

    Keeps the metadata of the last cubes that it opened, and the last edges. Pickles without them.

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
        # As many as a window of the mosaic and its neighbours have blocks; 0.7 MB each.
        self._edges = lru_cache(maxsize=48)(self._edges_or_none)
        # The layers of one window are asked for one after the other, over four tiles at most.
        self._borders = lru_cache(maxsize=4)(self._blend_borders)

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
        pixels = cube.arrays[layer][rows, cols]
        if cube.edges is not None and is_blended(layer):
            mapped = pixels != ALL_LAYERS[layer].nodata
            for band, blended in self._borders(tile, rows.start, rows.stop, cols.start, cols.stop):
                np.copyto(pixels[band], blended.layer(layer, cube.legend), where=mapped[band])
        return pixels

    def _blend_borders(
        self, tile: TileIndex, top: int, bottom: int, left: int, right: int
    ) -> list[tuple[Span, Blended]]:
        """What a window shows along the borders of blocks: where in the window, and what."""
        size, reach = self.grid.block_core_size, self.grid.reach
        classes = len(self._open(tile).legend.classes)
        found = []
        for axis, number, band in bands((slice(top, bottom), slice(left, right)), size, reach):
            blended = blend(band, self._pieces(tile, axis, number, band), classes)
            place = tuple(
                slice(span.start - first, span.stop - first)
                for span, first in zip(band, (top, left), strict=True)
            )
            found.append((place, blended))
        return found

    def _pieces(self, tile: TileIndex, axis: int, number: int, band: Span) -> Iterator[Piece]:
        """Edges that meet along a part of a border: of the blocks before it and behind it."""
        size, reach, blocks = self.grid.block_core_size, self.grid.reach, self.grid.blocks_per_tile
        along = band[1 - axis]
        for other in range((along.start - reach) // size, -(-(along.stop + reach) // size)):
            for side, across in enumerate((number, number - 1)):
                row, col = (across, other) if axis == 0 else (other, across)
                # Rows count southward, tiles northward.
                home = TileIndex(tile.zone, tile.x + col // blocks, tile.y - row // blocks)
                edges = self._edges(home, row % blocks, col % blocks)
                if edges is not None:
                    yield edge_piece(edges, 2 * axis + side, row, col, self.grid)

    def _edges_or_none(self, tile: TileIndex, row: int, col: int) -> np.ndarray | None:
        """Edges of a block; None where no cube is, nodata where the block is not mapped."""
        cube = self._open(tile)
        return cube and cube.edges[row, col]

    def _open_or_none(self, tile: TileIndex) -> MapCube | None:
        try:
            cube = open_map_cube(self.root, tile, self.grid)
        except FileNotFoundError:
            return None
        url = map_cube_url(self.root, tile)
        cubes.check_attributes(url, cube.attributes, self.made_from)
        return cube
