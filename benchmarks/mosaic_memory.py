"""Peak memory and pace of one product tile of 36,000 x 36,000 pixels: mosaic, Zarr, COGs.

Usage: python -m benchmarks.mosaic_memory [--size 36000] [--layers lulc confidence] [--radius 1]

One synthetic map cube answers for all tiles of all zones, so every window is read from Zarr, laid
onto the grid, masked by a region with a wavy border, written to Zarr and from there to a COG per
layer, as the mosaic job does it. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time

import numpy as np
import shapely

from model.legend import LULC6
from transforms.export import ZARR_SHARD, write_tile
from transforms.grid import BlockKey, Grid, TileIndex
from transforms.layers import choose_layers
from transforms.mapcube import create_map_cube, open_map_cube, write_core
from transforms.mosaic import mosaic_windows
from transforms.product import ProductGrid, ProductTile
from transforms.regionmask import RegionMask

TILE = TileIndex(31, 40, 60)


def write_cube(root: str, grid: Grid, names: list[str]) -> None:
    """Patches of classes in every block, other layers constant."""
    layers = choose_layers(names)
    create_map_cube(root, TILE, grid, layers, LULC6, {})
    cube = open_map_cube(root, TILE, grid)
    rng, side = np.random.default_rng(0), grid.block_core_size
    codes = [c.code for c in LULC6.classes]
    for row in range(grid.blocks_per_tile):
        for col in range(grid.blocks_per_tile):
            patches = rng.choice(codes, (side // 32 + 1,) * 2).repeat(32, 0).repeat(32, 1)
            pixels = {layer.name: np.full((side, side), 50, layer.dtype) for layer in layers}
            pixels["lulc"] = patches[:side, :side].astype(np.uint8)
            write_core(cube, grid, BlockKey(TILE.zone, TILE.x, TILE.y, row, col), pixels)


def region_of(tile: ProductTile, radius: float) -> shapely.Polygon:
    """The middle of the tile, with a border of 3,000 points."""
    left, bottom, right, top = tile.geobox.bounds
    angle = np.linspace(0, 2 * np.pi, 3000, endpoint=False)
    radius = radius * (right - left) / 2 * (0.9 + 0.09 * np.sin(angle * 60))
    x, y = (left + right) / 2, (bottom + top) / 2
    return shapely.Polygon(
        np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle)])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=36_000)
    parser.add_argument("--layers", nargs="+", default=["lulc", "confidence"])
    parser.add_argument("--radius", type=float, default=1.0, help="of the region, in half tiles")
    args = parser.parse_args()
    grid, product = Grid(), ProductGrid()
    # Over the border of zones 31 and 32 and over the equator: four zones.
    corner = 6 * 12_000 - args.size // 2
    tile = ProductTile("made", product.geobox(corner, args.size // 2, args.size, args.size))
    with tempfile.TemporaryDirectory() as root:
        write_cube(root, grid, args.layers)
        cube = open_map_cube(root, TILE, grid)
        began, layers = time.monotonic(), choose_layers(args.layers)
        windows = mosaic_windows(
            tile.geobox,
            layers,
            lambda _, name, rows, cols: cube.arrays[name][rows, cols],
            grid,
            ZARR_SHARD,
            RegionMask(region_of(tile, args.radius)),
        )
        write_tile(root, tile, layers, windows, LULC6, {"title": "made"})
        seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "pixels": args.size**2,
                "layers": args.layers,
                "radius": args.radius,
                "peak_mib": round(peak),
                "seconds": round(seconds),
                "mpx_per_s": round(args.size**2 / 1e6 / seconds, 1),
                "machine": platform.machine(),
                "python": platform.python_version(),
            }
        )
    )


if __name__ == "__main__":
    main()
