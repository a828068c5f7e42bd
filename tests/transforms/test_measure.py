"""Pairs are measured before their blocks are fetched: shift, offset, edges; by Beam and without."""

import json
import threading
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import shapely

from model.inputs import INPUTS
from transforms.chips import create_chip_cube, open_chip_cube, read_chips
from transforms.failures import WriteFailures, read_failures
from transforms.fetch import FetchBlocks, WriteChips
from transforms.grid import Grid
from transforms.limit import LimitConcurrency
from transforms.measure import (
    WINDOWS,
    Measured,
    MeasureInputs,
    forget_record,
    measure_pair,
    measured,
    read_record,
    record_name,
    sample,
    window,
)
from transforms.pixels.chip import Quality
from transforms.pixels.coregister import UNMEASURED
from transforms.pixels.pairing import PairRule, Regime
from transforms.pixels.prepare import PixelOptions, prepare_block
from transforms.plan import PlanBlocks, pair_requests, plan_tile
from transforms.plan_file import read_plan, write_plan
from transforms.provenance import planned_scenes, regimes
from transforms.scene import SENTINEL1, SENTINEL2, Bounds, Raster, Scene, SourceUnavailable
from transforms.sources.synthetic import SyntheticSource

GRID = Grid(chip_size=96, halo=16, blocks_per_tile=3)
REGION = shapely.box(15.1, 46.51, 15.13, 46.53)
RULE = PairRule(date(2024, 6, 15))
OPTIONS = PixelOptions()
(TILE,) = list(GRID.tiles_covering(REGION))[:1]


@dataclass(frozen=True)
class Spoiled:
    """The synthetic planet, with something wrong in its pixels; counts what is read."""

    planet: SyntheticSource = SyntheticSource(seed=3, cloud=0.2)
    offset: int = 0  # added to the DN of reflectance, which no metadata tell of
    border: int = 0  # px of border noise, -38 dB, along the west of a window of SAR
    only: str = ""  # part of the ids of the scenes with that offset
    down: bool = False
    reads: list = field(default_factory=list, compare=False)

    def search(self, bounds: Bounds, period) -> list[Scene]:
        return self.planet.search(bounds, period)

    def read(self, scene, geobox, bands) -> Raster:
        if self.down:
            raise SourceUnavailable(f"scene {scene.id}: gone")
        self.reads.append(scene.id)
        raster = self.planet.read(scene, geobox, bands)
        pixels = raster.pixels
        if scene.sensor == SENTINEL2 and self.offset and self.only in scene.id:
            known = [i for i, b in enumerate(bands) if b in INPUTS.optical.names]
            pixels[known] += np.where(pixels[known] == 0, 0, self.offset).astype(pixels.dtype)
        if scene.sensor == SENTINEL1 and self.border:
            pixels[:, :, : self.border] = -38
            pixels[:, :, :3] = np.nan
        return raster


def requests_of(source, rule=RULE):
    return plan_tile(TILE, GRID.blocks(TILE, REGION), GRID, rule, source)


def ingest(root, source, options=OPTIONS):
    """The job's steps on Beam; returns the dead letters."""
    create_chip_cube(root, TILE, GRID, INPUTS)
    with beam.Pipeline("FnApiRunner") as p:
        planned = p | beam.Create([TILE]) | PlanBlocks(root, REGION, GRID, RULE, source)
        looked = (
            planned.pairs
            | "Pairs" >> LimitConcurrency(2)
            | MeasureInputs(root, GRID, RULE, source, options)
        )
        fetched = looked.requests | LimitConcurrency(2) | FetchBlocks(source, GRID, RULE, options)
        fetched.chips | WriteChips(root, GRID, INPUTS)
        (planned.failed, looked.failed, fetched.failed) | WriteFailures(root, "ingest")
    return read_failures(root, "ingest")


def chips_of(root):
    cube = open_chip_cube(root, TILE, GRID, INPUTS)
    return {r.key: read_chips(cube, GRID, r.key) for r in requests_of(SyntheticSource(seed=3))}


def records(root) -> list[dict]:
    return [json.loads(p.read_text()) for p in sorted(Path(root).glob("plan/*/*.json"))]


def test_a_planted_shift_is_recorded_applied_and_flagged(tmp_path):
    aligned, moved = SyntheticSource(seed=3, cloud=0.2), SyntheticSource(3, 0.2, (2.5, -1.5))
    for name, planet in (("aligned", aligned), ("moved", moved)):
        assert ingest(str(tmp_path / name), Spoiled(planet)) == []
    (record,) = records(tmp_path / "moved")
    shift = record["shift"]
    assert shift["applied"] and shift["confident"]
    assert np.hypot(shift["dy"] - 2.5, shift["dx"] + 1.5) < 0.3
    before, after = chips_of(str(tmp_path / "aligned")), chips_of(str(tmp_path / "moved"))
    assert len(before) > WINDOWS
    gains = []
    for key, chips in after.items():
        np.testing.assert_allclose(chips.shift, [[shift["dy"], shift["dx"]]] * 4, atol=1e-6)
        assert (chips.quality & Quality.SHIFTED).all()
        assert not (before[key].quality & Quality.SHIFTED).any()
        assert np.isfinite(before[key].shift).all(), "recorded although too short to apply"
        assert (chips.sar != INPUTS.sar.nodata).all(), "as much more is read as it is long"
        untouched = prepare_block(
            key, requests_of(moved)[0].pair, RULE.target, GRID, moved.read, OPTIONS
        )
        gains.append([_likeness(c.sar, before[key].sar) for c in (chips, untouched)])
    better, worse = np.mean(gains, axis=0)
    assert better > worse + 0.05


def _likeness(a, b):
    """Correlation of speckled images, smoothed a little."""
    from scipy.ndimage import uniform_filter

    smooth = [uniform_filter(x[:, 0].astype(float), (1, 7, 7)).ravel() for x in (a, b)]
    return np.corrcoef(*smooth)[0, 1]


def chain(root) -> list[dict]:
    """Records of the one pair of a plan: the first choice, and what stands in for it in turn."""
    by_name = {p.stem: json.loads(p.read_text()) for p in Path(root).glob("plan/*/*.json")}
    plan, name, found = read_plan(str(root), TILE), "", []
    while True:
        ((optical, sar),) = {
            (tuple(b["optical"]), tuple(b["sar"])) for b in plan["blocks"].values()
        }
        name = record_name(optical, sar, name)
        found.append(by_name.pop(name))
        if "instead" not in found[-1]:
            assert not by_name, "records that belong to no block"
            return found
        plan = found[-1]["instead"]


def test_a_scene_in_quarantine_is_as_if_the_catalogue_did_not_hold_it(tmp_path):
    planet = SyntheticSource(seed=3, cloud=0.0)
    first, *_ = requests_of(planet)
    spoiled = first.pair.optical[0]
    source = Spoiled(planet, offset=1000, only=spoiled.id)
    root = str(tmp_path / "spoiled")
    assert ingest(root, source) == []
    dropped, used = chain(root)
    ((name, reasons),) = dropped["quarantine"].items()
    assert name == spoiled.id and "+1000 offset" in reasons[0] and dropped["shift"] is None
    assert used["quarantine"] == {} and used["shift"]["confident"]
    without = plan_tile(TILE, GRID.blocks(TILE, REGION), GRID, RULE, planet, without={spoiled.id})
    ids = [s.id for s in without[0].pair.optical]
    assert used["optical"] == ids != [spoiled.id]
    blocks = [r.key for r in without]
    assert {s.id for s in planned_scenes(root, blocks)} == {
        s.id for sensor in without[0].pair for s in sensor
    }
    assert regimes(root, blocks) == {Regime.BOTH: len(blocks)}
    # The plan says what was chosen, the record what became of it; the age is the second pass's.
    assert read_plan(root, TILE)["blocks"][str(blocks[0])]["optical"] == [spoiled.id]
    for chips in chips_of(root).values():
        assert set(chips.age[:, 0]) == {without[0].pair.optical[0].age(RULE.target)}
    # Another run writes the same; one that goes on uses what was recorded and reads nothing.
    again = str(tmp_path / "again")
    assert ingest(again, source) == []
    for one, other in zip(records(root), records(again), strict=True):
        assert one == other
    before = {p: p.read_bytes() for p in Path(root).rglob("*.json")}
    source.reads.clear()
    assert ingest(root, source) == [] and source.reads == []
    assert {p: p.read_bytes() for p in Path(root).rglob("*.json")} == before


def test_where_every_pass_contradicts_its_metadata_the_other_sensor_maps_alone(tmp_path):
    root = str(tmp_path)
    assert ingest(root, Spoiled(SyntheticSource(seed=3, cloud=0.0), offset=1000)) == []
    *dropped, last = chain(root)
    assert len(dropped) > 1 and all(SENTINEL2 in "".join(d["quarantine"]) for d in dropped)
    assert last["optical"] == [] and last["shift"] is None
    for chips in chips_of(root).values():
        assert (chips.quality & Quality.NO_OPTICAL).all()
        assert (chips.sar != INPUTS.sar.nodata).all() and np.isnan(chips.shift).all()
    blocks = [r.key for r in requests_of(SyntheticSource(seed=3))]
    assert {s.sensor for s in planned_scenes(root, blocks)} == {SENTINEL1}
    assert regimes(root, blocks) == {Regime.SAR_ONLY: len(blocks)}
    first = chain(root)[0]
    forget_record(root, TILE, record_name(first["optical"], first["sar"]))
    assert records(root) == []


def test_blocks_that_nothing_else_shows_are_mapped_as_nodata(tmp_path):
    planet = SyntheticSource(seed=3, cloud=0.0, without=(SENTINEL1,))
    root = str(tmp_path)
    assert ingest(root, Spoiled(planet, offset=1000)) == []
    for chips in chips_of(root).values():
        assert (chips.quality & Quality.NO_OPTICAL).all() and (chips.quality & Quality.NO_SAR).all()
    blocks = [r.key for r in requests_of(SyntheticSource(seed=3))]
    assert planned_scenes(root, blocks) == []
    assert regimes(root, blocks) == {Regime.NONE: len(blocks)}


def test_blocks_that_are_finished_keep_the_pass_that_stood_in_for_theirs(tmp_path):
    """A later search finds another pass; what is finished was made from the one before."""
    root, planet = str(tmp_path), SyntheticSource(seed=3, cloud=0.0)
    requests = requests_of(planet)
    (request,) = pair_requests(requests)
    spoiled = request.pair.optical[0].id
    source = Spoiled(planet, offset=1000, only=spoiled)
    write_plan(root, TILE, requests)
    one = measured(root, request, GRID, RULE, source, OPTIONS)
    second = one.instead[0].pair.optical[0].id
    done, todo = request.blocks[:5], request.blocks[5:]

    @dataclass(frozen=True)
    class Later(Spoiled):
        def search(self, bounds, period):
            return [s for s in super().search(bounds, period) if s.id != second]

    later = Later(planet, offset=1000, only=spoiled)
    (part,) = pair_requests(requests, finished=done)
    other = measured(root, part, GRID, RULE, later, OPTIONS)
    assert {k for r in other.instead for k in r.todo} == set(todo)
    assert other.instead[0].pair.optical[0].id != second
    assert second in {s.id for s in planned_scenes(root, done)}
    assert second not in {s.id for s in planned_scenes(root, todo)}


def test_trusted_inputs_are_not_looked_at(tmp_path):
    root, options = str(tmp_path), PixelOptions(inputs="trust")
    planet = SyntheticSource(seed=3, cloud=0.0, shift=(2.5, 0.0))
    assert ingest(root, Spoiled(planet, offset=1000), options) == []
    assert records(root) == []
    for chips in chips_of(root).values():
        assert not (chips.quality & (Quality.NO_OPTICAL | Quality.SHIFTED)).any()
        assert np.isnan(chips.shift).all()
    blocks = [r.key for r in requests_of(SyntheticSource(seed=3))]
    assert regimes(root, blocks) == {Regime.BOTH: len(blocks)}
    with pytest.raises(ValueError, match="inputs: got 'guess'"):
        PixelOptions(inputs="guess")


def test_windows_looked_at_side_by_side_say_the_same():
    source = Spoiled(SyntheticSource(3, 0.2, (2.5, -1.5)))
    (request,) = pair_requests(requests_of(source))
    boxes = [window(GRID, key) for key in sample(request.blocks)]
    alone, together = (
        measure_pair(request.pair, boxes, source.read, OPTIONS, at_once) for at_once in (1, 4)
    )
    assert alone == together and alone[2].applies


class Meeting(Spoiled):
    """Whose first reads wait for each other."""

    def __getstate__(self):
        return {}

    def read(self, scene, geobox, bands):
        if len(_MET) < 2:
            _MET.append(scene.id)
            _MEETING.wait(10)
        if geobox == GRID.geobox(_BROKEN):
            raise SourceUnavailable(f"scene {scene.id}: gone")
        return SyntheticSource(seed=3, cloud=0.2).read(scene, geobox, bands)


_MEETING, _MET = threading.Barrier(2), []
_BROKEN = sorted(GRID.blocks(TILE, REGION))[1]


def test_blocks_are_read_side_by_side_counted_and_fail_alone(tmp_path):
    root = str(tmp_path)
    create_chip_cube(root, TILE, GRID, INPUTS)
    requests = {r.key: r.pair for r in requests_of(Spoiled())}
    elements = [(key, Measured(pair, UNMEASURED)) for key, pair in requests.items()]
    p = beam.Pipeline("FnApiRunner")
    fetched = (
        p
        | beam.Create(elements)
        | LimitConcurrency(3, at_once=2)
        | FetchBlocks(Meeting(), GRID, RULE, OPTIONS, at_once=2)
    )
    fetched.chips | WriteChips(root, GRID, INPUTS)
    fetched.failed | WriteFailures(root, "ingest")
    done = p.run()
    done.wait_until_finish()
    assert len(_MET) == 2 and not _MEETING.broken
    (letter,) = read_failures(root, "ingest")
    assert letter.key == str(_BROKEN) and "gone" in letter.error
    found = done.metrics().query()
    counts = {c.key.metric.name: c.committed for c in found["counters"]}
    good = {key: pair for key, pair in requests.items() if key != _BROKEN}
    assert counts["blocks written"] == len(good) > 3
    assert counts["reads"] == sum(len(scenes) for pair in good.values() for scenes in pair)
    assert counts["bytes read"] > 0
    cube = open_chip_cube(root, TILE, GRID, INPUTS)
    read = SyntheticSource(seed=3, cloud=0.2).read
    for key, pair in good.items():
        expected = prepare_block(key, pair, RULE.target, GRID, read, OPTIONS)
        for ours, theirs in zip(read_chips(cube, GRID, key), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_border_noise_is_found_and_masked(tmp_path):
    source = Spoiled(border=6)
    (request,) = pair_requests(requests_of(source))
    boxes = [window(GRID, key) for key in sample(request.blocks)]
    found, quarantine, _ = measure_pair(request.pair, boxes, source.read, OPTIONS)
    (sar,) = [f for f in found if SENTINEL1 in f.scene]
    assert sar.defects["noise"] == pytest.approx(3 / (boxes[0].width - 3), rel=0.1)
    assert quarantine == {}
    chips = prepare_block(request.blocks[0], request.pair, RULE.target, GRID, source.read, OPTIONS)
    assert (chips.sar[0, :, :, :6] == INPUTS.sar.nodata).all()


def test_the_cost_is_bounded_and_the_choice_fixed():
    grid = Grid()
    blocks = [r.key for r in requests_of(SyntheticSource(seed=3))]
    assert sample(blocks[:3]) == blocks[:3]
    assert len(set(sample(blocks))) == WINDOWS
    tile = next(grid.tiles_covering(REGION))
    many = list(grid.blocks(tile, shapely.box(13, 46, 17, 47.5)))
    assert len(many) > 40
    chosen = sample(many)
    assert len({k.row for k in chosen}) == WINDOWS, "spread over the tile"
    box = window(grid, chosen[0])
    assert box.shape == (512, 512)
    core = grid.core_geobox(chosen[0])
    assert (box.x0 - core.x0, core.y0 - box.y0) == (1920, 1920)


def test_each_scene_is_read_once_per_window_and_a_record_is_used_again(tmp_path):
    source = Spoiled()
    (request,) = pair_requests(requests_of(source))
    ask = str(tmp_path), request, GRID, RULE
    first = measured(*ask, source, OPTIONS)
    assert len(source.reads) == WINDOWS * sum(map(len, request.pair))
    again = measured(*ask, Spoiled(down=True), OPTIONS)
    assert again == first and first.measured.shift != UNMEASURED
    assert (first.keys, first.instead, first.quarantine) == (request.todo, (), ())
    name = record_name(*([s.id for s in scenes] for scenes in request.pair))
    assert read_record(str(tmp_path), TILE, name)["windows"] == [
        str(key) for key in sample(request.blocks)
    ]
    # A run that is gone on with asks for what is left, and measures what an undisturbed one does.
    (part,) = pair_requests(requests_of(source), finished=request.blocks[:5])
    assert part.blocks == request.blocks and part.todo == request.blocks[5:]


def test_a_scene_that_hardly_touches_the_windows_is_not_judged():
    source = Spoiled(SyntheticSource(seed=3, cloud=0.0), offset=1000)
    (request,) = pair_requests(requests_of(source))
    west = [s._replace(footprint=(14.0, 46.0, 15.0, 47.0)) for s in request.pair.optical]
    pair = request.pair._replace(optical=tuple(west))
    boxes = [window(GRID, key) for key in sample(request.blocks)]
    _, quarantine, shift = measure_pair(pair, boxes, source.read, OPTIONS)
    assert quarantine == {} and not shift.confident


def test_a_pair_that_cannot_be_read_leaves_a_dead_letter_for_each_block(tmp_path):
    letters = ingest(str(tmp_path), Spoiled(down=True))
    keys = [str(r.key) for r in requests_of(SyntheticSource(seed=3))]
    assert sorted(f.key for f in letters) == sorted(keys)
    assert {f.stage for f in letters} == {"measure"} and "gone" in letters[0].error
    assert records(tmp_path) == []


class Unusable(Spoiled):
    def search(self, bounds, period):
        raise ValueError("3 of 3 scenes are of no use: raw GRD")


def test_a_tile_of_unusable_scenes_is_a_dead_letter(tmp_path):
    (letter,) = ingest(str(tmp_path), Unusable())
    assert (letter.key, letter.stage) == (str(TILE), "plan")
    assert "3 of 3 scenes are of no use" in letter.error


def test_the_regime_of_each_block_is_planned(tmp_path):
    sar_only = SyntheticSource(seed=3, without=(SENTINEL2,))
    requests = requests_of(sar_only)
    write_plan(str(tmp_path), TILE, requests)
    assert set(read_plan(str(tmp_path), TILE)["regimes"].values()) == {"sar only"}
    assert regimes(str(tmp_path), [r.key for r in requests]) == {Regime.SAR_ONLY: len(requests)}
