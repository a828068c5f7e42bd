"""Everything that takes a folder takes gs://: on a real server, with faults, with rivals."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import shapely
from fsspec.registry import _registry
from gcsfs.core import GCSFileSystem
from servers.faults import faulty_proxy, refusing
from test_promises import REPORTS, content, differing, run_with_beam
from test_promises import loop as loop
from test_promises import make_run as make_run
from test_promises import weights as weights

from pipeline import audit, launch
from pipeline.region import Region
from pipeline.run_document import check_folder, read_run, write_run
from tests.servers.gcs import gcs_emulator
from transforms import shards, store
from transforms.audit import audit_cube, chip_cube
from transforms.chips import (
    chip_cube_url,
    chip_shards,
    open_chip_cube,
    read_chips,
    write_chips,
)
from transforms.pixels.chip import Chips
from transforms.pixels.pairing import PairRule
from transforms.seal import Damaged

ROOT = Path(__file__).parents[1]

IMPATIENT_COMMAND = """
import asyncio, sys
from types import SimpleNamespace
import gcsfs.retry
from fsspec.registry import _registry
from gcsfs.core import GCSFileSystem
from pipeline.cli import main

async def sleep(seconds):
    await asyncio.sleep(seconds / 20)

gcsfs.retry.asyncio = SimpleNamespace(sleep=sleep)
_registry["gs"] = GCSFileSystem
sys.exit(main(sys.argv[1:]))
"""
"""The command line as `emulator` and `impatient` below make it."""

SMALL = Region("one zone", shapely.box(5.975, 50.0, 5.985, 50.012))


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gcs") / "buckets"
    (folder / "bucket").mkdir(parents=True)
    # gcsfs would ask for the kind of a bucket by gRPC, which an emulator does not speak; this is
    # the class that does not ask.
    with pytest.MonkeyPatch.context() as patch, gcs_emulator(folder) as url:
        patch.setitem(_registry, "gs", GCSFileSystem)
        yield url


@pytest.fixture
def gcs(emulator, monkeypatch):
    """Lets this process use the emulator, or a proxy before it."""

    def forget() -> None:
        GCSFileSystem.clear_instance_cache()
        # Connections are closed when they are collected: here, and not somewhere in another test.
        gc.collect()

    def use(url: str) -> None:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        forget()

    use(emulator)
    yield use
    forget()


def objects(url: str) -> dict[str, bytes]:
    """Every object of a run, reports apart."""
    names = [name for name in store.list_files(url) if not name.startswith(REPORTS)]
    return {name: store.read_bytes(store.join(url, name)) for name in names}


def test_a_run_on_gs_has_the_bytes_of_the_local_one(gcs, loop, make_run, tmp_path):
    run = make_run("gs://bucket/run")
    reports = run_with_beam(run)
    assert [(r.failed, r.done) for r in reports] == [(0, r.todo) for r in reports]
    written = objects(run.out)
    assert differing(written, loop[1]) == []
    kinds = ("chips/", "maps/", "plan/", "product/collection.json")
    assert all(any(name.startswith(kind) for name in written) for kind in kinds)
    cog = next(name for name in written if name.endswith("_lulc.tif"))
    (tmp_path / "lulc.tif").write_bytes(written[cog])
    with rasterio.open(tmp_path / "lulc.tif") as lulc:
        assert lulc.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    again = run_with_beam(run)
    assert [r.todo for r in again] == [0, 0, 0]
    assert objects(run.out) == written


@pytest.fixture
def impatient(monkeypatch):
    """gcsfs tries again as often as ever and waits a twentieth of the time before it does."""

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / 20)

    monkeypatch.setattr("gcsfs.retry.asyncio", SimpleNamespace(sleep=sleep))


def test_a_tenth_of_the_requests_failing_changes_no_byte(
    emulator, gcs, impatient, make_run, tmp_path
):
    quiet = make_run(tmp_path / "quiet", region=SMALL)
    run_with_beam(quiet)
    with faulty_proxy(emulator, share=0.1, seed=1) as (proxy, faults):
        gcs(proxy)
        run = make_run("gs://bucket/faults", region=SMALL)
        reports = run_with_beam(run)
        assert [(r.failed, r.done) for r in reports] == [(0, r.todo) for r in reports]
        assert {"429", "503", "503 after the work was done"} < set(faults.kinds)
        assert 0.05 < 1 - faults.kinds[""] / faults.kinds.total() < 0.15
    gcs(emulator)
    assert differing(objects(run.out), content(Path(quiet.out))) == []


def noise(run, seed: int) -> Chips:
    """A block of chips that no other seed has."""
    rng = np.random.default_rng(seed)
    n, side = run.grid.chips_in_block, run.grid.chip_size
    return Chips(
        optical=rng.integers(1, 9999, (n, 12, side, side), "uint16"),
        sar=rng.integers(-2500, 0, (n, 2, side, side), "int16"),
        quality=rng.integers(0, 4, (n, side, side), "uint8"),
        cloud=rng.integers(0, 100, (n, side, side), "uint8"),
        age=rng.integers(-9, 9, (n, 2), "int16"),
        shift=rng.random((n, 2), "float32"),
    )


def write_at_once(run, key, blocks: list[Chips]) -> None:
    """A block is written by as many writers as there are contents, at the same time."""
    barrier = threading.Barrier(len(blocks))

    def write(chips):
        cube = open_chip_cube(run.out, key.tile, run.grid, run.inputs)
        barrier.wait()
        write_chips(cube, run.grid, run.inputs, key, chips)

    with ThreadPoolExecutor(len(blocks)) as pool:
        list(pool.map(write, blocks))


def read_anew(run, key) -> Chips:
    return read_chips(open_chip_cube(run.out, key.tile, run.grid, run.inputs), run.grid, key)


def same(one: Chips, other: Chips) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_two_writers_of_one_block_end_in_one_valid_shard(gcs, make_run):
    """As when Beam runs a bundle twice: the same inputs, the same bytes."""
    run = make_run("gs://bucket/twice", region=SMALL)
    launch.start(run)
    key = next(run.blocks())
    cube = chip_cube(run.out, key.tile, run.grid, run.inputs)
    for seed in range(5):
        write_at_once(run, key, [noise(run, seed), noise(run, seed)])
        assert same(read_anew(run, key), noise(run, seed))
        assert audit_cube(cube, [key]) == []


def test_writers_who_disagree_leave_the_block_of_one_or_an_error_never_a_mix(gcs, make_run):
    run = make_run("gs://bucket/rivals", region=SMALL)
    launch.start(run)
    key = next(run.blocks())
    one, other = noise(run, 1), noise(run, 2)
    audited = chip_cube(run.out, key.tile, run.grid, run.inputs)
    for _ in range(5):
        write_at_once(run, key, [one, other])
        defects = audit_cube(audited, [key])
        try:
            found = read_anew(run, key)
        except Damaged as error:
            assert f"{error.url}: {error.detail}" in {
                f"{store.join(run.out, d.file)}: {d.detail}" for d in defects
            }
        else:
            assert defects == []
            assert same(found, one) or same(found, other)


def test_a_block_of_two_writers_is_named_and_repaired(gcs, make_run):
    """The second was killed in the midst of its shards."""
    run = make_run("gs://bucket/mixed", region=SMALL)
    launch.start(run)
    key = next(run.blocks())
    one, other = noise(run, 1), noise(run, 2)
    cube = open_chip_cube(run.out, key.tile, run.grid, run.inputs)
    write_chips(cube, run.grid, run.inputs, key, one)
    sar = chip_shards(run.grid, run.inputs, key)["sar"]
    of_the_rival = shards.encode(other.sar, (1, *other.sar.shape[1:]))
    store.write_bytes(store.join(chip_cube_url(run.out, key.tile), sar), of_the_rival)
    with pytest.raises(Damaged, match="/sar/c/.* sealed; cloudlulc audit RUN --repair"):
        read_anew(run, key)
    audited = chip_cube(run.out, key.tile, run.grid, run.inputs)
    defects = audit_cube(audited, [key])
    assert [(d.kind, d.key) for d in defects] == [("corrupt", str(key))]
    assert defects[0].file.endswith(f".zarr/{sar}")

    def execute(job: str, part) -> None:
        if job == "ingest":
            assert part.only == {key}
            again = open_chip_cube(run.out, key.tile, run.grid, run.inputs)
            write_chips(again, run.grid, run.inputs, key, one)

    audit.repair(run, defects, execute)
    assert audit_cube(audited, [key]) == []
    assert same(read_anew(run, key), one)


@pytest.mark.parametrize("where", ["gs", "local"])
def test_of_two_runs_started_at_once_in_one_folder_one_is_refused(gcs, make_run, tmp_path, where):
    out = "gs://bucket/race" if where == "gs" else str(tmp_path / "race")
    runs = [make_run(out, rule=PairRule(date(2024, 6, day))) for day in (15, 16)]
    for run in runs:
        check_folder(run)  # both find the folder free
    barrier = threading.Barrier(2)

    def start(run) -> str:
        barrier.wait()
        try:
            write_run(run)
        except ValueError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(start, runs))
    assert sorted(map(bool, said)) == [False, True]
    assert "holds another run" in max(said)
    assert read_run(out)["id"] == runs[said.index("")].id


def test_a_document_is_created_once(gcs):
    url = "gs://bucket/once/a.json"
    assert store.create_json(url, {"a": 1})
    assert store.create_json(url, {"a": 1}), "the same writer, whose first answer was lost"
    assert not store.create_json(url, {"a": 2})
    assert store.read_json(url) == {"a": 1}


@pytest.mark.parametrize(
    ("status", "says"),
    [(401, "HttpError: no such right"), (403, "OSError: Forbidden"), (429, "HttpError")],
)
def test_storage_that_refuses_ends_the_command_with_one_line(status, says):
    # A process of its own: what other tests left to be collected would speak on this one's stderr.
    with refusing(status) as url:
        done = subprocess.run(
            [sys.executable, "-c", IMPATIENT_COMMAND, "info", "gs://bucket/run"],
            cwd=ROOT,
            env=os.environ | {"STORAGE_EMULATOR_HOST": url},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    (line,) = done.stderr.strip().replace("\nno such", " no such").splitlines()
    assert line.startswith("cloudlulc info: storage (gs://bucket/run) refused")
    assert says in line and "run the same command again" in line


def test_folders_and_removal(gcs, tmp_path):
    for root in ("gs://bucket/tree", str(tmp_path / "tree")):
        for name in ("b/x.json", "a/deep/y.json", "z.json"):
            store.write_json(store.join(root, name), {})
        assert store.list_folder(root) == ["a", "b"]
        assert store.list_folder(store.join(root, "none")) == []
        for _ in range(2):
            store.remove(store.join(root, "b/x.json"))
        assert store.list_files(root) == ["a/deep/y.json", "z.json"]
