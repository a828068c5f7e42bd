"""The ingest job over a STAC API that fails one request in five, and over one that is down."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import pytest
import shapely
from planet import micro_checkpoint

from pipeline import launch
from pipeline.config import RunConfig, file_digest
from pipeline.region import Region
from tests.servers.cog_server import Faults, serving
from tests.servers.stac_api import stac_api
from tests.transforms.sources.made_cogs import BOX, catalog, items
from tests.transforms.sources.made_scenes import footprint
from transforms.failures import read_failures
from transforms.grid import Grid
from transforms.pixels.pairing import PairRule
from transforms.sources.patience import Patience
from transforms.sources.stac import StacSource

GRID = Grid(chip_size=64, halo=16, blocks_per_tile=2)
KINDS = (429, 500, 503, "drop", "truncate")


def at_once(seconds: float) -> None:
    """Waits that a test need not wait for."""


def source(url: str) -> StacSource:
    return StacSource(catalog(url), patience=Patience(sleep=at_once))


@pytest.fixture(scope="module")
def make_run(tmp_path_factory):
    weights = micro_checkpoint(tmp_path_factory.mktemp("weights") / "micro.safetensors")

    def make(out: Path, url: str, margin: float = 0.004) -> RunConfig:
        return RunConfig(
            region=Region("made", shapely.box(*footprint(BOX)).buffer(-margin)),
            rule=PairRule(date(2024, 6, 15)),
            source=f"stac:{url}",
            out=str(out),
            checkpoint=weights,
            checkpoint_digest=file_digest(weights),
            grid=GRID,
            threads=1,
        )

    return make


def ingest(run: RunConfig, stac: StacSource):
    launch.check(run, stac)
    launch.start(run)
    return launch.execute("ingest", run, stac, [])


def digests(out: Path) -> dict[str, str]:
    files = [p for p in sorted((out / "chips").rglob("*")) if p.is_file()]
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_job_completes_with_the_bytes_of_a_calm_one(api, make_run, tmp_path):
    calm = ingest(make_run(tmp_path / "calm", api.url), source(api.url))
    assert calm.failed == 0 and calm.todo > 3
    catalogue = Faults("", KINDS, 0.2, seed=1)
    files = Faults(api.cogs.url, KINDS, 0.2, seed=2)
    with (
        serving(catalogue.answer) as front,
        serving(files.answer) as file_front,
        stac_api(items(file_front), tmp_path / "api", public=front) as back,
    ):
        catalogue.target = back
        done = ingest(make_run(tmp_path / "hostile", front), source(front))
    assert done.failed == 0 and done.todo == calm.todo
    assert sum(files.seen.values()) - files.seen[""] > 20
    assert sum(catalogue.seen.values()) - catalogue.seen[""] >= 1
    assert digests(tmp_path / "hostile") == digests(tmp_path / "calm")


def test_blocks_of_a_service_that_stays_down_are_dead_letters(api, make_run, tmp_path):
    files = Faults(api.cogs.url, (503,), 1.0)
    with serving(files.answer) as front, stac_api(items(front), tmp_path / "api") as url:
        run = make_run(tmp_path / "down", url, margin=0.0079)
        done = ingest(run, source(url))
    failures = read_failures(run.out, "ingest")
    assert done.failed == done.todo == len(failures) > 1
    assert len({f.key for f in failures}) == done.todo
    assert all("S2A_33TWM_20240615_0_L2A, band" in f.error and "503" in f.error for f in failures)
