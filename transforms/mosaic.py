"""Lays the maps of the UTM zones onto the product grid, pixel for pixel.

A product pixel belongs to the plain 6-degree zone, and the hemisphere, of its centre, and takes
the value of the map pixel that holds its centre: nearest neighbour, no blending, so every product
pixel has exactly one source and zone seams are settled by longitude alone.

Coordinates are exact and yet fast: they are projected on a coarse lattice, interpolated between
its nodes, and projected again where the interpolation comes near a pixel edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from pyproj import Transformer

from transforms.grid import GeoBox, Grid, TileIndex, zone_epsg
from transforms.layers import Layer

_STEP = 64  # px between lattice nodes
# The error of bilinear interpolation on a cell is at most 1/8 of the second differences along
# both axes, for a smooth function; twice that is taken, because they are measured at nodes.
_ERROR = 2 / 8
_ROUNDING = 1e-7  # map px, of float64 coordinates
_LARGEST_READ = 32 * 2**20  # map px: product pixels may be much larger than the map's

ReadMap = Callable[[TileIndex, str, slice, slice], "np.ndarray | None"]
"""(tile, layer name, rows, columns) -> (y, x) window of the tile's map; None where none is."""

Project = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Product x, y -> two coordinates, element by element."""


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


def pixel_zones(geobox: GeoBox) -> np.ndarray:
    """The zone that each pixel belongs to: (y, x) int32, +33 = 33N, -33 = 33S, 0 for none."""
    to_geographic = _transformer(geobox.epsg, 4326)

    def project(x, y):
        lon, lat = to_geographic.transform(x, y) if to_geographic else (x, y)
        return (lon + 180) / 6, lat / 90

    column, hemisphere = _floor_exactly(geobox, project)
    zones = np.where(hemisphere < 0, -(column + 1), column + 1)
    zones = np.where((column >= 0) & (column < 60), zones, 0).astype(np.int32)
    return np.broadcast_to(zones, geobox.shape)


def map_pixels(geobox: GeoBox, zone: int, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the pixel centres of a product window lie in a zone's map.

    Returns:
      Rows counted southward from northing 0 and columns counted eastward from easting 0, of
      the pixel that holds each centre: two (y, x) int32.
    """
    to_geographic = _transformer(geobox.epsg, 4326)
    to_utm = _transformer(4326, zone_epsg(zone))

    def project(x, y):
        lon, lat = to_geographic.transform(x, y) if to_geographic else (x, y)
        easting, northing = to_utm.transform(lon, lat)
        return -northing / resolution, easting / resolution

    down, right = _floor_exactly(geobox, project)
    return np.broadcast_to(down, geobox.shape), np.broadcast_to(right, geobox.shape)


def _floor_exactly(geobox: GeoBox, project: Project) -> tuple[np.ndarray, np.ndarray]:
    """Floors of both coordinates of `project` at pixel centres, as if each were projected.

    Returns:
      Two (y, x) int32, or (1, 1) where all pixels have the same; the smallest int32 where the
      projection is not defined.
    """
    x, y = pixel_centers(geobox)
    node_x, weight_x = _interpolation(x, geobox.resolution)
    node_y, weight_y = _interpolation(y, -geobox.resolution)
    nodes = project(*np.meshgrid(node_x, node_y))
    errors = [_interpolation_error(values) for values in nodes]
    if all(
        np.floor(values.min() - error) == np.floor(values.max() + error)
        for values, error in zip(nodes, errors, strict=True)
    ):
        return tuple(np.floor(values[:1, :1]).astype(np.int32) for values in nodes)
    floors = tuple(np.empty(geobox.shape, np.int32) for _ in nodes)
    along = [
        values @ weight_x.T if error < 0.5 else None
        for values, error in zip(nodes, errors, strict=True)
    ]
    # Strips stay in the processor's cache, and lie between two rows of nodes.
    for number, top in enumerate(range(0, geobox.height, _STEP)):
        rows, around = slice(top, top + _STEP), slice(number, number + 2)
        unsure = np.zeros(floors[0][rows].shape, bool)
        for out, values, error in zip(floors, along, errors, strict=True):
            if values is None:
                unsure[:] = True
                continue
            near = weight_y[rows, around] @ values[around]
            low = np.floor(near - error)
            unsure |= low != np.floor(near + error)
            out[rows] = low
        again_y, again_x = np.nonzero(unsure)
        exact = project(x[again_x], y[rows][again_y])
        for out, values in zip(floors, exact, strict=True):
            known = np.isfinite(values)
            out[rows][again_y, again_x] = np.where(
                known, np.floor(np.where(known, values, 0)), np.iinfo(np.int32).min
            )
    return floors


def _interpolation_error(nodes: np.ndarray) -> float:
    """Bound of the error of bilinear interpolation between nodes; NaN or inf where unknown."""
    with np.errstate(invalid="ignore"):
        curvature = [np.abs(np.diff(nodes, 2, axis=axis)).max() for axis in (0, 1)]
    return _ERROR * sum(curvature) + _ROUNDING


def _interpolation(centers: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Lattice nodes (node,) around pixel centres (pixel,), and weights (pixel, node)."""
    pixel = np.arange(len(centers))
    # Three nodes at least: second differences need them.
    cells = max(2, -(-(len(centers) - 1) // _STEP))
    nodes = centers[0] + np.arange(cells + 1) * (_STEP * step)
    weights = np.zeros((len(centers), cells + 1))
    share = pixel % _STEP / _STEP
    weights[pixel, pixel // _STEP] = 1 - share
    inner = share > 0
    weights[pixel[inner], pixel[inner] // _STEP + 1] = share[inner]
    return nodes, weights


def pixel_centers(geobox: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """x and y of pixel centres, from the pixels' integer numbers: the same in every window."""
    left, top = round(geobox.x0 / geobox.resolution), round(geobox.y0 / geobox.resolution)
    return (
        (left + np.arange(geobox.width) + 0.5) * geobox.resolution,
        (top - np.arange(geobox.height) - 0.5) * geobox.resolution,
    )


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


@lru_cache(maxsize=256)
def _transformer(from_epsg: int, to_epsg: int) -> Transformer | None:
    """None where nothing is to be done."""
    if from_epsg == to_epsg:
        return None
    return Transformer.from_crs(from_epsg, to_epsg, always_xy=True)
