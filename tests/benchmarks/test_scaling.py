import pytest

from benchmarks.scaling import chips_in_tile, grid_of, kind_of, region_of
from pipeline.region import load_region


@pytest.mark.parametrize(("chips", "blocks_per_tile"), [(32, 2), (320, 2), (3200, 2), (1600, 10)])
def test_a_region_has_as_many_chips_as_asked_for(chips, blocks_per_tile):
    grid = grid_of(blocks_per_tile)
    region = load_region(region_of(chips, grid)).geometry
    tiles = list(grid.tiles_covering(region))
    assert len(tiles) * chips_in_tile(grid) == chips
    assert all(len(list(grid.blocks(tile, region))) == grid.blocks_in_tile for tile in tiles)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/storage/v1/b/bucket/o?delimiter=&prefix=run/maps/a/&maxResults=1000", "lists"),
        ("GET", "/storage/v1/b/bucket/o/run%2Fplan%2Fa.json", "looks"),
        ("GET", "/download/storage/v1/b/bucket/o/run%2Fplan%2Fa.json?alt=media", "downloads"),
        ("POST", "/upload/storage/v1/b/bucket/o?uploadType=multipart", "uploads"),
        ("DELETE", "/storage/v1/b/bucket/o/run%2Flock.json", "deletions"),
    ],
)
def test_requests_to_storage_are_told_apart(method, path, kind):
    assert kind_of(method, path) == kind
