"""Where the tiles of a product lie together, and the cells of its overviews on that."""

from __future__ import annotations

from typing import NamedTuple

from pyproj import CRS

from transforms.grid import GeoBox
from transforms.product import ProductGrid, metres_per_unit
from transforms.published import Published, PublishedTile


class Canvas(NamedTuple):
    """Where the tiles of a product lie together, on the product's grid.

    Attributes:
      grid: of the product; counts pixels from the origin of its CRS.
      geobox: around all tiles, on multiples of the largest cell.
      places: rows and columns of every tile in it.
    """

    grid: ProductGrid
    geobox: GeoBox
    places: tuple[tuple[PublishedTile, slice, slice], ...]


class Cells(NamedTuple):
    """Side of an overview's cells in product pixels, and what they are called."""

    small: int  # as many as fit into 100 m: on the default grid 10, 1/1200 degree
    large: int  # ten times that

    @classmethod
    def of(cls, geobox: GeoBox) -> Cells:
        small = max(1, int(100 / (geobox.resolution * metres_per_unit(geobox.epsg))))
        return cls(small, 10 * small)


def canvas_of(product: Published, cells: Cells) -> Canvas:
    """Lay out the tiles of a product."""
    first = product.tiles[0].geobox
    grid = ProductGrid(first.epsg, first.resolution)
    boxes = [tile.geobox for tile in product.tiles]
    corners = [tuple(round(edge / grid.resolution) for edge in (b.x0, b.y0)) for b in boxes]
    lefts = [left for left, _ in corners]
    if CRS.from_epsg(grid.epsg).is_geographic:
        turned = [left % round(360 / grid.resolution) for left in lefts]
        lefts = min(lefts, turned, key=lambda edges: _span(edges, boxes))
    tops = [top for _, top in corners]
    size = cells.large
    left = min(lefts) // size * size
    top = -(-max(tops) // size) * size
    right = max(x + box.width for x, box in zip(lefts, boxes, strict=True))
    bottom = min(y - box.height for y, box in zip(tops, boxes, strict=True))
    width, height = (-(-length // size) * size for length in (right - left, top - bottom))
    places = tuple(
        (
            tile,
            slice(top - y, top - y + tile.geobox.height),
            slice(x - left, x - left + tile.geobox.width),
        )
        for tile, x, y in zip(product.tiles, lefts, tops, strict=True)
    )
    return Canvas(grid, grid.geobox(left, top, width, height), places)


def _span(lefts: list[int], boxes: list[GeoBox]) -> int:
    rights = [left + box.width for left, box in zip(lefts, boxes, strict=True)]
    return max(rights) - min(lefts)
