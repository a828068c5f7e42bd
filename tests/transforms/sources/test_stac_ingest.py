"""The ingest command over a STAC API that fails one request in five, and over one that is down."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from planet import micro_checkpoint

from pipeline import EXIT_FAILED, EXIT_OK
from pipeline.cli import main
from tests.servers.cog_server import Faults, serving
from tests.servers.stac_api import stac_api
from tests.transforms.sources.made_cogs import BOX, catalog, items
from tests.transforms.sources.made_scenes import footprint
from transforms.failures import read_failures
from transforms.sources import SOURCES
from transforms.sources.patience import Patience
from transforms.sources.stac import StacSource

KINDS = (429, 500, 503, "drop", "truncate")


def at_once(seconds: float) -> None:
    """Waits that a test need not wait for."""


def source(url: str) -> StacSource:
    return StacSource(catalog(url), patience=Patience(sleep=at_once))


@pytest.fixture
def ingest(monkeypatch, tmp_path, tmp_path_factory):
    """The command: (folder, address of the API, margin inside of the scenes) -> exit code."""
    monkeypatch.setitem(SOURCES, "stac", source)
    weights = micro_checkpoint(tmp_path_factory.mktemp("weights") / "micro.safetensors")
    # A grid of small blocks: two chips of 64 px a side.
    options = [f"--checkpoint={weights}", "--chip-size=64", "--halo=16", "--threads=1"]

    def run(name: str, url: str, margin: float = 0.004) -> int:
        west, south, east, north = footprint(BOX)
        box = west + margin, south + margin, east - margin, north - margin
        region = f"--region={','.join(f'{v:.6f}' for v in box)}"
        where = [region, "--date=2024-06-15", f"--source=stac:{url}", f"--out={tmp_path / name}"]
        return main(["ingest", *where, *options])

    return run


def digests(out: Path) -> dict[str, str]:
    """Of chips and of what was measured; plans name the addresses of items."""
    files = [p for where in ("chips/**/*", "plan/*/*") for p in sorted(out.glob(where))]
    return {
        str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if p.is_file()
    }


def test_a_job_completes_with_the_bytes_of_a_calm_one(api, ingest, tmp_path):
    assert ingest("calm", api.url) == EXIT_OK
    catalogue = Faults("", KINDS, 0.2, seed=1)
    files = Faults(api.cogs.url, KINDS, 0.2, seed=2)
    with (
        serving(catalogue.answer) as front,
        serving(files.answer) as file_front,
        stac_api(items(file_front), tmp_path / "api", public=front) as back,
    ):
        catalogue.target = back
        assert ingest("hostile", front) == EXIT_OK
    assert sum(files.seen.values()) - files.seen[""] >= 5
    assert sum(catalogue.seen.values()) - catalogue.seen[""] >= 1
    calm = digests(tmp_path / "calm")
    assert sum("/quality/c/" in name for name in calm) > 3
    assert digests(tmp_path / "hostile") == calm


def test_a_service_that_stays_down_leaves_a_dead_letter_for_each_key(api, ingest, tmp_path, capsys):
    files = Faults(api.cogs.url, (503,), 1.0)
    with serving(files.answer) as front, stac_api(items(front), tmp_path / "api") as url:
        assert ingest("down", url) == EXIT_FAILED
    failures = read_failures(str(tmp_path / "down"), "ingest")
    (plan,) = (json.loads(p.read_text()) for p in (tmp_path / "down" / "plan").glob("*.json"))
    planned = [key for key, pair in plan["blocks"].items() if any(pair.values())]
    assert sorted(f.key for f in failures) == sorted(planned) and len(planned) > 3
    assert all("S2A_33TWM_20240615_0_L2A, band" in f.error and "503" in f.error for f in failures)
    told = capsys.readouterr().err
    assert f"ingest failed: {len(planned)} of {len(planned)} keys, 0 allowed" in told


def test_a_search_that_stays_down_leaves_a_dead_letter_for_the_tile(
    api, ingest, tmp_path, monkeypatch
):
    from pipeline import launch

    down = Faults("", (503,), 0.0)
    check = launch.check

    def check_then_break(*args):
        check(*args)
        down.share = 1.0

    monkeypatch.setattr(launch, "check", check_then_break)
    with serving(down.answer) as front:
        with stac_api(items(api.cogs.url), tmp_path / "api", public=front) as back:
            down.target = back
            assert ingest("down", front) == EXIT_FAILED
    (failure,) = read_failures(str(tmp_path / "down"), "ingest")
    assert failure.stage == "plan" and failure.key.startswith("33N/x") and "503" in failure.error
