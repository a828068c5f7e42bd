"""Which pixels of a product window lie in the region: those whose centres do.

A centre on a border belongs to the polygon east of it, or north of it where the border runs along
a parallel: two regions that share a border have every pixel of it once.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from transforms.grid import GeoBox
from transforms.lattice import pixel_centers
from transforms.product import project


class RegionMask:
    """Tells the pixels inside of a region by the even-odd rule, row by row.

    Where a border crosses the centre line of a row follows from the border's own coordinates, so
    how a tile is cut into windows cannot move a pixel across it.

    Args:
      region: (multi)polygon, longitude and latitude in degrees, EPSG:4326.
    """

    def __init__(self, region: BaseGeometry):
        self.region = region

    def __call__(self, geobox: GeoBox) -> np.ndarray:
        """(y, x) bool: whether the centre of the pixel lies in the region."""
        x, y = pixel_centers(geobox)
        south_x, south_y, north_x, north_y = _edges(shapely.to_wkb(self.region), geobox.epsg)
        near = (south_y <= y[0]) & (north_y > y[-1])
        south_x, south_y, north_x, north_y = (
            values[near] for values in (south_x, south_y, north_x, north_y)
        )
        # Rows whose centre lies in [south, north) of an edge; y falls from row to row.
        first = len(y) - np.searchsorted(y[::-1], north_y, side="left")
        last = len(y) - np.searchsorted(y[::-1], south_y, side="left")
        counts = last - first
        edge = np.repeat(np.arange(len(counts)), counts)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        share = (y[row] - south_y[edge]) / (north_y - south_y)[edge]
        crossing = south_x[edge] + share * (north_x - south_x)[edge]
        col = np.searchsorted(x, crossing, side="left")
        odd = np.zeros((len(y), len(x) + 1), bool)
        np.logical_xor.at(odd, (row, col), True)
        return np.logical_xor.accumulate(odd, axis=1)[:, :-1]


@lru_cache(maxsize=8)
def _edges(region_wkb: bytes, epsg: int) -> tuple[np.ndarray, ...]:
    """Edges of a region in a product's CRS, level ones left out: x and y of the southern end,
    x and y of the northern end, each (edge,) float64."""
    # Pieces of 100 m are straight in any CRS to less than a millimetre.
    region = project(shapely.from_wkb(region_wkb), epsg, segment=0.001)
    ends = []
    for polygon in shapely.get_parts(region):
        for ring in (polygon.exterior, *polygon.interiors):
            points = shapely.get_coordinates(ring)
            ends.append(np.concatenate([points[:-1], points[1:]], axis=1))
    ends = np.concatenate(ends)
    # The same border gives the same floats, whichever way a ring runs along it.
    swapped = ends[:, 1] > ends[:, 3]
    ends[swapped] = ends[swapped][:, [2, 3, 0, 1]]
    ends = ends[ends[:, 1] < ends[:, 3]]
    return tuple(np.ascontiguousarray(column) for column in ends.T)
