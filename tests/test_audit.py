"""Planted defects at each of the three rests: every one is found, and mended to the same bytes."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from gcsfs.retry import HttpError
from test_promises import content, differing, looped, run_of
from test_promises import weights as weights

from pipeline import audit, launch
from pipeline.cli import main
from transforms import classify
from transforms.chips import chip_cube_url, chip_shards, open_chip_cube, read_chips, write_chips
from transforms.failures import FAILED, read_failures
from transforms.mapcube import MapReader, map_cube_url, map_shard
from transforms.seal import Damaged, seal_url


def overwrite(path: Path, data: bytes) -> None:
    """As `cp` does: into the file itself, so that its copies by hard link would follow."""
    path.unlink()
    path.write_bytes(data)


def missing(path: Path, other: Path) -> list[str]:
    path.unlink()
    return ["missing"]


def truncated(path: Path, other: Path) -> list[str]:
    overwrite(path, path.read_bytes()[:-7])
    return ["corrupt"]


def flipped(path: Path, other: Path) -> list[str]:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    overwrite(path, bytes(data))
    return ["corrupt"]


def foreign(path: Path, other: Path) -> list[str]:
    path.with_name(f"{path.name}.partial").write_bytes(b"half of something")
    return ["surplus"]


def swapped(path: Path, other: Path) -> list[str]:
    mine, its = path.read_bytes(), other.read_bytes()
    assert mine != its
    overwrite(path, its)
    overwrite(other, mine)
    return ["corrupt", "corrupt"]


DEFECTS = (missing, truncated, flipped, foreign, swapped)


@pytest.fixture(scope="module")
def loop(weights, tmp_path_factory):
    """The undisturbed run, with a layer of each kind: codes, percent and days."""
    layers = ("lulc", "confidence", "optical_age")
    return looped(run_of(weights, tmp_path_factory.mktemp("loop"), layers=layers))


@pytest.fixture
def run(loop, tmp_path):
    """A copy of the undisturbed run."""
    shutil.copytree(loop[0].out, tmp_path / "run")
    return replace(loop[0], out=str(tmp_path / "run"))


def two_files(run, rest: str) -> list[Path]:
    """Two files of a rest that differ, of two blocks or tiles where it has blocks."""
    if rest == "product":
        files = sorted(Path(run.out, "product").glob("*/*.zarr/confidence/c/*/*"))
        return [files[0], files[1]] if len(files) > 1 else files
    first, second = sorted(run.blocks())[:2]
    if rest == "chips":
        names = [chip_shards(run.grid, run.inputs, key)["sar"] for key in (first, second)]
        urls = [chip_cube_url(run.out, key.tile) for key in (first, second)]
    else:
        names = [map_shard("confidence", key) for key in (first, second)]
        urls = [map_cube_url(run.out, key.tile) for key in (first, second)]
    return [Path(url, name) for url, name in zip(urls, names, strict=True)]


def test_an_undisturbed_run_has_no_defect(run):
    assert audit.audit(run) == []
    assert main(["audit", run.out]) == 0
    report = json.loads(Path(run.out, "audit.json").read_text())
    assert report == {"complete": True, "defects": [], "repaired": False, "run": run.id}


@pytest.mark.parametrize("rest", ["chips", "maps", "product"])
def test_every_planted_defect_is_found_and_nothing_else(run, rest, capsys):
    for plant in DEFECTS:
        before = content(Path(run.out))
        path, other = two_files(run, rest)
        kinds = plant(path, other)
        found = audit.audit(run)
        assert [d.kind for d in found] == kinds, (plant.__name__, found)
        assert {d.rest for d in found} == {rest}
        planted = {str(p.relative_to(run.out)) for p in (path, other)[: len(kinds)]}
        assert {d.file.removesuffix(".partial") for d in found} == planted
        for name in differing(before, content(Path(run.out))):
            where = Path(run.out, name)
            overwrite(where, before[name]) if name in before and where.exists() else None
            where.write_bytes(before[name]) if name in before else where.unlink()
    assert audit.audit(run) == []


def test_repair_makes_just_what_is_defect_anew_to_the_same_bytes(run, loop, capsys):
    times = {p: p.stat().st_mtime_ns for p in Path(run.out).rglob("*") if p.is_file()}
    key = sorted(run.blocks())[0]
    damaged_tile = two_files(run, "product")[0].relative_to(run.out).parts[1]
    planted = 0
    for rest, plant in (("chips", flipped), ("maps", truncated), ("product", missing)):
        planted += len(plant(*two_files(run, rest)))
    planted += len(foreign(two_files(run, "maps")[0], Path()))
    assert main(["audit", run.out]) == 1
    told = capsys.readouterr().out
    assert "1 chips corrupt, 1 maps corrupt, 1 maps surplus, 1 product missing" in told
    assert main(["audit", run.out, "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["defects"]) == planted

    assert main(["audit", run.out, "--repair", "--threads=1"]) == 0
    assert "complete and as written" in capsys.readouterr().out
    Path(run.out, "audit.json").unlink()
    assert differing(content(Path(run.out)), loop[1]) == []
    made = {p for p in times if p.stat().st_mtime_ns != times[p]}
    chips, maps = chip_cube_url(run.out, key.tile), map_cube_url(run.out, key.tile)
    expected = {Path(chips, s) for s in chip_shards(run.grid, run.inputs, key).values()}
    # A block is made as a whole: all of its layers, its edges and its seal.
    expected |= {Path(maps, map_shard(layer, key)) for layer in run.layers}
    expected.add(Path(maps, map_shard("edges", key), "0/0/0/0"))
    expected |= {Path(seal_url(url, key)) for url in (chips, maps)}
    # Coordinates are written by whoever starts a run, finished or not.
    shards = {p for p in made if p.parts[-3] not in "xy" and {"chips", "maps"} & set(p.parts)}
    assert shards == expected
    tiles = {p.relative_to(run.out).parts[1] for p in made if "product" in p.parts}
    assert tiles == {damaged_tile, "collection.json"}


@pytest.mark.parametrize(
    "name",
    [
        "chips/*.zarr/zarr.json",
        "maps/*.zarr/lulc/zarr.json",
        "maps/*.zarr/x/c/0",
        "maps/*/r*.json",
        "chips/*/r*.json",
        "plan/*.json",
        "product/*/*.json",
        "product/*/*_lulc.tif",
        "product/*/*.sha256",
        "product/*/*.png",
        "product/collection.json",
    ],
)
def test_no_file_can_be_lost_or_altered_unnoticed(run, name):
    path = sorted(Path(run.out).glob(name))[0]
    good = path.read_bytes()
    for bad in (None, good[: len(good) // 2], good.replace(b"1", b"2", 1) + b"\n"):
        path.unlink() if bad is None else overwrite(path, bad)
        assert audit.audit(run), (name, bad and len(bad))
        path.write_bytes(good) if bad is None else overwrite(path, good)
    path.unlink()
    audit.repair(run, audit.audit(run), lambda *job: None)


def test_who_reads_a_damaged_block_gets_an_error(run):
    key = sorted(run.blocks())[0]
    for rest, kind in (("chips", missing), ("maps", flipped)):
        kind(*two_files(run, rest))
    cube = open_chip_cube(run.out, key.tile, run.grid, run.inputs)
    sar = chip_shards(run.grid, run.inputs, key)["sar"]
    with pytest.raises(Damaged, match=f"/{sar}: is missing.*audit RUN --repair"):
        read_chips(cube, run.grid, key)
    read = MapReader(run.out, run.grid)
    rows, cols = run.grid.core(key)
    with pytest.raises(Damaged, match="confidence.*was sealed"):
        read(key.tile, "confidence", rows, cols)
    part = slice(rows.start, rows.start + 3)
    assert read(key.tile, "lulc", part, cols).shape == (3, run.grid.block_core_size)


def test_a_damaged_block_can_be_written_anew(run):
    """Its writer reads nothing of what lies there."""
    key = sorted(run.blocks())[0]
    chips = read_chips(open_chip_cube(run.out, key.tile, run.grid, run.inputs), run.grid, key)
    before = content(Path(run.out))
    flipped(*two_files(run, "chips"))
    cube = open_chip_cube(run.out, key.tile, run.grid, run.inputs)
    write_chips(cube, run.grid, run.inputs, key, chips)
    assert differing(before, content(Path(run.out))) == []


def test_what_cannot_be_read_or_written_is_a_dead_letter_and_the_rest_goes_on(run):
    first, *_, last = sorted(run.blocks())
    flipped(*two_files(run, "chips"))
    maps = Path(map_cube_url(run.out, last.tile))
    shutil.rmtree(maps / "lulc" / "c" / str(last.row))
    (maps / "lulc" / "c" / str(last.row)).write_bytes(b"a file where a folder has to be")
    for seal in Path(run.out, "maps").glob("*/r*.json"):
        seal.unlink()
    report = launch.execute("classify", run, None, [])
    failures = read_failures(run.out, "classify")
    stages = {failure.key: failure.stage for failure in failures}
    assert (stages[str(first)], stages[str(last)]) == ("read chips", "write map")
    in_the_way = [k for k in run.blocks() if (k.tile, k.row) == (last.tile, last.row)]
    assert len(stages) == 1 + len(in_the_way)
    assert report.done == report.todo - len(stages) > 0


def test_a_refusal_of_the_bucket_is_a_dead_letter_too(run, monkeypatch):
    def refused(*args):
        raise HttpError({"code": 503, "message": "backend error"})

    key = sorted(run.blocks())[0]
    step = classify._ReadChips(run.out, run.grid, run.inputs, run.device)
    step.setup()
    step.start_bundle()
    monkeypatch.setattr(classify, "read_chips", refused)
    assert list(step.process(key)) == []
    (failed,) = step.finish_bundle()
    assert failed.tag == FAILED and "HttpError: backend error" in failed.value.value.error


def test_values_that_no_writer_may_write_are_found(run):
    """Bytes that were sealed, and yet are wrong: an error of the writer itself."""
    key = sorted(run.blocks())[0]
    cube = open_chip_cube(run.out, key.tile, run.grid, run.inputs)
    chips = read_chips(cube, run.grid, key)
    cloud = chips.cloud.copy()
    cloud[0, 0, 0] = 101
    write_chips(cube, run.grid, run.inputs, key, chips._replace(cloud=cloud))
    (defect,) = audit.audit(run)
    assert (defect.kind, defect.key) == ("corrupt", str(key))
    assert "holds 101, expected 0 to 100 or 255" in defect.detail


def test_chips_that_were_cleaned_away_are_not_missed_and_those_made_since_are_looked_at(run, loop):
    assert main(["clean", run.out]) == 0
    assert audit.audit(run) == []
    key = sorted(run.blocks())[0]
    truncated(*two_files(run, "maps"))
    assert [(d.rest, d.key) for d in audit.audit(run)] == [("maps", str(key))]
    assert main(["audit", run.out, "--repair", "--threads=1"]) == 0
    assert len(list(Path(run.out).glob("chips/*/r*.json"))) == 1, "the others were made anew, too"
    kept = {name: data for name, data in loop[1].items() if not name.startswith("chips/")}
    after = {n: data for n, data in content(Path(run.out)).items() if not n.startswith("chips/")}
    assert differing(after, kept) == ["audit.json", "cleaned.json"]
    flipped(*two_files(run, "chips"))
    assert [(d.rest, d.key) for d in audit.audit(run)] == [("chips", str(key))]


def test_chips_that_nobody_cleaned_away_are_missed(run):
    shutil.rmtree(Path(run.out, "chips"))
    found = {d.key for d in audit.audit(run) if (d.rest, d.kind) == ("chips", "missing")}
    assert found == {"metadata", *map(str, run.blocks())}


def test_an_unfinished_run_is_incomplete(run):
    key = sorted(run.blocks())[0]
    os.remove(seal_url(map_cube_url(run.out, key.tile), key))
    found = audit.audit(run)
    assert ("maps", str(key), "missing") in {(d.rest, d.key, d.kind) for d in found}
    assert main(["audit", str(Path(run.out, "nothing"))]) == 2
