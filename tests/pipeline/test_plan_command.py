"""`cloudlulc plan`: the bill before a run, and what came of it."""

import json
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import shapely
from planet import micro_checkpoint

from model.inputs import INPUTS
from pipeline.bill import estimate, side_by_side
from pipeline.cli import main
from pipeline.config import RunConfig, file_digest
from pipeline.records import read_records
from pipeline.region import Region
from pipeline.tariffs import PRICED, PRICES, default_rates, load_prices, load_rates
from pipeline.work import assumed_pair, work_of
from transforms.grid import Grid
from transforms.pixels.pairing import PairRule
from transforms.pixels.prepare import optical_bands
from transforms.sources import open_source
from transforms.sources.earthengine_requests import request_bytes

# Over the border of zones 31 and 32, and of two of the source's scenes; the last one is shifted.
OPTIONS = {
    "region": "5.975,49.99,6.025,50.005",
    "date": "2024-06-15",
    "source": "synthetic:seed=3,cloud=0.4",
    "chip-size": "96",
    "halo": "16",
    "threads": "1",
}


def options(**changes) -> list[str]:
    given = OPTIONS | {name.replace("_", "-"): value for name, value in changes.items()}
    return [f"--{name}={value}" for name, value in given.items()]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return micro_checkpoint(tmp_path_factory.mktemp("weights") / "micro.safetensors")


@pytest.fixture(scope="module")
def made(weights, tmp_path_factory):
    """A run that was planned first."""
    out = tmp_path_factory.mktemp("made") / "run"
    given = options(out=str(out), checkpoint=weights)
    assert main(["plan", *given]) == 0
    assert main(["run", *given]) == 0
    return out


def bill(capsys, *arguments: str) -> dict:
    capsys.readouterr()
    assert main(["plan", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def content(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_chips_searches_and_reads_are_exact_and_bytes_nearly(made, capsys):
    capsys.readouterr()
    assert main(["plan", f"--out={made}", "--json"]) == 0
    rows = {r["name"]: r for r in json.loads(capsys.readouterr().out)["comparison"]}
    exact = ("tiles searched", "chips made", "chips classified", "product tiles")
    for name in (*exact, "reads to measure", "reads for chips"):
        assert rows[name]["planned"] == rows[name]["actual"] > 0, name
    assert rows["bytes in"]["ratio"] == pytest.approx(1, abs=0.1)
    assert all(row["actual"] > 0 for row in rows.values())
    (ingest,) = read_records(str(made), "ingest")
    blocks = ingest["counters"]["fetch: blocks written"]
    assert rows["reads for chips"]["actual"] > 2 * blocks, "some blocks lie in several scenes"
    assert rows["chips made"]["actual"] == 4 * blocks


def test_the_report_shows_plan_and_actual(made, tmp_path):
    page = tmp_path / "report.html"
    assert main(["report", str(made), f"--to={page}"]) == 0
    text = page.read_text()
    assert "Plan and actual" in text and "Reads for chips" in text


def test_nothing_is_written_without_out(tmp_path, weights, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = content(tmp_path)
    planned = bill(capsys, *options(checkpoint=weights))
    assert content(tmp_path) == before
    assert planned["work"]["fetched"] > 0 and planned["work"]["scenes"] >= 4
    assert main(["plan", *options(checkpoint=weights)]) == 0
    said = capsys.readouterr().out
    assert "chips to make" in said and "examples to be checked" in said


def test_a_bill_above_the_budget_is_refused(tmp_path, weights, capsys):
    out = tmp_path / "run"
    given = options(out=str(out), checkpoint=weights)
    assert main(["plan", "--budget=0", *given]) == 2
    printed = capsys.readouterr()
    assert "chips to make" in printed.out and "exceed the budget" in printed.err
    assert not out.exists()
    assert main(["plan", "--budget=1000000", *given]) == 0
    assert content(out) == {"reports", "reports/plan.json"}


@pytest.mark.parametrize("budget", ["-1", "nan", "inf"])
def test_a_budget_is_an_amount(budget, weights, capsys):
    assert main(["plan", f"--budget={budget}", *options(checkpoint=weights)]) == 2
    assert "budget" in capsys.readouterr().err


def test_what_is_done_is_not_planned_again(made, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(made, out)
    seals = sorted((out / "chips").glob("*/r*.json"))
    for folder, name in ((p.parent.name, p.name) for p in seals[:2]):
        (out / "chips" / folder / name).unlink()
        (out / "maps" / folder / name).unlink()
    planned = bill(capsys, f"--out={out}")
    assert planned["work"]["fetched"] == planned["work"]["classified"] == 2
    assert planned["work"]["looks"] == 0, "pairs were measured before"
    assert main(["run", f"--out={out}"]) == 0
    assert main(["plan", f"--out={out}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (chips,) = (line.split() for line in lines if line.startswith("chips made"))
    assert chips[2:4] == ["8", "8"]


def run_config(weights: str, **changes) -> RunConfig:
    fields = {
        "region": Region("box", shapely.box(5.975, 49.99, 6.025, 50.005)),
        "rule": PairRule(date(2024, 6, 15)),
        "source": "synthetic:seed=3",
        "out": "/nowhere/run",
        "checkpoint": weights,
        "checkpoint_digest": file_digest(weights),
        "grid": Grid(chip_size=96, halo=16),
    }
    return RunConfig(**(fields | changes))


def test_without_a_search_every_block_has_one_pair(weights, capsys):
    given = options(checkpoint=weights, source="earthengine:some-project")
    planned = bill(capsys, "--no-search", *given)["work"]
    assert planned["fetched"] == planned["blocks"] > 0
    assert planned["reads"] == 2 * planned["blocks"]
    assert planned["scenes"] is None and planned["assumed"]


def test_requests_to_earth_engine_are_cut_to_its_limit(weights):
    run = run_config(weights, source="earthengine:p", grid=Grid())
    (optical,), (sar,) = assumed_pair(run, "earthengine")
    assert optical.bands[:12] == INPUTS.optical.names and len(optical.bands) == 14
    work = work_of(run, None)
    assert work.requests == work.reads + work.looks
    assert work.largest == request_bytes(optical_bands(optical), 960, 960)
    large = work_of(replace(run, grid=Grid(chips_per_block=4)), None)
    assert large.requests > large.reads + large.looks
    assert large.largest <= 48 * 2**20


def test_trusted_inputs_are_not_looked_at(weights):
    run = run_config(weights)
    source = open_source(run.source)
    trusting = replace(run, options=replace(run.options, inputs="trust"))
    assert work_of(run, source).looks > 0 == work_of(trusting, source).looks


def test_more_workers_take_less_time_and_no_less_work(weights):
    run, rates = run_config(weights), load_rates(default_rates())
    work = work_of(run, open_source(run.source))
    one, four = (estimate(run, work, rates, n) for n in (1, 4))
    assert four.wall["ingest"] < one.wall["ingest"]
    assert four.cpu_hours >= one.cpu_hours
    assert sum(one.wall.values()) == pytest.approx(3600 * one.worker_hours)
    with pytest.raises(ValueError, match="workers: got 0"):
        estimate(run, work, rates, 0)
    with pytest.raises(ValueError, match=r"no classify\.cuda"):
        estimate(replace(run, device="cuda"), work, replace(rates, classify={"cpu": 1.0}), 1)
    with pytest.raises(ValueError, match=r"no sources\.files"):
        estimate(replace(run, source="files:x"), work, replace(rates, sources={}), 1)


def test_a_worker_computes_one_block_while_it_waits_for_others(weights):
    assert side_by_side(100.0, 60.0, 4) == 100.0
    assert side_by_side(100.0, 500.0, 4) == 150.0
    assert side_by_side(100.0, 500.0, 1) == 600.0
    run = run_config(weights, source="earthengine:p", grid=Grid())
    rates, work = load_rates(default_rates()), work_of(run, None)
    start = rates.start["ingest"]
    alone, beside = (
        estimate(replace(run, max_requests=n), work, rates, 1).wall["ingest"] - start
        for n in (1, 4)
    )
    waiting = (work.looks + work.reads) * rates.source("earthengine").wait
    assert alone > waiting > beside == pytest.approx(alone / 4)


@pytest.mark.parametrize(
    "old, new, key",
    [
        ("amount = 0.056", 'amount = "cheap"', "vcpu_hour.amount"),
        ("amount = 0.056", "amount = -1", "vcpu_hour.amount"),
        ("amount = 0.056", "amount = nan", "vcpu_hour.amount"),
        ("date = 2026-11-22", 'date = "soon"', "vcpu_hour.date"),
        ("[gpu_hour]", "[gpu_hours]", "gpu_hours"),
        ('currency = "USD"', "", "currency"),
        ("[vcpu_hour]", "[vcpu_hour", "not TOML"),
    ],
)
def test_a_wrong_price_table_is_named_with_its_key(old, new, key, tmp_path, weights, capsys):
    text = Path(PRICES).read_text()
    assert old in text
    prices = tmp_path / "prices.toml"
    prices.write_text(text.replace(old, new, 1))
    out = tmp_path / "run"
    given = options(out=str(out), checkpoint=weights)
    assert main(["plan", f"--prices={prices}", *given]) == 2
    said = capsys.readouterr().err
    assert key in said and str(prices) in said
    assert not out.exists()


@pytest.mark.parametrize("name", ["measure", "start", "sources", "date", "worker_gib"])
def test_wrong_rates_are_named_with_their_key(name, tmp_path):
    document = json.loads(Path(default_rates()).read_text())
    path = tmp_path / "rates.json"
    path.write_text(json.dumps(document | {name: None}))
    with pytest.raises(ValueError, match=name):
        load_rates(str(path))
    path.write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        load_rates(str(path))
    with pytest.raises(ValueError, match="cannot be read"):
        load_rates(str(tmp_path / "none.json"))


def test_every_price_says_where_it_is_from_and_when():
    prices = load_prices(PRICES)
    assert set(prices.table) == set(PRICED)
    assert all(p.source.startswith("https://") and p.date for p in prices.table.values())
