import pytest
import shapely

from transforms.product import ProductGrid, product_tiles

GRID = ProductGrid()


def test_tiles_are_worldcovers_and_edges_of_neighbours_are_equal():
    tiles = {t.name: t.geobox for t in product_tiles(shapely.box(5.9, -0.1, 6.1, 0.2), GRID)}
    assert sorted(tiles) == ["N00E003", "N00E006", "S03E003", "S03E006"]
    assert tiles["N00E006"].x0 == tiles["S03E006"].x0 == 6.0
    assert tiles["S03E003"].y0 == tiles["S03E006"].y0 == 0.0
    assert tiles["N00E003"].y0 == tiles["N00E006"].y0 == 2400 / 12000
    assert tiles["N00E003"].bounds[2] == pytest.approx(6.0, abs=1e-12)
    assert tiles["N00E006"].shape == (2400, 1200)
    assert tiles["S03E003"].shape == (1200, 1200)


def test_bounds_snap_outward_to_pixel_edges():
    third = 1 / 36000  # of a pixel
    region = shapely.box(1 - third, 2 + third, 1.1 + third, 2.1)
    (tile,) = product_tiles(region, GRID)
    left, top = round(tile.geobox.x0 * 12000), round(tile.geobox.y0 * 12000)
    assert (left, top) == (12000 - 1, 25200)
    assert tile.geobox.shape == (1200, 1202)
    # An edge on a pixel edge, in floats (6.1 * 12000 = 73199.99...), adds no pixel.
    assert product_tiles(shapely.box(6.1, 1, 6.2, 1.1), GRID)[0].geobox.shape == (1200, 1200)


def test_a_whole_tile_is_36000_pixels():
    (tile,) = product_tiles(shapely.box(-180, -3, -177, 0), GRID)
    assert (tile.name, tile.geobox.shape) == ("S03W180", (36000, 36000))
    assert tile.geobox.bounds == (-180, -3, -177, 0)


def test_only_tiles_that_share_area_with_one_of_the_parts():
    region = shapely.union_all([shapely.box(0.5, 0.5, 1, 1), shapely.box(6, 6, 7, 7)])
    # The tile between them, N03E003, touches the second one in a corner only.
    assert [t.name for t in product_tiles(region, GRID)] == ["N00E000", "N06E006"]
    first, second = (t.geobox for t in product_tiles(region, GRID))
    assert first.bounds == (0.5, 0.5, 3, 3), "clipped to the bounds of the whole region"
    assert second.bounds == (6, 6, 7, 7)


def test_projected_product():
    grid = ProductGrid(epsg=3035, resolution=10, tile_size=1000)
    tiles = product_tiles(shapely.box(10.0, 51.92, 10.1, 52.05), grid)
    print([(t.name, str(t.geobox)) for t in tiles])
    assert {t.name for t in tiles} == {"E432N320", "E432N321"}
    for tile in tiles:
        assert tile.geobox.x0 % 10 == 0 and tile.geobox.y0 % 10 == 0
    tops = {t.name: t.geobox.bounds for t in tiles}
    assert tops["E432N321"][1] == tops["E432N320"][3]


def test_tiles_of_other_sizes_are_numbered():
    grid = ProductGrid(tile_size=1000)
    assert grid.tile_name(-3, 7) == "W003N007"
    assert GRID.tile_name(-3, 7) == "N21W009"


def test_a_region_that_the_crs_does_not_cover():
    with pytest.raises(ValueError, match="EPSG:3031"):
        product_tiles(shapely.box(0, 80, 10, 90), ProductGrid(epsg=3031, resolution=10))
    with pytest.raises(ValueError, match="positive"):
        ProductGrid(resolution=0)


def test_a_region_over_the_antimeridian_has_bounds_on_either_side():
    region = shapely.union(
        shapely.box(179.9, -17, 180, -16.9), shapely.box(-180, -17, -179.8, -16.9)
    )
    tiles = {tile.name: tile.geobox for tile in product_tiles(region, ProductGrid())}
    assert set(tiles) == {"S18E177", "S18W180"}
    assert (tiles["S18E177"].width, tiles["S18W180"].width) == (1200, 2400)
