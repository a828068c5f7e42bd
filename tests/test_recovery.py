"""Late and replaced scenes, dead letters once more, one run at a time, a moved catalogue."""

import json
import shutil
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest
from planet import micro_checkpoint
from test_promises import content, differing, run_of
from test_promises import make_run as make_run
from test_promises import weights as weights

from pipeline import chain, launch
from pipeline.cli import main
from pipeline.identity import source_identity
from pipeline.lock import locked
from pipeline.refresh import forget, new_since
from pipeline.retry import by_cause, failed_blocks
from transforms.failures import Failure, read_failures
from transforms.scene import SourceUnavailable
from transforms.sources.synthetic import SyntheticSource
from transforms.store import read_json


@dataclass(frozen=True)
class Catalogue(SyntheticSource):
    """The synthetic source, with scenes that are replaced, come late, or cannot be read."""

    replaced: tuple[str, ...] = ()  # ids
    late: tuple[date, ...] = ()  # days not in the catalogue yet
    broken: tuple[str, ...] = ()  # ids

    def search(self, bounds, period):
        found = super().search(bounds, period)
        versions = {True: "2", False: "1"}
        return [
            s._replace(version=versions[s.id in self.replaced])
            for s in found
            if s.day not in self.late
        ]

    def read(self, scene, geobox, bands):
        if scene.id in self.broken:
            raise SourceUnavailable(f"scene {scene.id}: 503 of https://there/{geobox.x0}")
        return super().read(scene, geobox, bands)


FIRST = Catalogue(seed=3, cloud=0.4)


@pytest.fixture(scope="module")
def made(weights, tmp_path_factory):
    """A run of the first catalogue."""
    run = run_of(weights, tmp_path_factory.mktemp("made"), source="files:/here")
    execute(run, FIRST)
    return run


@pytest.fixture
def run(made, tmp_path):
    """A copy of it."""
    shutil.copytree(made.out, tmp_path / "run")
    return replace(made, out=str(tmp_path / "run"))


def execute(run, source) -> list[launch.JobReport]:
    launch.start(run)
    return [launch.execute(job, run, source, []) for job in launch.JOBS]


def test_a_replaced_scene_is_named_and_only_its_blocks_are_made_anew(run, tmp_path):
    assert not new_since(run, FIRST).blocks
    plans = [read_json(str(p)) for p in Path(run.out, "plan").glob("*.json")]
    used = {s["id"] for plan in plans for s in plan["scenes"]}
    users = {
        i: {k for p in plans for k, ids in p["blocks"].items() if i in ids["sar"] + ids["optical"]}
        for i in used
    }
    scene = min(users, key=lambda i: (len(users[i]), i))
    second = Catalogue(seed=3, cloud=0.4, replaced=(scene,))
    changes = new_since(run, second)
    assert changes.replaced == (scene,) and changes.late == ()
    assert users[scene] <= {str(key) for key in changes.blocks}
    # Going on with the run changes nothing: it keeps to its plan.
    assert [r.todo for r in execute(run, second)] == [0, 0, 0]
    forget(run, changes.blocks)
    reports = execute(run, second)
    assert reports[0].done == reports[1].done == len(changes.blocks)
    assert not new_since(run, second).blocks
    fresh = replace(run, out=str(tmp_path / "fresh"))
    execute(fresh, second)
    assert differing(content(Path(run.out)), content(Path(fresh.out))) == []


def test_a_plan_without_scenes_is_searched_again_by_refresh_alone(make_run, tmp_path):
    run = make_run(tmp_path, layers=("lulc",))
    nothing = Catalogue(seed=3, without=("sentinel-1", "sentinel-2"))
    execute(run, nothing)
    assert launch.left(run, "ingest") == 0
    changes = new_since(run, Catalogue(seed=3))
    assert set(changes.blocks) == set(run.blocks()) and changes.late
    forget(run, changes.blocks)
    assert execute(run, Catalogue(seed=3))[0].done == len(changes.blocks)


def test_a_resumed_run_keeps_to_its_plan_and_sweeps_what_was_half_written(make_run, tmp_path):
    run = make_run(tmp_path / "run", layers=("lulc",))
    period = run.rule.period
    near = [s for s in FIRST.search((5, 50, 6, 51), period) if s.sensor == "sentinel-2"]
    nearest = min(near, key=lambda s: abs(s.day - run.target)).day
    early = replace(FIRST, late=(nearest,))
    execute(run, early)
    before = content(Path(run.out))
    key = sorted(run.blocks())[0]
    for seal in Path(run.out).glob(f"*/{key.tile.path}/r{key.row:02d}c{key.col:02d}.json"):
        seal.unlink()
    # What a kill in the midst of two writes leaves: Zarr's file, and our folder with a file.
    litter = Path(run.out, "chips", f"{key.tile.path}.zarr", "sar", f"zarr.{'0a' * 16}.partial")
    litter.write_bytes(b"{")
    folder = Path(run.out, "chips", key.tile.path, f".r00c00.json.{'0b' * 16}.partial")
    folder.mkdir()
    (folder / "r00c00.json").write_bytes(b"{")
    assert execute(run, FIRST)[0].done == 1
    assert differing(content(Path(run.out)), before) == []
    assert new_since(run, FIRST).blocks


def test_dead_letters_are_grouped_and_retried_alone(make_run, tmp_path, capsys, monkeypatch):
    good = SyntheticSource(seed=3, cloud=0.4)
    run = make_run(tmp_path, source="synthetic:seed=3,cloud=0.4", layers=("lulc",))
    optical = [s for s in good.search((5, 50, 7, 51), run.rule.period) if s.sensor == "sentinel-2"]
    nearest = min(optical, key=lambda s: (abs(s.day - run.target), s.id))
    monkeypatch.setattr(
        chain, "open_source", lambda _: Catalogue(seed=3, cloud=0.4, broken=(nearest.id,))
    )
    assert chain.start_jobs(run, launch.JOBS, []) == 1
    failed = failed_blocks(run)
    told = capsys.readouterr().err
    assert failed and f"  {len(failed)} x " in told and "cloudlulc retry" in told
    assert launch.left(run, "ingest") == len(failed)
    monkeypatch.undo()
    assert main(["retry", run.out, "--threads=1"]) == 0
    assert f"ingest: {len(failed)} blocks" in capsys.readouterr().err
    assert not read_failures(run.out, "ingest")
    assert main(["retry", run.out]) == 0
    assert "no dead letters" in capsys.readouterr().err


def test_failures_of_one_cause_are_one_line():
    failures = [
        Failure(
            f"33N/x012y045/r03c{n:02d}", "fetch", f"SourceUnavailable: S2A_{n}, band B0{n}: 503"
        )
        for n in range(5)
    ]
    failures.append(Failure("33N/x012y045/r00c00", "network", "RuntimeError: not finite"))
    first, second = by_cause(failures)
    assert first == f"  5 x fetch, {failures[0].key}: {failures[0].error}"
    assert second.startswith("  1 x network")


def test_two_runs_do_not_write_to_one_folder(tmp_path, capsys, weights):
    command = [
        *("run", "--region=5.98,50,5.985,50.005", "--date=2024-06-15", "--threads=1"),
        *("--source=synthetic:seed=3", f"--out={tmp_path / 'out'}", f"--checkpoint={weights}"),
        *("--chip-size=96", "--halo=16", "--layers=lulc"),
    ]
    with locked(str(tmp_path / "out"), "another"):
        assert main(command) == 2
    assert "being written to by run another" in capsys.readouterr().err
    assert not (tmp_path / "out" / "run.json").exists()
    assert main(command) == 0
    assert not (tmp_path / "out" / "lock.json").exists()
    # A finished run writes nothing, so it asks for no lock.
    with locked(str(tmp_path / "out"), "another"):
        assert main(["run", f"--out={tmp_path / 'out'}"]) == 0
    assert main(["run", f"--out={tmp_path / 'out'}", "--refresh"]) == 0


@pytest.mark.parametrize(
    ("spec", "identity"),
    [
        ("files:/data/gambia/catalog.json", "files"),
        ("files:gs://bucket/catalog", "files"),
        ("stac:earth-search,sar=planetary-computer", "stac:earth-search,sar=planetary-computer"),
        ("stac:/etc/api.toml,sar=gs://b/sar.toml", "stac:api.toml,sar=sar.toml"),
        ("earthengine:my-project,level=L1C,key=/home/me/key.json", "earthengine:level=L1C"),
        ("synthetic:seed=7", "synthetic:seed=7"),
    ],
)
def test_what_identifies_a_source_is_what_decides_its_pixels(spec, identity):
    assert source_identity(spec) == identity


def test_a_run_has_one_id_wherever_its_catalogue_and_weights_lie(make_run, tmp_path):
    run = make_run(tmp_path, source="files:/here/catalog")
    moved = replace(run, source="files:/there/catalog", checkpoint="/there/w.safetensors")
    assert run.id == moved.id == replace(run, out="elsewhere").id
    assert run.id != replace(run, source="stac:earth-search").id
    assert run.id != replace(run, checkpoint_digest="0" * 64).id


def test_a_moved_catalogue_goes_on_and_another_one_is_refused(run):
    forget(run, sorted(run.blocks())[:1])
    launch.check(replace(run, source="files:/there"), FIRST)
    other = Catalogue(seed=3, cloud=0.4, replaced=tuple(_planned(run)))
    with pytest.raises(ValueError, match="other scenes than files:/here.*--refresh"):
        launch.check(replace(run, source="files:/there"), other)


def _planned(run) -> set[str]:
    plans = (json.loads(p.read_text()) for p in Path(run.out, "plan").glob("*.json"))
    return {scene["id"] for plan in plans for scene in plan["scenes"]}


def test_a_checkpoint_that_drifts_is_refused_until_it_is_accepted(make_run, tmp_path, capsys):
    path = micro_checkpoint(tmp_path / "w" / "micro.safetensors")
    Path(f"{path}.canary.json").unlink()
    run = replace(make_run(tmp_path / "out"), checkpoint=path)
    with pytest.raises(ValueError, match="golden chips.*cloudlulc canary"):
        launch.check(run, SyntheticSource(seed=3))
    assert main(["canary", path]) == 1
    assert "canary FAILED" in capsys.readouterr().out
    with pytest.raises(ValueError, match="golden chips"):
        launch.check(run, SyntheticSource(seed=3))
    assert main(["canary", path, "--accept-drift", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accepted"] is True
    launch.check(run, SyntheticSource(seed=3))
    assert main(["canary", path, "--against", path]) == 0
    assert "100% keep their class" in capsys.readouterr().out


def test_weights_that_changed_under_their_name_are_refused(make_run, tmp_path):
    run = make_run(tmp_path)
    with pytest.raises(ValueError, match="the run was started with 000000000000"):
        launch.check(replace(run, checkpoint_digest="0" * 64), SyntheticSource(seed=3))
