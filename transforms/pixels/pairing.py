"""Which acquisitions make the pair of a block: one optical pass and the SAR pass next to it."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from model.regimes import Regime
from transforms.period import Period, utc_day
from transforms.scene import SENTINEL1, SENTINEL2, Scene, scene_order

PASS_LENGTH = timedelta(minutes=49)
"""Half an orbit of a Sentinel (98.6 min and 100.6 min): scenes closer than this are of one pass.

A rule by time, not by day, keeps a pass that crosses midnight whole, and keeps apart the two
passes of one day that high latitudes see.
"""


NEAREST, LEAST_CLOUDY = "nearest", "least-cloudy"
"""Which optical pass within reach maps the target date; see `choose_pair`."""


class Pair(NamedTuple):
    """Scenes of one optical and of one SAR pass, in the order in which they are merged."""

    optical: tuple[Scene, ...]  # empty: none within reach
    sar: tuple[Scene, ...]

    def without(self, ids: Container[str]) -> Pair:
        """The pair without the scenes of these ids."""
        return Pair(*(tuple(s for s in scenes if s.id not in ids) for scenes in self))


@dataclass(frozen=True)
class PairRule:
    """Which acquisitions may map a target date; part of a run's configuration."""

    target: date
    max_optical_days: int = 10
    max_sar_days: int = 12
    optical: str = NEAREST  # or LEAST_CLOUDY
    stale_sar_days: int = 6  # beyond: half of one Sentinel-1's repeat cycle, so a pass is missing

    def __post_init__(self):
        if min(self.max_optical_days, self.max_sar_days, self.stale_sar_days) < 0:
            raise ValueError(
                f"pairing: reach of {self.max_optical_days} days (optical) and "
                f"{self.max_sar_days} days (SAR), stale after {self.stale_sar_days}: expected 0 or "
                "more"
            )
        if self.optical not in (NEAREST, LEAST_CLOUDY):
            raise ValueError(
                f"pairing: optical is {self.optical!r}, expected {NEAREST} or {LEAST_CLOUDY}"
            )

    @property
    def period(self) -> Period:
        """The days to search: SAR adjacent to the farthest optical acquisition included."""
        days = self.max_optical_days + self.max_sar_days
        return Period.around(self.target, days, days)

    def choose(self, scenes: Iterable[Scene]) -> Pair:
        """See `choose_pair`."""
        return choose_pair(
            scenes, self.target, self.max_optical_days, self.max_sar_days, self.optical
        )

    def regime(self, pair: Pair, scenes: Iterable[Scene] = ()) -> Regime:
        """Which sensors map a block, and what is missing of what is usual there.

        One orbit: the archive shows the block from ascending and from descending orbits within
        `period`, but within `max_sar_days` of the optical pass from one of them only. Where all of
        the period is of one direction, that is how the place is observed: nothing is missing.

        Args:
          pair: of the block.
          scenes: all that show the block, within the period.
        """
        if not pair.optical:
            return Regime.SAR_ONLY if pair.sar else Regime.NONE
        if not pair.sar:
            return Regime.OPTICAL_ONLY
        span = _known_range(pair.optical[0])
        if _days_apart(pair.sar[0], span) > self.stale_sar_days:
            return Regime.SAR_STALE
        usual = [s for s in scenes if s.sensor == SENTINEL1 and s.orbit]
        near = {s.orbit for s in usual if _days_apart(s, span) <= self.max_sar_days}
        missing = {s.orbit for s in usual} - near
        return Regime.ONE_ORBIT if missing else Regime.BOTH


def choose_pair(
    scenes: Iterable[Scene],
    target: date,
    max_optical_days: int,
    max_sar_days: int,
    optical: str = NEAREST,
) -> Pair:
    """One optical pass, with all its granules, and the SAR pass next to it.

    The optical pass is the one nearest to the target date, however cloudy; cloud, then id decide
    between passes of equal distance. With `LEAST_CLOUDY` it is that of the least cloudy scene in
    reach; distance, then id decide between equal ones, and unknown cloud comes last.

    Days are not mixed: where the pass shows a corner of the block only, the rest of the block has
    no optical data, even if another pass within reach shows it.

    An undated scene is taken only where no dated one is in reach, and then it stands alone: one
    acquisition is one id. The result does not depend on the order of `scenes`.

    Args:
      scenes: of both sensors, all touching the block (or tile) that is paired.
      target: the day to map.
      max_optical_days: reach around the target, last day included.
      max_sar_days: reach around the optical acquisition, or around the target where there is no
        optical one, last day included.
      optical: `NEAREST` or `LEAST_CLOUDY`.
    """
    scenes = sorted(scenes, key=lambda s: scene_order(s, target))
    reach = Period.around(target, max_optical_days, max_optical_days)
    candidates = [s for s in scenes if s.sensor == SENTINEL2 and s.within(reach)]
    # Sorts are stable: among equals scene_order decides.
    if optical == LEAST_CLOUDY:
        candidates.sort(key=lambda s: (s.time is None, 2.0 if s.cloud is None else s.cloud))
    seen = _pass(candidates)

    span = _known_range(seen[0]) if seen else _day_range(target)
    sar = [s for s in scenes if s.sensor == SENTINEL1 and _days_apart(s, span) <= max_sar_days]
    sar.sort(key=lambda s: (s.time is None, _distance(_known_range(s), span)))
    return Pair(seen, _pass(sar))


def complete(pair: Pair, scenes: Iterable[Scene]) -> Pair:
    """A pair with those of `scenes` that belong to its passes: what shows a block's halo alone."""
    scenes = sorted(scenes, key=lambda scene: scene.id)

    def completed(chosen: tuple[Scene, ...]) -> tuple[Scene, ...]:
        if not chosen:
            return ()
        more = [s for s in scenes if s.sensor == chosen[0].sensor and s not in chosen]
        return chosen + _pass([chosen[0], *more])[1:]

    return Pair(completed(pair.optical), completed(pair.sar))


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
