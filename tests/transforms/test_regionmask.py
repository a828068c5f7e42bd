"""The region's mask: pixel centres, every border pixel once, windows that agree."""

import numpy as np
import pytest
import shapely
from pyproj import Geod, Transformer

from pipeline.region import load_region
from transforms.area import pixel_areas
from transforms.grid import GeoBox
from transforms.lattice import pixel_centers
from transforms.mosaic import window_geobox
from transforms.product import ProductGrid, product_tiles, project
from transforms.regionmask import RegionMask

WEST = shapely.Polygon([(5, 50), (5.013, 50.0002), (5.009, 50.011), (5.0155, 50.02), (5, 50.02)])
EAST = shapely.Polygon([(5.03, 50.0002), (5.013, 50.0002), (5.009, 50.011), (5.0155, 50.02)])
RING = shapely.difference(
    shapely.Point(5.01, 50.01).buffer(0.009), shapely.Point(5.01, 50.01).buffer(0.004)
)
GRIDS = [ProductGrid(), ProductGrid(6933), ProductGrid(3035), ProductGrid(32631, 10.0, 1000)]


def box_of(shape, grid: ProductGrid) -> GeoBox:
    """The product's window around a shape, a few pixels wider."""
    left, bottom, right, top = (edge / grid.resolution for edge in project(shape, grid.epsg).bounds)
    return grid.geobox(int(left) - 3, int(top) + 3, int(right - left) + 7, int(top - bottom) + 7)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.epsg)
@pytest.mark.parametrize("shape", [WEST, RING, shapely.union(WEST, RING.buffer(0.001))])
def test_pixels_are_those_whose_centre_lies_in_the_region(grid, shape):
    box = box_of(shape, grid)
    found = RegionMask(shape)(box)
    x, y = np.meshgrid(*pixel_centers(box))
    lon, lat = Transformer.from_crs(grid.epsg, 4326, always_xy=True).transform(x, y)
    np.testing.assert_array_equal(found, shapely.contains_xy(shape, lon, lat))
    assert 0.1 < found.mean() < 0.9


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.epsg)
def test_regions_that_share_a_border_have_every_pixel_once(grid):
    box = box_of(shapely.union(WEST, EAST), grid)
    west, east, both = (RegionMask(s)(box) for s in (WEST, EAST, shapely.union(WEST, EAST)))
    assert not (west & east).any()
    np.testing.assert_array_equal(west | east, both)


def test_a_border_through_pixel_centres_gives_them_to_the_east_and_the_north():
    degrees = ProductGrid(4326, 0.5, 100)
    box = degrees.geobox(0, 8, 8, 8)  # centres at 0.25, 0.75, ...
    left, right = shapely.box(0, 0, 1.25, 4), shapely.box(1.25, 0, 4, 4)
    found = [RegionMask(part)(box) for part in (left, right)]
    assert [part[0].sum() for part in found] == [2, 6]
    low, high = shapely.box(0, 0, 4, 1.25), shapely.box(0, 1.25, 4, 4)
    found = [RegionMask(part)(box) for part in (low, high)]
    assert [part[:, 0].sum() for part in found] == [2, 6]


def test_windows_agree_however_a_tile_is_cut():
    box = box_of(RING, ProductGrid())
    whole = RegionMask(RING)(box)
    for size in (1, 7, 64):
        for top in range(0, box.height, size):
            rows = slice(top, min(top + size, box.height))
            for cols in (slice(0, 50), slice(50, box.width)):
                part = RegionMask(RING)(window_geobox(box, rows, cols))
                np.testing.assert_array_equal(part, whole[rows, cols])


@pytest.mark.parametrize("name", ["togo", "fiji"])
def test_area_of_a_shipped_country_within_a_tenth_of_a_percent(name):
    region = load_region(name).geometry
    tiles = product_tiles(region, ProductGrid(resolution=1 / 600, tile_size=1800))
    km2 = sum(
        pixel_areas(tile.geobox) @ RegionMask(region)(tile.geobox).sum(axis=1) for tile in tiles
    )
    edges = shapely.segmentize(region, 0.01)
    truth = abs(Geod(ellps="WGS84").geometry_area_perimeter(edges)[0])
    assert km2 == pytest.approx(truth, rel=1e-3)
    if name == "fiji":
        assert {tile.name[3] for tile in tiles} == {"E", "W"}
