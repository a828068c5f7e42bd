"""Area of each class in what the map shows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pyproj import CRS, Transformer

from pipeline.viewer.products import Bounds, Product, ViewTile
from transforms.area import pixel_areas
from transforms.grid import GeoBox
from transforms.rasters import open_cog

MOST_PIXELS = 4_000_000
"""Read at full resolution for one view; beyond it overviews are read."""


class ClassAreas(NamedTuple):
    """Areas on the WGS 84 ellipsoid.

    Attributes:
      km2: by class code; only what is mapped.
      coarser: side of the pixels that were counted, in product pixels: 1 where the sum is exact.
    """

    km2: dict[int, float]
    coarser: int


def class_areas(product: Product, view: Bounds, most_pixels: int = MOST_PIXELS) -> ClassAreas:
    """Area of each class in a view; a pixel counts where its centre lies in it.

    Tiles that lie wholly in the view are taken from their STAC items; of the others those pixels
    are counted that the view holds, from overviews where they are more than `most_pixels`.

    Args:
      view: (west, south, east, north) in degrees; may reach beyond 180.
    """
    km2: dict[int, float] = {}
    cut: list[tuple[ViewTile, Bounds]] = []
    for box in _within_180(view):
        for tile in product.tiles_within(box):
            stated = tile.properties.get("cloudlulc:class_area_km2")
            if stated is not None and _holds(box, tile.bounds):
                codes = {c["name"].lower(): c["code"] for c in tile.classes}
                _add(km2, {codes[name.lower()]: area for name, area in stated.items()})
            elif "lulc" in tile.cogs:
                cut.append((tile, box))
    wanted = _factor(sum(_pixels(tile, box) for tile, box in cut), most_pixels)
    coarsest = 1
    for tile, box in cut:
        counted, factor = _count(tile.cogs["lulc"], box, wanted)
        _add(km2, counted)
        coarsest = max(coarsest, factor)
    return ClassAreas(km2, coarsest)


def _within_180(view: Bounds) -> list[Bounds]:
    """The parts of a view between 180 W and 180 E: the map goes round the world."""
    west, south, east, north = view
    if east - west >= 360:
        return [(-180.0, south, 180.0, north)]
    west, east = ((west + 180) % 360 - 180, (west + 180) % 360 - 180 + east - west)
    if east <= 180:
        return [(west, south, east, north)]
    return [(west, south, 180.0, north), (-180.0, south, east - 360, north)]


def _holds(box: Bounds, inner: Bounds) -> bool:
    return all(a <= b for a, b in zip(box[:2], inner[:2], strict=True)) and all(
        a >= b for a, b in zip(box[2:], inner[2:], strict=True)
    )


def _pixels(tile: ViewTile, box: Bounds) -> float:
    """About how many pixels of a tile lie in a box."""
    west, south, east, north = tile.bounds
    width = min(east, box[2]) - max(west, box[0])
    height = min(north, box[3]) - max(south, box[1])
    shape = tile.properties["proj:shape"]
    return shape[0] * shape[1] * width * height / ((east - west) * (north - south))


def _factor(pixels: float, most: int) -> int:
    factor = 1
    while pixels / factor**2 > most:
        factor *= 2
    return factor


def _count(url: str, box: Bounds, wanted: int) -> tuple[dict[int, float], int]:
    """km2 by class code of the pixels in a box, and how much coarser they are."""
    import rasterio.windows

    with open_cog(url) as cog:
        factors = [1, *cog.overviews(1)]
        epsg, resolution, (left, _, _, top) = cog.crs.to_epsg(), cog.res[0], cog.bounds
    level = next((i for i, f in enumerate(factors) if f >= wanted), len(factors) - 1)
    with open_cog(url, **({"OVERVIEW_LEVEL": level - 1} if level else {})) as cog:
        # An overview's pixels begin at the corner and are whole multiples, but for the last ones.
        geobox = GeoBox(epsg, left, top, resolution * factors[level], cog.width, cog.height)
        rows, cols = _window(geobox, box)
        if rows.start >= rows.stop or cols.start >= cols.stop:
            return {}, factors[level]
        window = rasterio.windows.Window.from_slices(rows, cols)
        codes = cog.read(1, window=window)
    part = geobox._replace(
        x0=geobox.x0 + cols.start * geobox.resolution,
        y0=geobox.y0 - rows.start * geobox.resolution,
        width=codes.shape[1],
        height=codes.shape[0],
    )
    if not CRS.from_epsg(epsg).is_geographic:
        codes[~_centres_within(part, box)] = 0
    areas = pixel_areas(part) / 1e6
    found = {int(code): float(((codes == code).sum(1) * areas).sum()) for code in np.unique(codes)}
    return {code: km2 for code, km2 in found.items() if code}, factors[level]


def _window(geobox: GeoBox, box: Bounds) -> tuple[slice, slice]:
    """(rows, columns) of the pixels whose centres may lie in a box of degrees."""
    west, south, east, north = box
    if geobox.epsg != 4326:
        to_product = Transformer.from_crs(4326, geobox.epsg, always_xy=True)
        west, south, east, north = to_product.transform_bounds(*box, densify_pts=21)
    cols = np.array([west - geobox.x0, east - geobox.x0]) / geobox.resolution - 0.5
    rows = np.array([geobox.y0 - north, geobox.y0 - south]) / geobox.resolution - 0.5
    top, bottom = np.clip(np.ceil(rows), 0, geobox.height).astype(int)
    first, last = np.clip(np.ceil(cols), 0, geobox.width).astype(int)
    return slice(int(top), int(bottom)), slice(int(first), int(last))


def _centres_within(geobox: GeoBox, box: Bounds) -> np.ndarray:
    """(y, x) bool: which pixel centres lie in a box of degrees."""
    x = geobox.x0 + (np.arange(geobox.width) + 0.5) * geobox.resolution
    y = geobox.y0 - (np.arange(geobox.height) + 0.5) * geobox.resolution
    to_geographic = Transformer.from_crs(geobox.epsg, 4326, always_xy=True)
    lon, lat = to_geographic.transform(*np.meshgrid(x, y))
    west, south, east, north = box
    return (lon >= west) & (lon < east) & (lat > south) & (lat <= north)


def _add(total: dict[int, float], more: dict[int, float]) -> None:
    for code, km2 in more.items():
        total[code] = total.get(code, 0.0) + km2
