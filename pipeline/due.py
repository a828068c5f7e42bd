"""What of a schedule is due: runs not made yet, not finished, or overtaken by late scenes."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import NamedTuple

from pipeline import launch
from pipeline.config import RunConfig, read_run
from pipeline.schedule import Country
from transforms.chips import chip_cube_url
from transforms.grid import BlockKey
from transforms.mapcube import map_cube_url
from transforms.measure import forget_record, record_name
from transforms.period import Period, parse_day
from transforms.plan import plan_tile, plan_url, read_plan
from transforms.product import item_url
from transforms.publish import blocks_under
from transforms.scene import SENTINEL2, ImagerySource
from transforms.seal import seal_url
from transforms.store import exists, join, list_folder, remove

ANY_DATE = date(2020, 1, 1)
"""Stands for the date where runs of all dates are to have one id."""


class Due(NamedTuple):
    """One run of a country, and why it has to be started; reason "" where it has not."""

    country: Country
    run: RunConfig
    reason: str
    changed: tuple[BlockKey, ...] = ()  # blocks that a new search would make otherwise
    scenes: tuple[str, ...] = ()  # ids of scenes that the run does not know yet


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
    changed, scenes = new_since(run, source)
    reasons = [f"{job} has {count} to do" for job, count in left.items() if count]
    if changed:
        more = f" and {len(scenes) - 3} more" if len(scenes) > 3 else ""
        named = f": {', '.join(scenes[:3])}{more}" if scenes else ""
        reasons.append(f"{len(changed)} blocks have other scenes now{named}")
    return Due(country, run, "; ".join(reasons), changed, scenes)


def new_since(
    run: RunConfig, source: ImagerySource
) -> tuple[tuple[BlockKey, ...], tuple[str, ...]]:
    """Blocks that a search of today would make otherwise than the run's plan, and its new scenes.

    What is measured of a pair is measured on its blocks in the tile: where a pair gains or loses
    one, the others count as changed, too.

    Raises:
      SourceUnavailable: the catalogue could not be read.
    """
    changed: list[BlockKey] = []
    scenes: set[str] = set()
    for tile in run.tiles():
        if not exists(plan_url(run.out, tile)):
            continue
        plan = read_plan(run.out, tile)
        blocks = run.grid.blocks(tile, run.region.geometry)
        requests = plan_tile(tile, blocks, run.grid, run.rule, source)
        now = _blocks_by_pair(
            {
                str(key): tuple(tuple(s.id for s in sensor) for sensor in pair)
                for key, pair, _ in requests
            }
        )
        then = _blocks_by_pair(
            {
                name: (tuple(ids["optical"]), tuple(ids["sar"]))
                for name, ids in plan["blocks"].items()
            }
        )
        changed += [key for key, _, _ in requests if now[str(key)] != then.get(str(key))]
        known = {scene["id"] for scene in plan["scenes"]}
        scenes |= {s.id for _, pair, _ in requests for sensor in pair for s in sensor} - known
    return tuple(sorted(changed)), tuple(sorted(scenes))


def _blocks_by_pair(pairs: dict[str, tuple]) -> dict[str, tuple]:
    """By block: its pair, and the blocks that have the same."""
    together: dict[tuple, list[str]] = {}
    for name in sorted(pairs):
        together.setdefault(pairs[name], []).append(name)
    # Blocks without scenes are measured together with none.
    return {name: (pair, together[pair] if any(pair) else []) for name, pair in pairs.items()}


def forget(run: RunConfig, blocks: tuple[BlockKey, ...]) -> None:
    """Take back blocks of a run, so that it makes them, and the products over them, anew.

    The marks of completion go in the order opposite to their writing: whenever this stops, a job
    that is done twice is the worst that follows.
    """
    publication, wanted = run.publication(), set(blocks)
    for tile in run.product_tiles():
        if wanted & set(blocks_under(tile, publication)):
            remove(item_url(run.out, tile.name))
    for cube_url in (map_cube_url, chip_cube_url):
        for key in blocks:
            remove(seal_url(cube_url(run.out, key.tile), key))
    for tile in sorted({key.tile for key in blocks}):
        planned = read_plan(run.out, tile)["blocks"]
        pairs = [planned[str(key)] for key in blocks if key.tile == tile and str(key) in planned]
        for optical, sar in {(tuple(pair["optical"]), tuple(pair["sar"])) for pair in pairs}:
            forget_record(run.out, tile, record_name(optical, sar))
        remove(plan_url(run.out, tile))
