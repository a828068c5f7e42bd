"""What users of such systems suffer from, where no test of a part shows that we do not.

The numbers are those of docs/hostile.md, which names a test, or a reason, for all of them.
"""

from __future__ import annotations

import ast
import os
import resource
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import shapely
import torch
from apache_beam.pipeline import PipelineVisitor
from rasterio.errors import RasterioError

from model import checkpoint
from model.legend import LULC6
from model.predict import Predictor
from pipeline import jobs, launch, lock, progress
from pipeline.config import RunConfig, file_digest
from pipeline.region import Region
from tests.planet import micro_checkpoint
from tests.test_promises import run_in_a_loop
from tests.transforms.sources.made_scenes import BOX, write_scenes
from transforms import store
from transforms.export import write_cog
from transforms.failures import FAILED
from transforms.grid import GeoBox, Grid
from transforms.layers import LAYERS, choose_layers
from transforms.measure import measured
from transforms.mosaic import Window
from transforms.period import Period
from transforms.pixels.pairing import Pair, PairRule, Regime
from transforms.pixels.prepare import PixelOptions, prepare_block
from transforms.plan import pair_requests, plan_tile
from transforms.product import ProductGrid
from transforms.scene import SENTINEL1, SourceUnavailable
from transforms.sources.files import FilesSource
from transforms.sources.patience import Patience
from transforms.sources.synthetic import SyntheticSource

ROOT = Path(__file__).parents[2]
GRID = Grid(chip_size=96, halo=16, blocks_per_tile=2)
RULE = PairRule(date(2024, 6, 15))
PLACE = shapely.box(5.99, 50.0, 6.0, 50.005)
WORLD = (-180.0, -90.0, 180.0, 90.0)
JUNE = Period(date(2024, 6, 1), date(2024, 7, 1))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return micro_checkpoint(tmp_path_factory.mktemp("weights") / "micro.safetensors")


def run_of(weights: str, out: Path, **changes) -> RunConfig:
    run = RunConfig(
        Region("place", PLACE),
        RULE,
        "synthetic:seed=3",
        str(out),
        weights,
        file_digest(weights),
        grid=GRID,
        product=ProductGrid(tile_size=400),
        threads=1,
    )
    return replace(run, **changes)


def requests_of(source, rule: PairRule = RULE):
    tile = next(iter(GRID.tiles_covering(PLACE)))
    return plan_tile(tile, list(GRID.blocks(tile, PLACE)), GRID, rule, source)


@dataclass(frozen=True)
class Watched(SyntheticSource):
    """The synthetic planet, which notes what is asked of it, and may lack scenes."""

    log: tuple = ()  # of one list: a frozen class holds no other
    lacking: frozenset = frozenset()

    def search(self, bounds, period):
        return [s for s in super().search(bounds, period) if s.id not in self.lacking]

    def read(self, scene, geobox, bands):
        for seen in self.log:
            seen.append((scene.id, geobox))
        return super().read(scene, geobox, bands)


def test_pain_01_no_aggregation_is_asked_of_earth_engine():
    """Reductions run on the service's side and are limited to a few at a time."""
    asked = set()
    for path in (ROOT / "transforms" / "sources").glob("earthengine*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                asked.add(node.attr)
    assert "computePixels" in asked
    forbidden = {"reduceRegion", "reduceRegions", "getInfo", "getDownloadURL", "evaluate"}
    assert not asked & forbidden


def test_pain_08_granules_that_the_catalogue_lacks_are_counted_not_invented():
    full = requests_of(Watched(seed=3))
    used = {s.id for r in full for s in r.pair.optical}
    again = requests_of(Watched(seed=3, lacking=frozenset(used)))
    assert {s.id for r in again for s in r.pair.optical} & used == set()
    everything = frozenset(s.id for s in Watched(seed=3).search(WORLD_PLACE, RULE.period))
    nothing = requests_of(Watched(seed=3, lacking=everything))
    assert len(nothing) == len(full)
    assert all(r.pair == Pair((), ()) and r.regime == Regime.NONE for r in nothing)


WORLD_PLACE = (5.0, 49.0, 7.0, 51.0)


def test_pain_12_no_read_is_larger_than_a_block(tmp_path):
    """The size of the region decides how many reads there are, never how large they are."""
    seen: list[tuple[str, GeoBox]] = []
    source, options = Watched(seed=3, log=(seen,)), PixelOptions()
    for request in pair_requests(requests_of(source)):
        outcome = measured(str(tmp_path), request, GRID, RULE, source, options)
        for key in request.blocks[:2]:
            pair, shift = outcome.measured
            prepare_block(key, pair, RULE.target, GRID, source.read, options, shift)
    assert len(seen) > 4
    margin = 2 * 8  # of the SAR, whose filter and shift look beyond the block
    assert max(max(box.shape) for _, box in seen) <= GRID.block_size + margin


def test_pain_16_harmonising_is_on_unless_somebody_switches_it_off():
    assert PixelOptions().harmonise and PixelOptions().inputs == "measure"


@pytest.mark.parametrize("gone", ["s1a", "s1b"])
def test_pain_24_a_satellite_that_is_missing_leaves_the_other_ones(gone):
    scenes = SyntheticSource(seed=3).search(WORLD_PLACE, RULE.period)
    sar = [s for s in scenes if s.sensor == SENTINEL1]
    lost = frozenset(s.id for s in sar[:: 2 if gone == "s1a" else 3])
    found = requests_of(Watched(seed=3, lacking=lost))
    regimes = {r.regime for r in found}
    assert found and Regime.NONE not in regimes
    assert not {s.id for r in found for s in r.pair.sar} & lost


def test_pain_40_no_object_is_written_twice(weights, tmp_path, monkeypatch):
    """Google Cloud Storage takes one write a second of an object."""
    written: Counter = Counter()
    replaced = os.replace

    def noting(source, target, **where):
        written[str(target)] += 1
        return replaced(source, target, **where)

    monkeypatch.setattr(os, "replace", noting)
    out = tmp_path / "out"
    run_in_a_loop(run_of(weights, out))
    products = {name: times for name, times in written.items() if name.startswith(str(out))}
    assert len(products) > 5
    again = {name: times for name, times in products.items() if times > 1}
    # Zarr writes a product tile's own metadata, then its arrays', then both in one document: one
    # writer, who is patient with a 429.
    assert all(name.endswith(".zarr/zarr.json") and "/product/" in name for name in again)
    assert all(times <= 3 for times in again.values())


class _Graph(PipelineVisitor):
    """By collection: the transform that makes it; and what is grouped."""

    def __init__(self):
        self.nodes, self.grouped, self.producer = [], [], {}

    def visit_transform(self, node):
        self.nodes.append(node)
        for output in node.outputs.values():
            self.producer[output] = node
        if isinstance(node.transform, beam.GroupByKey):
            self.grouped.append(node)

    enter_composite_transform = visit_transform


def test_pain_41_pixels_never_cross_a_shuffle(weights, tmp_path):
    """Upstream of every shuffle lie keys, scenes and failures; FetchBlocks' chips never do."""
    run = run_of(weights, tmp_path / "out")
    launch.start(run)
    pipeline = beam.Pipeline()
    jobs.ingest(pipeline, run, SyntheticSource(seed=3))
    graph = _Graph()
    pipeline.visit(graph)
    assert graph.grouped, "the limits on requests are shuffles"
    chips = {
        output
        for node in graph.nodes
        if "FetchBlocks" in node.full_label
        for output in node.outputs.values()
        if output.tag != FAILED
    }
    assert chips
    for node in graph.grouped:
        waiting, seen = list(node.inputs), set()
        while waiting:
            collection = waiting.pop()
            maker = graph.producer.get(collection)
            if collection in seen or maker is None:
                continue
            seen.add(collection)
            # Failures come out of the fetching step beside its chips: follow what is not a failure.
            if collection.tag != FAILED:
                assert collection not in chips, f"{node.full_label} shuffles pixels"
            waiting += [] if collection.tag == FAILED else list(maker.inputs)


def test_pain_44_inference_keeps_no_gradients(weights):
    predictor = Predictor(checkpoint.load(weights), threads=1)
    seen = []
    predictor.network.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    spec = predictor.inputs
    optical = np.ones((1, len(spec.optical.bands), 64, 64), np.uint16)
    predictor.predict(optical, np.ones((1, 2, 64, 64), np.int16))
    assert seen == [False]


def test_pain_48_progress_names_numbers(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.01)
    done = iter(range(1000))
    with progress.progress("ingest", 1000, lambda: next(done)):
        time.sleep(0.3)
    assert "ingest: 1 of 1000 blocks" in capsys.readouterr().err


# Damage that no number of the list stands for, because it can befall any of them.


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"))


def read_all(folder: Path) -> str:
    """What comes of checking and reading every scene: "pixels" or the kinds of errors."""
    source, told = FilesSource(str(folder), Patience(attempts=1)), set()
    for scene in source.search(WORLD, JUNE):
        try:
            source.check_scene(scene, scene.bands)
            raster = source.read(scene, BOX, scene.bands)
            assert raster.pixels.shape == (len(scene.bands), *BOX.shape)
            told.add("pixels")
        except (ValueError, SourceUnavailable) as error:
            assert scene.id in str(error)
            told.add(type(error).__name__)
    return ",".join(sorted(told))


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bits_and_cut_files_are_errors_or_pixels_never_a_crash(scenes, tmp_path, seed):
    rng = np.random.default_rng(seed)
    for path in sorted(scenes.iterdir()):
        data = bytearray(path.read_bytes())
        if path.suffix == ".tif":
            if rng.random() < 0.3:
                data = data[: int(rng.integers(0, len(data)))]
            else:  # in the header mostly: there every byte means something
                for at in rng.integers(0, rng.choice([200, 1000, len(data)]), 8):
                    data[at % len(data)] ^= 1 << int(rng.integers(0, 8))
        (tmp_path / path.name).write_bytes(bytes(data))
    assert read_all(tmp_path) != "pixels"


def test_the_undamaged_scenes_are_read(scenes):
    assert read_all(scenes) == "pixels"


def test_a_full_disk_leaves_the_old_file_or_none(tmp_path):
    """No file may grow beyond 64 KiB for a while, as on a disk that is full."""
    store.write_bytes(str(tmp_path / "old.bin"), b"old")
    pixels = np.random.default_rng(0).integers(0, 100, (512, 512)).astype(np.uint8)
    (confidence,) = (layer for layer in choose_layers(tuple(LAYERS)) if layer.name == "confidence")
    whole = Window(slice(0, 512), slice(0, 512), {"confidence": pixels})
    box = GeoBox(32633, 500_000.0, 5_200_000.0, 10.0, 512, 512)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        for name in ("old.bin", "new.bin"):
            with pytest.raises(OSError):
                store.write_bytes(str(tmp_path / name), b"x" * 2**20)
        with pytest.raises((OSError, RasterioError)):
            write_cog(str(tmp_path / "new.tif"), box, confidence, [whole], LULC6, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "old.bin").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["old.bin"]


@pytest.mark.parametrize("leap", [timedelta(days=-400), timedelta(days=400)])
def test_a_clock_that_jumps_changes_neither_waits_nor_locks(tmp_path, leap, monkeypatch):
    now = [datetime.now(UTC).timestamp()]
    waits = []
    patience = Patience(sleep=waits.append, jitter=lambda: 0.0, clock=lambda: now[0])
    now[0] += leap.total_seconds()
    date_header = "Sun, 06 Nov 1994 08:49:37 GMT"
    assert patience.wait(0, date_header) == patience.first
    assert patience.wait(0, "Wed, 21 Oct 2099 07:28:00 GMT") <= 600.25
    # A lock goes by its holder's process, not by the time of day.
    with lock.locked(str(tmp_path), "run"):
        monkeypatch.setattr(time, "time", lambda: now[0])
        with pytest.raises(lock.Locked):
            with lock.locked(str(tmp_path), "run"):
                raise AssertionError("two hold one lock")
