"""The promises of docs/architecture.md: end to end, resume, seams."""

import os
import shutil
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from planet import micro_checkpoint

from model import checkpoint
from model.predict import Predictor
from pipeline import launch
from pipeline.cli import main
from pipeline.config import RunConfig, file_digest
from pipeline.refresh import forget
from pipeline.region import Region
from transforms import classify
from transforms.blend import blend_chips
from transforms.chips import (
    chip_cube_url,
    finished_chips,
    open_chip_cube,
    read_chips,
    write_chips,
)
from transforms.classify import map_block
from transforms.grid import Grid
from transforms.mapcube import (
    finished_blocks,
    map_cube_url,
    map_shard,
    open_map_cube,
    unclassified,
    write_core,
)
from transforms.measure import measured
from transforms.pixels.pairing import PairRule
from transforms.pixels.prepare import prepare_block
from transforms.plan import pair_requests, plan_tile
from transforms.plan_file import write_plan
from transforms.product import ProductGrid
from transforms.publish import publish_collection, publish_tile
from transforms.seal import seal_url
from transforms.sources import open_source

# Blocks of 128 px, tiles of 2 x 2 blocks; the region lies over the border of zones 31 and 32, of
# tiles beside and above each other, and of product tiles: four tiles of seven blocks.
GRID = Grid(chip_size=96, halo=16, blocks_per_tile=2)
REGION = Region("two zones", shapely.Polygon([(5.985, 50.004), (6.004, 50.004), (6.004, 50.019)]))
SOURCE = "synthetic:seed=3,cloud=0.4"
REPORTS = ("failures/", "reports/")  # hold times and causes: no part of equal bytes
TWO_PROCESSES = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return micro_checkpoint(tmp_path_factory.mktemp("weights") / "micro.safetensors")


def run_of(weights: str, out, **changes) -> RunConfig:
    fields = {
        "region": REGION,
        "rule": PairRule(date(2024, 6, 15)),
        "source": SOURCE,
        "out": str(out),
        "checkpoint": weights,
        "checkpoint_digest": file_digest(weights),
        "grid": GRID,
        "product": ProductGrid(tile_size=400),
        "threads": 1,
    }
    return RunConfig(**(fields | changes))


@pytest.fixture
def make_run(weights):
    return partial(run_of, weights)


def run_with_beam(run: RunConfig, *beam_args: str) -> list[launch.JobReport]:
    source = open_source(run.source)
    launch.check(run, source)
    launch.start(run)
    return [launch.execute(job, run, source, list(beam_args)) for job in launch.JOBS]


def run_in_a_loop(run: RunConfig) -> None:
    """The same functions as the jobs call, one key after the other, without Beam."""
    source, network = open_source(run.source), Predictor(checkpoint.load(run.checkpoint), threads=1)
    launch.start(run)
    for tile in run.tiles():
        blocks = run.grid.blocks(tile, REGION.geometry)
        requests = plan_tile(tile, blocks, run.grid, run.rule, source)
        write_plan(run.out, tile, requests)
        cube = open_chip_cube(run.out, tile, run.grid, run.inputs)
        for request in pair_requests(requests):
            (pair, shift), *_ = measured(run.out, request, run.grid, run.rule, source, run.options)
            for key in request.blocks:
                chips = prepare_block(
                    key, pair, run.target, run.grid, source.read, run.options, shift
                )
                write_chips(cube, run.grid, run.inputs, key, chips)
        maps = open_map_cube(run.out, tile, run.grid)
        for key in unclassified(tile, run.out, run.grid):
            chips = read_chips(cube, run.grid, key)
            mapped = chips, *network.predict_with_probabilities(chips.optical, chips.sar)
            layers, edges = map_block(mapped, run.grid, run.layers, run.blended)
            write_core(maps, run.grid, key, layers, edges)
    for tile in run.product_tiles():
        publish_tile(tile, run.publication())
    publish_collection(run.product_tiles(), run.publication())


def content(out: Path) -> dict[str, bytes]:
    """Every file of a run, reports apart."""
    files = {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
    return {name: data for name, data in files.items() if not name.startswith(REPORTS)}


def differing(a: dict[str, bytes], b: dict[str, bytes]) -> list[str]:
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


@pytest.fixture(scope="module")
def loop(weights, tmp_path_factory):
    """The undisturbed run without Beam."""
    return looped(run_of(weights, tmp_path_factory.mktemp("loop")))


def looped(run: RunConfig) -> tuple[RunConfig, dict[str, bytes]]:
    run_in_a_loop(run)
    return run, content(Path(run.out))


def test_the_planet_is_large_enough_to_prove_something(loop):
    run, files = loop
    keys = list(run.blocks())
    assert len({key.zone for key in keys}) == 2
    tiles = {(key.zone, key.tile_x, key.tile_y) for key in keys}
    assert any((zone, x + 1, y) in tiles for zone, x, y in tiles), "no border of tiles side by side"
    assert any((zone, x, y + 1) in tiles for zone, x, y in tiles), "none of tiles above each other"
    assert len({(key.tile, key.row) for key in keys}) > len({key.tile for key in keys})
    assert len(run.product_tiles()) >= 2
    assert run.grid.chips_per_block == 2
    codes = set()
    for tile in run.tiles():
        codes |= set(np.unique(open_map_cube(run.out, tile, run.grid).arrays["lulc"]))
    assert len(codes) >= 3, "a map of one class would equal anything"


@pytest.mark.parametrize(
    "beam_args",
    [(), TWO_PROCESSES, ("--direct_runner_bundle_repeat=1",)],
    ids=lambda a: " ".join(a),
)
def test_beam_equals_the_loop_byte_for_byte(loop, make_run, tmp_path, beam_args):
    run = make_run(tmp_path)
    reports = run_with_beam(run, *beam_args)
    assert [r.failed for r in reports] == [0, 0, 0]
    assert differing(content(tmp_path), loop[1]) == []


def test_blocks_at_once_beside_a_gpu_change_no_byte(loop, make_run, tmp_path, monkeypatch):
    for cores, at_once in ((2, 1), (8, 2), (208, 8)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert (classify.blocks_at_once("cpu"), classify.blocks_at_once("cuda")) == (1, at_once)
    shutil.copytree(loop[0].out, tmp_path / "run")
    run = make_run(tmp_path / "run")
    for seal in Path(run.out, "maps").glob("**/r*.json"):
        seal.unlink()
    monkeypatch.setattr(classify, "blocks_at_once", lambda device: 3)
    report = launch.execute("classify", run, None, [])
    assert report.done == report.todo == len(list(run.blocks()))
    assert differing(content(Path(run.out)), loop[1]) == []


def test_a_second_run_finds_nothing_to_do_and_changes_no_byte(loop, tmp_path):
    run, files = loop
    before = {p: p.stat().st_mtime_ns for p in Path(run.out).rglob("*.tif")}
    reports = run_with_beam(run)
    assert [r.todo for r in reports] == [0, 0, 0]
    assert content(Path(run.out)) == files
    assert before and before == {p: p.stat().st_mtime_ns for p in before}


def test_resume_fetches_only_what_is_missing(loop, make_run, tmp_path):
    out = tmp_path / "resumed"
    shutil.copytree(loop[0].out, out)
    run = make_run(out)
    tile = run.tiles()[0]
    key = sorted(finished_chips(run.out, tile, run.grid))[0]
    # As a killed job leaves it: pixels of one block without their mark of completion, its map
    # missing, and a half-written file that was never renamed.
    os.remove(seal_url(chip_cube_url(run.out, tile), key))
    maps = map_cube_url(run.out, tile)
    os.remove(seal_url(maps, key))
    lulc = f"{maps}/{map_shard('lulc', key)}"
    os.rename(lulc, f"{lulc}.partial")
    for item in out.glob("product/*/*.json"):
        os.remove(item)
    reports = run_with_beam(run)
    assert (reports[0].todo, reports[0].done) == (1, 1)
    assert reports[0].counters["fetch: blocks written"] == 1
    assert (reports[1].todo, reports[1].done) == (1, 1)
    os.remove(f"{lulc}.partial")
    assert differing(content(out), loop[1]) == []


class Deaf:
    """A source that is never asked."""

    def __getattr__(self, name):
        raise AssertionError(f"{name}: nothing was to be fetched")


def test_a_cleaned_run_stays_finished_and_fetches_what_is_taken_back_alone(loop, tmp_path):
    out = tmp_path / "cleaned"
    shutil.copytree(loop[0].out, out)
    run = replace(loop[0], out=str(out))
    item = next(out.glob("product/*/*.json"))
    os.rename(item, f"{item}.away")
    assert main(["clean", str(out)]) == 2 and (out / "chips").exists()
    os.rename(f"{item}.away", item)
    assert main(["clean", str(out)]) == 0 and not (out / "chips").exists()
    launch.check(run, Deaf())
    launch.start(run)
    assert [launch.execute(job, run, Deaf(), []).todo for job in launch.JOBS] == [0, 0, 0]
    kept = {n: data for n, data in loop[1].items() if not n.startswith("chips/")}
    assert differing(content(out), kept) == ["cleaned.json"]

    key = min(run.blocks())
    forget(run, (key,))
    reports = run_with_beam(run)
    assert [report.done for report in reports[:2]] == [1, 1]
    again = {n: data for n, data in content(out).items() if not n.startswith("chips/")}
    assert differing(again, kept) == ["cleaned.json"]


@pytest.mark.parametrize("sensor", ["sentinel-1", "sentinel-2"])
def test_a_missing_sensor_is_mapped_flagged_and_counted(make_run, tmp_path, sensor):
    run = make_run(tmp_path, source=f"synthetic:seed=3,without={sensor}")
    reports = run_with_beam(run)
    assert [r.failed for r in reports] == [0, 0, 0]
    name = {"sentinel-1": "SAR", "sentinel-2": "optical"}[sensor]
    blocks = sum(len(finished_blocks(run.out, tile, run.grid)) for tile in run.tiles())
    assert blocks and reports[0].counters[f"plan: blocks without {name}"] == blocks
    tile = run.tiles()[0]
    maps = open_map_cube(run.out, tile, run.grid).arrays
    mapped = maps["lulc"][:] > 0
    assert mapped.any()
    age = {"sentinel-1": "sar_age", "sentinel-2": "optical_age"}[sensor]
    assert (maps[age][:] == -32768).all()
    if sensor == "sentinel-2":
        assert (maps["reliability"][:][mapped] == 0).all()


def test_a_region_over_the_antimeridian_is_mapped_on_both_sides(make_run, tmp_path):
    east, west = shapely.box(179.99, -17.01, 180, -17), shapely.box(-180, -17.01, -179.99, -17)
    run = make_run(
        tmp_path, region=Region("antimeridian", shapely.union(east, west)), product=ProductGrid()
    )
    assert {key.zone for key in run.blocks()} == {-60, -1}
    reports = run_with_beam(run)
    assert [r.failed for r in reports] == [0, 0, 0]
    for name in ("S18E177", "S18W180"):
        with rasterio.open(tmp_path / "product" / name / f"{name}_lulc.tif") as lulc:
            assert lulc.shape == (120, 120)
            assert (lulc.read(1) > 0).all()


def test_a_small_convolution_maps_the_same_whether_cut_in_chips_or_not():
    """Seams: with a field of view inside the halo, chips leave no trace."""
    grid = Grid(chip_size=96, halo=16)
    rng = np.random.default_rng(0)
    block = rng.normal(size=(grid.block_size, grid.block_size))

    def blur(image: np.ndarray, reach: int) -> np.ndarray:
        for axis in (0, 1):
            kernel = np.ones(2 * reach + 1)
            image = np.apply_along_axis(np.convolve, axis, image, kernel, "same")
        return image

    from transforms.classify import _assemble

    def in_chips(reach: int) -> np.ndarray:
        chips = np.stack([blur(block[ys, xs], reach) for ys, xs in grid.chip_slices()])
        return _assemble(chips[:, core, core], grid)

    core = slice(grid.halo, -grid.halo)
    np.testing.assert_allclose(in_chips(16), blur(block, 16)[core, core])
    # And the test can fail: a field of view wider than the halo does leave one.
    assert np.abs(in_chips(24) - blur(block, 24)[core, core]).max() > 1e-3


def test_with_half_the_halo_for_its_field_of_view_blending_leaves_no_trace_either():
    grid = Grid(chip_size=96, halo=16)
    rng = np.random.default_rng(0)
    block = rng.integers(0, 2, (grid.block_size, grid.block_size))

    def count(image: np.ndarray, reach: int) -> np.ndarray:
        """(class, y, x) percent of what lies around a pixel; exact, in integers."""
        for axis in (0, 1):
            kernel = np.ones(2 * reach + 1, int)
            image = np.apply_along_axis(np.convolve, axis, image, kernel, "same")
        share = (100 * image // (2 * reach + 1) ** 2).astype(np.uint8)
        return np.stack([share, 100 - share])

    def in_chips(reach: int) -> np.ndarray:
        chips = np.stack([count(block[ys, xs], reach) for ys, xs in grid.chip_slices()])
        return blend_chips(chips.argmax(1).astype(np.uint8), chips, grid).percent

    inner = slice(grid.halo - grid.reach, grid.reach - grid.halo)
    np.testing.assert_array_equal(in_chips(8), count(block, 8)[:, inner, inner])
    # And the test can fail.
    assert (in_chips(16) != count(block, 16)[:, inner, inner]).any()
