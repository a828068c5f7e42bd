"""What of a schedule is due: runs not made yet, not finished, or overtaken by late scenes."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import NamedTuple

from pipeline import launch
from pipeline.config import RunConfig
from pipeline.refresh import Changes, new_since
from pipeline.run_document import read_run
from pipeline.schedule import Country
from transforms.period import Period, parse_day
from transforms.scene import SENTINEL2, ImagerySource
from transforms.store import join, list_folder

ANY_DATE = date(2020, 1, 1)
"""Stands for the date where runs of all dates are to have one id."""


class Due(NamedTuple):
    """One run of a country, and why it has to be started; reason "" where it has not."""

    country: Country
    run: RunConfig
    reason: str
    changes: Changes = Changes()  # what a new search finds otherwise


def of_date(run: RunConfig, target: date) -> RunConfig:
    """A country's run of one date, in a folder that follows from country, options and date.

    Runs that differ in the date alone lie side by side: `<out>/<country>-<id>/<date>`.
    """
    return replace(run, rule=replace(run.rule, target=target))


def series_name(country: Country, run: RunConfig) -> str:
    """`<country>-<id>`: the id derives from all that decides the bytes but the date."""
    return f"{country.name}-{of_date(run, ANY_DATE).id[:8]}"


def scheduled(country: Country, run: RunConfig, target: date) -> RunConfig:
    folder = join(country.out, series_name(country, run), target.isoformat())
    return replace(of_date(run, target), out=folder)


def latest_acquisition(run: RunConfig, source: ImagerySource, period: Period) -> date | None:
    """The day of the last optical acquisition over the region; None where there is none.

    Raises:
      SourceUnavailable: the catalogue could not be read.
    """
    days = [
        scene.day
        for tile in run.tiles()
        for scene in source.search(run.grid.footprint(tile), period)
        if scene.sensor == SENTINEL2 and scene.day and scene.within(period)
    ]
    return max(days, default=None)


def newest_run(
    country: Country, run: RunConfig, source: ImagerySource, today: date
) -> RunConfig | None:
    """The run of the country's last slot; None before its first slot, or where no scene is."""
    slot = country.slot(today)
    if slot is None:
        return None
    period = Period.around(slot, country.look_back_days, 0)
    target = country.target(slot, lambda: latest_acquisition(run, source, period))
    return scheduled(country, run, target) if target else None


def due(country: Country, run: RunConfig, source: ImagerySource, today: date) -> list[Due]:
    """The country's newest run and those within its look-back window, newest first.

    A date that was never started is due only if it is the newest: a schedule that stood still does
    not make up for the slots that it missed.

    Args:
      country: entry of the schedule.
      run: what its options describe, of any date.
      today: the day from which slots and the look-back window count.

    Raises:
      SourceUnavailable: the catalogue could not be read.
    """
    newest = newest_run(country, run, source, today)
    runs = {newest.target: newest} if newest else {}
    for name in list_folder(join(country.out, series_name(country, run))):
        target = parse_day(name)
        if timedelta(0) <= today - target <= timedelta(country.look_back_days):
            runs.setdefault(target, scheduled(country, run, target))
    return [_due(country, runs[target], source) for target in sorted(runs, reverse=True)]


def _due(country: Country, run: RunConfig, source: ImagerySource) -> Due:
    if read_run(run.out) is None:
        return Due(country, run, "not started yet")
    left = {job: launch.left(run, job) for job in launch.JOBS}
    changes = new_since(run, source)
    reasons = [f"{job} has {count} to do" for job, count in left.items() if count]
    if changes.blocks:
        reasons.append(str(changes))
    return Due(country, run, "; ".join(reasons), changes)
