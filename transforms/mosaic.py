"""Lays the maps of the UTM zones onto the product grid, pixel for pixel.

A product pixel belongs to the plain 6-degree zone, and the hemisphere, of its centre, and takes
the value of the map pixel that holds its centre: nearest neighbour, no blending, so every product
pixel has exactly one source and zone seams are settled by longitude alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from transforms.grid import GeoBox, Grid, TileIndex
from transforms.lattice import map_pixels, pixel_zones
from transforms.layers import Layer

_LARGEST_READ = 32 * 2**20  # map px: product pixels may be much larger than the map's

ReadMap = Callable[[TileIndex, str, slice, slice], "np.ndarray | None"]
"""(tile, layer name, rows, columns) -> (y, x) window of the tile's map; None where none is."""


Inside = Callable[[GeoBox], np.ndarray]
"""Window of the product grid -> (y, x) bool: which pixels are shown; the others are nodata."""


class Window(NamedTuple):
    """A part of a product tile."""

    rows: slice
    cols: slice
    layers: dict[str, np.ndarray]  # by name, each (y, x), dtype and nodata of the layer


def mosaic_windows(
    geobox: GeoBox,
    layers: tuple[Layer, ...],
    read: ReadMap,
    grid: Grid,
    size: int = 2048,
    inside: Inside | None = None,
) -> Iterator[Window]:
    """The windows of a product tile, row by row, `size` px square or what is left of it.

    The next one is made by a thread of its own while one is used.

    Args:
      inside: which pixels are shown; None: all. Where none is, no map is read.
    """

    def make(rows: slice, cols: slice) -> Window:
        part = window_geobox(geobox, rows, cols)
        shown = inside(part) if inside else np.ones(part.shape, bool)
        if not shown.any():
            return Window(rows, cols, _nothing(part, layers))
        pixels = mosaic_window(part, layers, read, grid)
        if not shown.all():
            for layer in layers:
                pixels[layer.name][~shown] = layer.nodata
        return Window(rows, cols, pixels)

    spans = [
        (slice(top, min(top + size, geobox.height)), slice(left, min(left + size, geobox.width)))
        for top in range(0, geobox.height, size)
        for left in range(0, geobox.width, size)
    ]
    with ThreadPoolExecutor(1) as beside:
        making = beside.submit(make, *spans[0])
        for span in spans[1:]:
            window, making = making.result(), beside.submit(make, *span)
            yield window
        yield making.result()


def mosaic_window(
    geobox: GeoBox, layers: tuple[Layer, ...], read: ReadMap, grid: Grid
) -> dict[str, np.ndarray]:
    """Layers on one window of the product grid.

    Args:
      geobox: the window; pixel edges on multiples of its resolution.
      read: see `ReadMap`; every map window is asked for once per layer.

    Returns:
      By layer name: (y, x), dtype of the layer, nodata where there is no map.
    """
    out = _nothing(geobox, layers)
    zones = pixel_zones(geobox)
    for zone in range(zones.min(), zones.max() + 1):
        mine = zones == zone
        if zone == 0 or not mine.any():
            continue
        rows, cols = _extent(mine)
        mine = mine[rows, cols]
        down, right = map_pixels(window_geobox(geobox, rows, cols), zone, grid.resolution)
        whole = bool(mine.all())
        if not whole:
            down, right = down[mine], right[mine]
        top, left = int(down.min()), int(right.min())
        height, width = int(down.max()) - top + 1, int(right.max()) - left + 1
        if height * width > _LARGEST_READ and geobox.height * geobox.width > 1:
            return _in_halves(geobox, layers, read, grid)
        index = np.subtract(down, top, dtype=np.intp)
        index *= width
        index += right
        index -= left
        for layer in layers:
            source = _read_across_tiles(
                zone, layer, slice(top, top + height), slice(left, left + width), read, grid
            )
            if source is None:
                break
            target = out[layer.name][rows, cols]
            if whole:
                np.take(source, index, out=target, mode="clip")
            else:
                target[mine] = source.take(index)
    return out


def _nothing(geobox: GeoBox, layers: tuple[Layer, ...]) -> dict[str, np.ndarray]:
    return {layer.name: np.full(geobox.shape, layer.nodata, layer.dtype) for layer in layers}


def _in_halves(
    geobox: GeoBox, layers: tuple[Layer, ...], read: ReadMap, grid: Grid
) -> dict[str, np.ndarray]:
    axis = 0 if geobox.height >= geobox.width else 1
    middle, every = geobox.shape[axis] // 2, slice(0, geobox.shape[1 - axis])
    spans = slice(0, middle), slice(middle, geobox.shape[axis])
    parts = [
        window_geobox(geobox, *((span, every) if axis == 0 else (every, span))) for span in spans
    ]
    halves = [mosaic_window(part, layers, read, grid) for part in parts]
    return {
        layer.name: np.concatenate([half[layer.name] for half in halves], axis) for layer in layers
    }


def _read_across_tiles(
    zone: int, layer: Layer, rows: slice, cols: slice, read: ReadMap, grid: Grid
) -> np.ndarray | None:
    """(y, x) window of a layer in a zone's map, rows and columns as in `map_pixels`.

    None where no tile of it has a map.
    """
    size = grid.tile_size
    out = None
    for down in range(rows.start // size, -(-rows.stop // size)):
        for x in range(cols.start // size, -(-cols.stop // size)):
            # Rows count southward, tiles northward.
            tile = TileIndex(zone, x, -down - 1)
            into_y, from_y = _overlap(rows, down * size, size)
            into_x, from_x = _overlap(cols, x * size, size)
            pixels = read(tile, layer.name, from_y, from_x)
            if pixels is None:
                continue
            if out is None:
                shape = rows.stop - rows.start, cols.stop - cols.start
                out = np.full(shape, layer.nodata, layer.dtype)
            out[into_y, into_x] = pixels
    return out


def _overlap(span: slice, start: int, size: int) -> tuple[slice, slice]:
    """Where [start, start + size) meets a span: inside the span, and counted from start."""
    first, last = max(span.start, start), min(span.stop, start + size)
    return slice(first - span.start, last - span.start), slice(first - start, last - start)


def window_geobox(geobox: GeoBox, rows: slice, cols: slice) -> GeoBox:
    """The part of a geobox that a window covers."""
    return geobox._replace(
        x0=geobox.x0 + cols.start * geobox.resolution,
        y0=geobox.y0 - rows.start * geobox.resolution,
        width=cols.stop - cols.start,
        height=rows.stop - rows.start,
    )


def _extent(mask: np.ndarray) -> tuple[slice, slice]:
    """Smallest (y, x) window that holds all that is true."""
    rows, cols = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
