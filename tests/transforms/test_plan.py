from datetime import UTC, date, datetime, timedelta

from transforms.grid import Grid, TileIndex
from transforms.pixels.pairing import PairRule
from transforms.plan import plan_tile, shows
from transforms.plan_file import BlockRequest, read_plan, write_plan
from transforms.scene import SENTINEL2, Scene
from transforms.zones import geographic_bounds

GRID = Grid(chip_size=96, halo=16, blocks_per_tile=2)
TILE = TileIndex(31, 200, 2170)
RULE = PairRule(date(2024, 6, 15))
WEST, SOUTH, EAST, NORTH = GRID.footprint(TILE)


def scene(name, days=0, outline=""):
    time = datetime(2024, 6, 15, 10, tzinfo=UTC) + timedelta(days=days)
    box = (WEST, SOUTH, EAST, NORTH)
    return Scene(name, SENTINEL2, time, time, time, box, outline=outline)


class Catalogue:
    def __init__(self, *scenes):
        self.scenes = list(scenes)

    def search(self, bounds, period):
        return self.scenes


def blocks():
    box = GRID.tile_geobox(TILE)
    west, south, east, north = geographic_bounds(box.epsg, box.bounds)
    from shapely import box as polygon

    return list(GRID.blocks(TILE, polygon(west, south, east, north)))


def test_a_granule_that_fills_its_box_in_part_maps_only_the_blocks_it_shows():
    # The western half of the tile: an orbit's edge. Another pass, two days off, shows all of it.
    middle = (WEST + EAST) / 2
    half = f"POLYGON (({WEST} {SOUTH}, {WEST} {NORTH}, {middle - 0.002} {NORTH}, "
    half += f"{middle - 0.002} {SOUTH}, {WEST} {SOUTH}))"
    source = Catalogue(scene("edge", 0, half), scene("whole", 2))
    chosen = {
        r.key.col: r.pair.optical[0].id for r in plan_tile(TILE, blocks(), GRID, RULE, source)
    }
    assert chosen == {0: "edge", 1: "whole"}


def test_scenes_that_only_touch_a_box_do_not_show_it():
    here = scene("here")
    assert shows(here, (WEST, SOUTH, EAST, NORTH))
    assert not shows(here, (EAST, SOUTH, EAST + 1, NORTH))


def test_finished_blocks_keep_what_they_were_made_from(tmp_path):
    keys, root = blocks(), str(tmp_path)
    first = plan_tile(TILE, keys, GRID, RULE, Catalogue(scene("early", 3)))
    write_plan(root, TILE, first)
    # A nearer scene arrives late, when one block is already mapped.
    second = plan_tile(TILE, keys, GRID, RULE, Catalogue(scene("early", 3), scene("late", 1)))
    write_plan(root, TILE, second, finished={keys[0]})
    plan = read_plan(root, TILE)
    assert plan["blocks"][str(keys[0])]["optical"] == ["early"]
    assert {tuple(plan["blocks"][str(key)]["optical"]) for key in keys[1:]} == {("late",)}
    assert [plain["id"] for plain in plan["scenes"]] == ["early", "late"]


def test_a_plan_names_only_scenes_that_are_used(tmp_path):
    keys, root = blocks(), str(tmp_path)
    requests = plan_tile(TILE, keys, GRID, RULE, Catalogue(scene("far", 9), scene("near")))
    assert isinstance(requests[0], BlockRequest)
    write_plan(root, TILE, requests)
    assert [plain["id"] for plain in read_plan(root, TILE)["scenes"]] == ["near"]
