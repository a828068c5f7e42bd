"""The schedule: slots, dates, what is due, and running it."""

import json
import shutil
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
from planet import micro_checkpoint
from test_promises import content, differing, run_with_beam
from test_promises import make_run as make_run
from test_promises import weights as weights

from pipeline.cli import build_parser, main
from pipeline.due import due, scheduled
from pipeline.flex import check_parameters
from pipeline.refresh import forget
from pipeline.schedule import RUN_OPTIONS, Country, read_schedule
from pipeline.scheduler import _arguments
from transforms.sources.synthetic import SyntheticSource
from transforms.store import read_json

ROOT = Path(__file__).parent.parent.parent
TODAY = date(2026, 11, 22)


def country(**changes) -> Country:
    fields = {"name": "x", "region": "x", "source": "synthetic:seed=3,cloud=0.4", "out": "out"}
    return Country(**fields | {"cadence": "daily", "date": "0 days ago"} | changes)


def schedule_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "schedule.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("cadence", "today", "slot"),
    [
        ("daily", TODAY, TODAY),
        ("weekly", TODAY, date(2026, 11, 16)),
        ("weekly", date(2026, 11, 16), date(2026, 11, 16)),
        ("monthly", TODAY, date(2026, 11, 1)),
        ("monthly", date(2026, 12, 1), date(2026, 12, 1)),
        ("every 10 days", date(2024, 1, 10), date(2024, 1, 1)),
        ("every 10 days", date(2024, 1, 11), date(2024, 1, 11)),
        ("every 1 days", TODAY, TODAY),
        ("daily", date(2023, 12, 31), None),
    ],
)
def test_slots(cadence, today, slot):
    assert country(cadence=cadence).slot(today) == slot


def test_every_n_days_counts_from_the_start():
    entry = country(cadence="every 10 days", starting=date(2026, 11, 5))
    assert entry.slot(date(2026, 11, 4)) is None
    slots = {entry.slot(date(2026, 11, 5) + timedelta(n)) for n in range(30)}
    assert slots == {date(2026, 11, 5), date(2026, 11, 15), date(2026, 11, 25)}


@pytest.mark.parametrize(
    ("rule", "slot", "target"),
    [
        ("10 days ago", date(2026, 3, 5), date(2026, 2, 23)),
        ("1 day ago", date(2026, 3, 1), date(2026, 2, 28)),
        ("end of month", date(2026, 11, 22), date(2026, 10, 31)),
        ("end of month", date(2026, 3, 1), date(2026, 2, 28)),
        ("end of month", date(2026, 2, 28), date(2026, 2, 28)),
        ("end of month", date(2028, 2, 28), date(2028, 1, 31)),
        ("latest acquisition", date(2026, 3, 1), date(2020, 1, 1)),
    ],
)
def test_date_rules(rule, slot, target):
    assert country(date=rule).target(slot, lambda: date(2020, 1, 1)) == target


GOOD = """
[defaults]
source = "synthetic:seed=3"
out = "runs"
cadence = "monthly"
date = "10 days ago"
look_back_days = 40
checkpoint = "WEIGHTS"
[[country]]
name = "ghana"
[[country]]
name = "togo-utm"
region = "togo"
cadence = "weekly"
layers = ["lulc", "cloud"]
product_epsg = 32631
product_resolution = 10
"""


def test_entries_override_the_defaults(tmp_path):
    ghana, togo = read_schedule(schedule_file(tmp_path, GOOD))
    assert (ghana.region, ghana.cadence, ghana.look_back_days) == ("ghana", "monthly", 40)
    assert (togo.region, togo.cadence, togo.date) == ("togo", "weekly", "10 days ago")
    assert togo.options["layers"] == ["lulc", "cloud"]
    assert set(ghana.options) == {"checkpoint"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('"weekly"', '"fortnightly"'), ["togo-utm", "cadence is 'fortnightly'", "every N days"]),
        (('"weekly"', '"every 0 days"'), ["togo-utm", "cadence"]),
        (('"10 days ago"', '"yesterday"'), ["ghana", "date is 'yesterday'", "end of month"]),
        (('"togo-utm"', '"ghana"'), ["ghana", "more than once"]),
        (('"togo-utm"', '"Togo UTM"'), ["Togo UTM", "a-z"]),
        (('"togo"', '"atlantis"'), ["togo-utm", "atlantis"]),
        (("layers", "layer"), ["togo-utm", "did you mean layers?"]),
        (("32631", '"utm"'), ["togo-utm", "product_epsg is 'utm'", "int"]),
        (("32631", "true"), ["togo-utm", "product_epsg is True", "int"]),
        (("product_epsg = 32631", "no_harmonise = 1"), ["togo-utm", "no_harmonise is 1", "bool"]),
        (('["lulc", "cloud"]', '["ndvi"]'), ["togo-utm", "ndvi"]),
        (("look_back_days = 40", "look_back_days = -1"), ["look_back_days is negative"]),
        (('out = "runs"', ""), ["ghana", "out is missing"]),
        (("product_epsg = 32631", 'speckle = "median"'), ["togo-utm"]),
        (("[defaults]", "[default]"), ["default"]),
        (("[[country]]", "[country]"), ["not a TOML file"]),
    ],
    ids=lambda v: v[1] if isinstance(v, tuple) else "",
)
def test_a_wrong_schedule_is_refused_and_the_entry_named(tmp_path, capsys, weights, change, says):
    text = GOOD.replace(*change)
    assert text != GOOD
    path = schedule_file(tmp_path, text.replace("WEIGHTS", weights))
    assert main(["schedule", "render", "--file", path, "--date=2026-11-22"]) == 2
    message = capsys.readouterr().err
    for words in says:
        assert words in message
    assert main(["schedule", "run", "--file", str(tmp_path / "none.toml")]) == 2
    assert main(["schedule", "due", "--file", path, "--date=22.11.2026"]) == 2


def test_every_option_of_a_run_is_a_key_of_a_country():
    options = vars(build_parser().parse_args(["run", "--out=x"]))
    assert set(RUN_OPTIONS) == set(options) - {
        *("command", "region", "date", "source", "out"),
        *("refresh", "break_lock"),  # the schedule decides on them itself
    }


def test_options_reach_the_run_and_the_workflow(tmp_path, capsys, weights):
    text = GOOD.replace("WEIGHTS", weights) + (
        'optical = "least-cloudy"\nstale_sar_days = 3\ninputs = "trust"\nno_harmonise = true\n'
    )
    path = schedule_file(tmp_path, text)
    command = ["schedule", "render", "--file", path, "--date=2026-11-22", "--country=togo-utm"]
    assert main([*command, "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    flags = ("--optical=least-cloudy", "--stale-sar-days=3", "--inputs=trust", "--no-harmonise")
    assert set(flags) <= set(run["command"])
    told = run["argument"]["options"]
    fixed = {"job": "ingest", "out": "gs://my-runs/x", "checkpoint": "gs://my/x.safetensors"}
    check_parameters("ingest", told | fixed)
    assert (told["optical"], told["no_harmonise"]) == ("least-cloudy", "true")
    off = schedule_file(tmp_path, text.replace("no_harmonise = true", "no_harmonise = false"))
    assert main([*command[:3], off, *command[4:], "--json"]) == 0
    (harmonised,) = json.loads(capsys.readouterr().out)["runs"]
    assert "--no-harmonise" not in harmonised["command"]
    assert harmonised["run_id"] != run["run_id"]


def test_render_prints_commands_that_parse_and_json_for_the_workflow(tmp_path, capsys, weights):
    text = GOOD.replace('"runs"', '"gs://my-runs"').replace("WEIGHTS", weights)
    path = schedule_file(tmp_path, text)
    command = ["schedule", "render", "--file", path, "--date=2026-11-22"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "togo-utm: weekly, 10 days ago -> 2026-11-06" in text
    assert "cloudlulc run --region=togo --date=2026-11-06" in text
    assert main([*command, "--json", "--country=togo-utm"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    argument = run["argument"]
    assert run["out"] == f"gs://my-runs/{argument['name']}/{argument['date']}"
    assert argument["date"] == "2026-11-06"
    assert argument["options"] == {
        "checkpoint": weights,
        "layers": "lulc,cloud",
        "product_epsg": "32631",
        "product_resolution": "10",
    }
    template = json.loads((ROOT / "deploy/templates/ingest/metadata.json").read_text())
    assert set(argument["options"]) <= {p["name"] for p in template["parameters"]}
    again = json.loads(json.dumps(run))
    assert main([*command, "--json", "--country=togo-utm", "--date=2026-11-17"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == [again], "one slot, one run"


def test_the_shipped_schedule_is_right():
    countries = read_schedule(str(ROOT / "deploy" / "schedule.toml"))
    assert len(countries) >= 3
    for entry in countries:
        assert _arguments(entry, TODAY, entry.out)[0] == "run"


def test_the_folder_follows_from_country_options_and_date(make_run, tmp_path):
    run, entry = make_run(tmp_path), country(out="gs://b")
    first = scheduled(entry, run, TODAY)
    assert first.out == scheduled(entry, make_run(tmp_path / "y"), TODAY).out
    series, day = first.out.removeprefix("gs://b/").split("/")
    assert series.startswith("x-") and day == "2026-11-22"
    other_date = scheduled(entry, run, date(2026, 11, 1))
    assert other_date.out == f"gs://b/{series}/2026-11-01"
    assert series not in scheduled(entry, make_run(tmp_path, layers=("lulc",)), TODAY).out


@dataclass(frozen=True)
class EarlyCatalogue(SyntheticSource):
    """A catalogue that does not have every scene yet.

    Attributes:
      late: days whose scenes are published later.
    """

    late: tuple[date, ...] = ()

    def search(self, bounds, period):
        return [s for s in super().search(bounds, period) if s.day not in self.late]


def test_latest_acquisition_is_searched_and_nothing_is_no_error(make_run, tmp_path):
    entry = country(date="latest acquisition", look_back_days=8, out=str(tmp_path))
    run = make_run(tmp_path)
    optical = SyntheticSource(without=("sentinel-1",))
    (found,) = due(entry, run, optical, date(2024, 6, 17))
    days = {s.day for s in optical.search((5, 50, 6, 51), run.rule.period)}
    assert found.run.target == max(day for day in days if day <= date(2024, 6, 17))
    assert found.reason == "not started yet"
    assert due(entry, run, SyntheticSource(without=("sentinel-2",)), TODAY) == []


def test_late_scenes_make_a_finished_run_due_and_only_their_blocks_are_made_anew(
    make_run, tmp_path
):
    target, today = date(2024, 6, 15), date(2024, 6, 20)
    source = SyntheticSource(seed=3, cloud=0.4)
    run = make_run(tmp_path)
    period = run.rule.period
    near = [s for s in source.search((5, 50, 6, 51), period) if s.sensor == "sentinel-2"]
    nearest = min(near, key=lambda s: abs(s.day - target)).day
    entry = country(date="5 days ago", out=str(tmp_path / "runs"), look_back_days=10)
    early = EarlyCatalogue(seed=3, cloud=0.4, late=(nearest,))

    def start(entry_run, catalogue):
        from pipeline import launch

        launch.start(entry_run)
        return [launch.execute(job, entry_run, catalogue, []) for job in launch.JOBS]

    (first,) = due(entry, run, early, today)
    assert (first.run.target, first.reason) == (target, "not started yet")
    start(first.run, early)
    (done,) = due(entry, run, early, today)
    assert done.reason == "" and not done.changes.blocks
    before = content(Path(first.run.out))

    (late,) = due(entry, run, source, today)
    assert "have other scenes now" in late.reason and late.changes.blocks
    assert {s.id for s in near if s.day == nearest} & set(late.changes.late)
    # The day after, the run is no more the newest, but still within the window; then not.
    tomorrow = due(entry, run, source, today + timedelta(1))
    assert [(d.run.target, bool(d.changes.blocks)) for d in tomorrow] == [
        (target + timedelta(1), False),
        (target, True),
    ]
    long_after = due(entry, run, source, today + timedelta(9))
    assert target not in {d.run.target for d in long_after}

    forget(late.run, late.changes.blocks)
    reports = start(late.run, source)
    assert reports[0].done == len(late.changes.blocks)
    assert due(entry, run, source, today)[0].reason == ""
    fresh = make_run(tmp_path / "fresh")
    run_with_beam(fresh)
    after = content(Path(late.run.out))
    assert differing(after, before)
    assert differing(after, content(Path(fresh.out))) == []
    shutil.rmtree(fresh.out)


def test_schedule_run_runs_what_is_due_and_nothing_twice(tmp_path, capsys):
    weights = micro_checkpoint(tmp_path / "micro.safetensors")
    text = f"""
[defaults]
source = "synthetic:seed=3,cloud=0.4"
out = "{tmp_path}/runs"
cadence = "weekly"
date = "2 days ago"
checkpoint = "{weights}"
chip_size = 96
halo = 16
threads = 1
layers = ["lulc"]
[[country]]
name = "here"
region = "5.98,50,5.985,50.005"
"""
    path = schedule_file(tmp_path, text)
    command = ["schedule", "run", "--due", "--file", path, "--date=2024-06-19"]
    assert main(command) == 0
    assert "here 2024-06-15: due, not started yet" in capsys.readouterr().err
    (out,) = (tmp_path / "runs").glob("here-*/2024-06-15")
    assert read_json(str(out / "product" / "collection.json"))["type"] == "Collection"
    before = content(out)
    assert main(command) == 0
    assert "here: nothing is due" in capsys.readouterr().err
    assert main(["schedule", "due", *command[3:], "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["runs"]
    assert (entry["due"], entry["reason"]) == (False, "")
    (out / "product" / "collection.json").unlink()
    assert main(["schedule", "run", *command[3:]]) == 0
    assert content(out) == before
