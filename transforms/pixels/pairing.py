"""Which acquisitions make the pair of a block: one optical pass and the SAR pass next to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from transforms.period import Period, utc_day
from transforms.scene import SENTINEL1, SENTINEL2, Scene, scene_order

PASS_LENGTH = timedelta(minutes=49)
"""Half an orbit of a Sentinel (98.6 min and 100.6 min): scenes closer than this are of one pass.

A rule by time, not by day, keeps a pass that crosses midnight whole, and keeps apart the two
passes of one day that high latitudes see.
"""


class Pair(NamedTuple):
    """Scenes of one optical and of one SAR pass, in the order in which they are merged."""

    optical: tuple[Scene, ...]  # empty: none within reach
    sar: tuple[Scene, ...]


@dataclass(frozen=True)
class PairRule:
    """Which acquisitions may map a target date; part of a run's configuration."""

    target: date
    max_optical_days: int = 10
    max_sar_days: int = 12

    def __post_init__(self):
        if self.max_optical_days < 0 or self.max_sar_days < 0:
            raise ValueError(
                f"pairing: reach of {self.max_optical_days} days (optical) and "
                f"{self.max_sar_days} days (SAR), expected 0 or more"
            )

    @property
    def period(self) -> Period:
        """The days to search: SAR adjacent to the farthest optical acquisition included."""
        days = self.max_optical_days + self.max_sar_days
        return Period.around(self.target, days, days)

    def choose(self, scenes: Iterable[Scene]) -> Pair:
        """See `choose_pair`."""
        return choose_pair(scenes, self.target, self.max_optical_days, self.max_sar_days)


def choose_pair(
    scenes: Iterable[Scene], target: date, max_optical_days: int, max_sar_days: int
) -> Pair:
    """The optical pass nearest to the target date, however cloudy, and the SAR pass next to it.

    An undated scene is taken only where no dated one is in reach, and then it stands alone: one
    acquisition is one id. The result does not depend on the order of `scenes`.

    Args:
      scenes: of both sensors, all touching the block (or tile) that is paired.
      target: the day to map.
      max_optical_days: reach around the target, last day included.
      max_sar_days: reach around the optical acquisition, or around the target where there is no
        optical one, last day included.
    """
    scenes = sorted(scenes, key=lambda s: scene_order(s, target))
    reach = Period.around(target, max_optical_days, max_optical_days)
    optical = _pass([s for s in scenes if s.sensor == SENTINEL2 and s.within(reach)])

    # The sort is stable: at equal distance scene_order decides.
    span = _known_range(optical[0]) if optical else _day_range(target)
    sar = [s for s in scenes if s.sensor == SENTINEL1 and _days_apart(s, span) <= max_sar_days]
    sar.sort(key=lambda s: (s.time is None, _distance(_known_range(s), span)))
    return Pair(optical, _pass(sar))


def _pass(candidates: list[Scene]) -> tuple[Scene, ...]:
    """The first candidate and the others of its pass and kind, in order."""
    if not candidates:
        return ()
    first = candidates[0]
    if first.time is None:
        return (first,)
    return tuple(
        s
        for s in candidates
        if s.time is not None
        and abs(s.time - first.time) < PASS_LENGTH
        and (s.orbit, s.level, s.unit) == (first.orbit, first.level, first.unit)
    )


def _known_range(scene: Scene) -> tuple[datetime, datetime]:
    return (scene.time, scene.time) if scene.time else (scene.start, scene.end)


def _day_range(day: date) -> tuple[datetime, datetime]:
    start = datetime.combine(day, time(), UTC)
    return start, start + timedelta(days=1) - timedelta(microseconds=1)


def _distance(a: tuple[datetime, datetime], b: tuple[datetime, datetime]) -> timedelta:
    """Time between two ranges; zero where they overlap."""
    return max(a[0] - b[1], b[0] - a[1], timedelta())


def _days_apart(scene: Scene, span: tuple[datetime, datetime]) -> int:
    """UTC days between a scene and a range; 0 where they share, or may share, a day."""
    start, end = _known_range(scene)
    return max((utc_day(start) - utc_day(span[1])).days, (utc_day(span[0]) - utc_day(end)).days, 0)
