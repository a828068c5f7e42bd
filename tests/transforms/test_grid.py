import numpy as np
import pytest
import shapely
from pyproj import Transformer

from transforms.grid import BlockKey, GeoBox, Grid, TileIndex
from transforms.zones import zone_epsg, zones_touched

SMALL = Grid(chip_size=96, halo=16, blocks_per_tile=3)


def test_default_sizes_are_those_of_the_architecture():
    grid = Grid()
    assert (grid.core_size, grid.block_core_size, grid.block_size, grid.tile_size) == (
        448,
        896,
        960,
        8960,
    )


def test_keys_print_as_people_read_them():
    key = BlockKey(33, 12, 45, 3, 7)
    assert str(key) == "33N/x012y045/r03c07"
    assert str(BlockKey(-33, 12, 45, 3, 7).tile) == "33S/x012y045"
    assert key.tile.path == "33N_x012y045"


def test_cores_tile_the_plane_exactly_once():
    tile = TileIndex(31, 3, 40)
    count = np.zeros((SMALL.tile_size,) * 2, int)
    for row in range(3):
        for col in range(3):
            count[SMALL.core(BlockKey(31, 3, 40, row, col))] += 1
    assert (count == 1).all()
    first, last = BlockKey(31, 3, 40, 0, 0), BlockKey(31, 3, 40, 2, 2)
    left, bottom, right, top = SMALL.tile_geobox(tile).bounds
    assert (SMALL.core_geobox(first).x0, SMALL.core_geobox(first).y0) == (left, top)
    assert SMALL.core_geobox(last).bounds[1:3] == (bottom, right)
    # The tile to the north begins where this one ends.
    assert SMALL.tile_geobox(TileIndex(31, 3, 41)).bounds[1] == top


def test_halo_surrounds_the_core_and_chips_overlap_by_two_halos():
    key = BlockKey(31, 3, 40, 1, 1)
    box, core = SMALL.geobox(key), SMALL.core_geobox(key)
    assert box.shape == (160, 160)
    assert (core.x0 - box.x0, box.y0 - core.y0) == (160, 160)
    slices = SMALL.chip_slices()
    assert len(slices) == 4
    assert slices[0] == (slice(0, 96), slice(0, 96))
    assert slices[3] == (slice(64, 160), slice(64, 160))


def test_pixel_edges_lie_on_multiples_of_the_resolution():
    box = Grid().geobox(BlockKey(33, 5, 60, 9, 9))
    assert box.x0 % 10 == 0 and box.y0 % 10 == 0


def test_every_point_of_a_region_lies_in_exactly_one_block_of_its_zone():
    # Over the border of zones 31 and 32.
    region = shapely.box(5.97, 50.0, 6.03, 50.03)
    keys = [k for t in SMALL.tiles_covering(region) for k in SMALL.blocks(t, region)]
    assert len(keys) == len(set(keys))
    assert {k.zone for k in keys} == {31, 32}
    rng = np.random.default_rng(0)
    for lon, lat in zip(rng.uniform(5.97, 6.03, 200), rng.uniform(50.0, 50.03, 200), strict=True):
        zone = 31 if lon < 6 else 32
        x, y = Transformer.from_crs(4326, zone_epsg(zone), always_xy=True).transform(lon, lat)
        boxes = [SMALL.core_geobox(k).bounds for k in keys if k.zone == zone]
        holding = [b for b in boxes if b[0] <= x < b[2] and b[1] < y <= b[3]]
        assert len(holding) == 1


def test_southern_and_northern_zone_share_the_equator():
    assert zones_touched(shapely.box(9.0, -0.1, 9.1, 0.1)) == [-32, 32]
    assert zones_touched(shapely.box(6.0, 1.0, 12.0, 2.0)) == [32]


def test_antimeridian_region_is_two_zones():
    region = shapely.union(
        shapely.box(179.9, -17, 180, -16.9), shapely.box(-180, -17, -179.9, -16.9)
    )
    assert zones_touched(region) == [-60, -1]


@pytest.mark.parametrize("lat", [(-85, -79), (83, 85)])
def test_polar_regions_are_refused(lat):
    with pytest.raises(ValueError, match="beyond the UTM zones; expected -80 to 84"):
        list(Grid().tiles_covering(shapely.box(0, lat[0], 1, lat[1])))


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"chip_size": 64, "halo": 32}, "not larger than its two halos"),
        ({"chip_size": 100}, "multiple of 32"),
        ({"blocks_per_tile": 0}, "positive"),
    ],
)
def test_impossible_grids_are_refused(sizes, says):
    with pytest.raises(ValueError, match=says):
        Grid(**sizes)


def test_geobox_prints_its_place_and_shape():
    assert "EPSG:32631 (0, -20, 10, 0) 2 x 1 px of 10" == str(GeoBox(32631, 0, 0, 10, 1, 2))
