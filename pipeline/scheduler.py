"""`cloudlulc schedule`: show a schedule, what of it is due, and run that one after the other."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from datetime import UTC, date, datetime
from tempfile import TemporaryDirectory

from pipeline import EXIT_FAILED, EXIT_OK, chain, launch
from pipeline.arguments import run_from
from pipeline.config import RunConfig
from pipeline.dated import make_versions
from pipeline.due import Due, due, newest_run, series_name
from pipeline.options import add_run_options
from pipeline.progress import say
from pipeline.schedule import Country, read_schedule
from transforms.period import parse_day
from transforms.scene import SourceUnavailable
from transforms.sources import open_source
from transforms.store import join

NOT_FOR_THE_WORKFLOW = ("max_failed", "device", "threads")
"""Options that say how a run is executed here; deploy/workflow.yaml decides on them itself."""


def schedule(args: argparse.Namespace, beam_args: list[str]) -> int:
    """`schedule render`, `schedule due` and `schedule run`."""
    today = parse_day(args.date) if args.date else datetime.now(UTC).date()
    countries = _chosen(read_schedule(args.file), args.country)
    described = [(country, _described(country, today)) for country in countries]
    action = {"render": _render, "due": _list_due, "run": _run}[args.action]
    say(f"schedule {args.file} on {today}")
    return action(args, beam_args, described, today)


def _chosen(countries: list[Country], names: list[str] | None) -> list[Country]:
    known = [country.name for country in countries]
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ValueError(f"--country: got {', '.join(unknown)}, expected of {', '.join(known)}")
    return [country for country in countries if not names or country.name in names]


def _described(country: Country, today: date) -> RunConfig:
    """What the options of a country say, of any date."""
    try:
        # In an empty folder, so that no run that was started adds to what the schedule says.
        with TemporaryDirectory(prefix="cloudlulc-") as empty:
            return run_from(_parsed(country, today, empty))
    except ValueError as error:
        raise ValueError(f"country {country.name}: {error}") from error


def _parsed(country: Country, target: date, out: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser("cloudlulc run")
    add_run_options(parser)
    try:
        return parser.parse_args(_arguments(country, target, out)[1:])
    except SystemExit:
        raise ValueError("the options above are not of cloudlulc run") from None


def _arguments(country: Country, target: date, out: str) -> list[str]:
    """The command that makes one run of a country."""
    what = {"region": country.region, "date": target, "source": country.source, "out": out}
    arguments = ["run"]
    for name, value in (what | country.options).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            arguments += [flag] if value else []
        else:
            arguments.append(f"{flag}={_text(value)}")
    return arguments


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)


def _render(args, beam_args, described, today) -> int:
    """Print the newest run of every country: a table, or what Workflows takes."""
    runs = []
    for country, run in described:
        try:
            newest = newest_run(country, run, open_source(run.source), today)
        except SourceUnavailable as error:
            raise ValueError(f"country {country.name}: {error}") from error
        if newest is None:
            say(f"{country.name}: nothing to map yet")
            continue
        runs.append((country, run, newest))
    if args.json:
        documents = [_document(country, run, newest) for country, run, newest in runs]
        print(json.dumps({"today": today.isoformat(), "runs": documents}, indent=2))
        return EXIT_OK
    for country, _, newest in runs:
        print(f"{country.name}: {country.cadence}, {country.date} -> {newest.target}")
        print(f"  cloudlulc {shlex.join(_arguments(country, newest.target, newest.out))}")
    return EXIT_OK


def _document(country: Country, run: RunConfig, newest: RunConfig) -> dict:
    """A run for machines; `argument` is the one of deploy/workflow.yaml."""
    options = {k: _text(v) for k, v in country.options.items() if k not in NOT_FOR_THE_WORKFLOW}
    return {
        "country": country.name,
        "run_id": newest.id,
        "date": newest.target.isoformat(),
        "out": newest.out,
        "command": ["cloudlulc", *_arguments(country, newest.target, newest.out)],
        "argument": {
            "name": series_name(country, run),
            "region": country.region,
            "source": country.source,
            "date": newest.target.isoformat(),
            "options": options,
        },
    }


def _found(described, today) -> Iterator[Due]:
    for country, run in described:
        yield from due(country, run, open_source(run.source), today)


def _list_due(args, beam_args, described, today) -> int:
    """Print every run that the schedule looks at, and why it is due."""
    try:
        found = list(_found(described, today))
    except SourceUnavailable as error:
        raise ValueError(str(error)) from error
    if args.json:
        documents = [
            {
                "country": entry.country.name,
                "date": entry.run.target.isoformat(),
                "out": entry.run.out,
                "due": bool(entry.reason),
                "reason": entry.reason,
                "changed_blocks": [str(key) for key in entry.changes.blocks],
                "new_scenes": list(entry.changes.late),
                "replaced_scenes": list(entry.changes.replaced),
            }
            for entry in found
        ]
        print(json.dumps({"today": today.isoformat(), "runs": documents}, indent=2))
        return EXIT_OK
    for entry in found:
        print(f"{entry.country.name} {entry.run.target}: {_verdict(entry)}")
    return EXIT_OK


def _verdict(entry: Due) -> str:
    return f"due, {entry.reason}" if entry.reason else "done"


def _run(args, beam_args, described, today) -> int:
    """Run countries one after the other; one that fails does not stop the others."""
    code = EXIT_OK
    for country, run in described:
        try:
            source = open_source(run.source)
            found = due(country, run, source, today)
            entries = [entry for entry in found if entry.reason or not args.due]
            if not entries:
                say(f"{country.name}: nothing is due")
            for entry in entries:
                say(f"{country.name} {entry.run.target}: {_verdict(entry)}")
                options = _parsed(country, entry.run.target, entry.run.out)
                refresh = bool(entry.changes.blocks)
                # Nobody is there to ask whether a silent holder of the lock lives: it is watched.
                if chain.start_jobs(run_from(options), launch.JOBS, beam_args, refresh, True):
                    code = EXIT_FAILED
            if country.versions and entries:
                series = join(country.out, series_name(country, run))
                for version in make_versions(series, country.versions):
                    say(f"{country.name}: {version}")
        except (ValueError, SourceUnavailable) as error:
            say(f"{country.name}: {error}")
            code = EXIT_FAILED
    return code
