"""Product pixels on the maps' grids: in which zone each one lies, and in which pixel of its map.

Coordinates are exact and yet fast: they are projected on a coarse lattice, interpolated between
its nodes, and projected again where the interpolation comes near a pixel edge.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from pyproj import Transformer

from transforms.grid import GeoBox
from transforms.zones import zone_epsg

_STEP = 64  # px between lattice nodes
# The error of bilinear interpolation on a cell is at most 1/8 of the second differences along
# both axes, for a smooth function; twice that is taken, because they are measured at nodes.
_ERROR = 2 / 8
_ROUNDING = 1e-7  # map px, of float64 coordinates

Project = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Product x, y -> two coordinates, element by element."""


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


@lru_cache(maxsize=256)
def _transformer(from_epsg: int, to_epsg: int) -> Transformer | None:
    """None where nothing is to be done."""
    if from_epsg == to_epsg:
        return None
    return Transformer.from_crs(from_epsg, to_epsg, always_xy=True)
