"""The product grid: what the maps of all zones are laid onto.

By default it is WorldCover's: EPSG:4326, pixels of 1/12000 degree, tiles of 3 x 3 degrees named by
their lower left corner. Pixel edges lie on multiples of the resolution in any CRS.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, isfinite
from typing import NamedTuple

import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from transforms import store
from transforms.grid import GeoBox

# An edge of a region that was computed in floats counts as lying on a pixel edge this near, px.
_ON_EDGE = 1e-6


_METRES_PER_DEGREE = 111_319.49  # along the equator of WGS 84


def metres_per_unit(epsg: int) -> float:
    """Length of a unit of a CRS on the ground, m; of a degree, that along the equator."""
    crs = CRS.from_epsg(epsg)
    return _METRES_PER_DEGREE if crs.is_geographic else crs.axis_info[0].unit_conversion_factor


class ProductTile(NamedTuple):
    name: str
    geobox: GeoBox  # the part of the tile that lies in the region's bounds


@dataclass(frozen=True)
class ProductGrid:
    """The grid of the product.

    Attributes:
      epsg: of its CRS.
      resolution: pixel size in CRS units; by default WorldCover's 1/12000 degree, or 10 m.
      tile_size: side of a tile, px.
    """

    epsg: int = 4326
    resolution: float | None = None
    tile_size: int = 36_000

    def __post_init__(self):
        try:
            crs = CRS.from_epsg(self.epsg)
        except CRSError:
            raise ValueError(
                f"product grid: there is no CRS EPSG:{self.epsg}; choose one of epsg.org"
            ) from None
        if self.resolution is None:
            resolution = 1 / 12000 if crs.is_geographic else 10 / metres_per_unit(self.epsg)
            object.__setattr__(self, "resolution", resolution)
        if not (isfinite(self.resolution) and self.resolution > 0 and self.tile_size > 0):
            raise ValueError(f"product grid: sizes have to be positive numbers, got {self}")

    @property
    def metres(self) -> float:
        """Pixel size from south to north."""
        return self.resolution * metres_per_unit(self.epsg)

    def geobox(self, left: int, top: int, width: int, height: int) -> GeoBox:
        """The window whose upper left pixel corner is `left` px east and `top` px north of 0, 0.

        Edges are the nearest floats to exact multiples, so that those of neighbours are equal.
        """
        return GeoBox(self.epsg, self._edge(left), self._edge(top), self.resolution, width, height)

    def _edge(self, index: int) -> float:
        return float(index * Fraction(self.resolution).limit_denominator(10**9))

    def tile_name(self, x: int, y: int) -> str:
        """Name of the tile that is x tiles east and y tiles north of the CRS's origin."""
        east, north = (self._edge(i * self.tile_size) for i in (x, y))
        if CRS.from_epsg(self.epsg).is_geographic and east.is_integer() and north.is_integer():
            return f"{'NS'[north < 0]}{abs(int(north)):02d}{'EW'[east < 0]}{abs(int(east)):03d}"
        return f"{'EW'[x < 0]}{abs(x):03d}{'NS'[y < 0]}{abs(y):03d}"


def product_tiles(region: BaseGeometry, grid: ProductGrid) -> list[ProductTile]:
    """Product tiles that share area with a region, by name.

    Args:
      region: (multi)polygon, longitude and latitude in degrees, EPSG:4326.

    Returns:
      Each tile clipped to the region's bounds, which are snapped outward to pixel edges; a region
      over the antimeridian has bounds on either side of it.

    Raises:
      ValueError: the product's CRS does not cover the region.
    """
    west, _, east, _ = region.bounds
    if west > -180 or east < 180:
        return sorted(_tiles_within_bounds(region, grid))
    sides = (region.intersection(shapely.box(w, -90, w + 180, 90)) for w in (-180, 0))
    tiles = {tile for side in sides if side.area > 0 for tile in _tiles_within_bounds(side, grid)}
    return sorted(tiles)


def _tiles_within_bounds(region: BaseGeometry, grid: ProductGrid) -> list[ProductTile]:
    projected = project(region, grid.epsg)
    shapely.prepare(projected)
    edges = [edge / grid.resolution for edge in projected.bounds]
    left, bottom = (floor(edge + _ON_EDGE) for edge in edges[:2])
    right, top = (ceil(edge - _ON_EDGE) for edge in edges[2:])
    size = grid.tile_size
    tiles = []
    for x in range(left // size, ceil(right / size)):
        for y in range(bottom // size, ceil(top / size)):
            west, east = max(left, x * size), min(right, (x + 1) * size)
            south, north = max(bottom, y * size), min(top, (y + 1) * size)
            geobox = grid.geobox(west, north, east - west, north - south)
            # The region may have several parts with nothing between them.
            if projected.intersection(shapely.box(*geobox.bounds)).area > 0:
                tiles.append(ProductTile(grid.tile_name(x, y), geobox))
    return tiles


def project(region: BaseGeometry, epsg: int, segment: float = 0.05) -> BaseGeometry:
    """A region of EPSG:4326 in another CRS.

    Args:
      segment: longest piece of an edge that is taken for straight there, degrees: straight edges
        in degrees are curves in another CRS.

    Raises:
      ValueError: the CRS does not cover the region.
    """
    if epsg == 4326:
        return region
    use = CRS.from_epsg(epsg).area_of_use
    if use and not region.intersects(shapely.box(*use.bounds)):
        raise ValueError(
            f"product: EPSG:{epsg} is meant for {use.name} {use.bounds}, the region lies at "
            f"{region.bounds}; choose a CRS that covers it"
        )
    to_product = Transformer.from_crs(4326, epsg, always_xy=True)
    segments = shapely.segmentize(region, segment)
    projected = shapely.transform(segments, to_product.transform, interleaved=False)
    if not all(isfinite(edge) for edge in projected.bounds):
        raise ValueError(
            f"product: the region {region.bounds} reaches beyond what EPSG:{epsg} can show; "
            "choose a CRS that covers it"
        )
    return projected


def product_url(root: str) -> str:
    """Folder of the product: collection.json, and a folder per tile."""
    return store.join(root, "product")


def collection_url(root: str) -> str:
    return store.join(product_url(root), "collection.json")


def tile_url(root: str, name: str) -> str:
    return store.join(product_url(root), name)


def item_url(root: str, name: str) -> str:
    """The tile's STAC item; written last: a tile is finished when it exists."""
    return store.join(tile_url(root, name), f"{name}.json")


def cog_url(root: str, name: str, layer: str) -> str:
    return store.join(tile_url(root, name), f"{name}_{layer}.tif")


def zarr_url(root: str, name: str) -> str:
    return store.join(tile_url(root, name), f"{name}.zarr")


def quicklook_url(root: str, name: str) -> str:
    return store.join(tile_url(root, name), f"{name}.png")
