"""How sure a score is: bootstrap over places (Efron 1979), for one map and for the gap of two.

A pixel is no draw of its own, since its neighbours say the same; a place is. So whole places are
drawn with replacement, every sample of a place together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from model.metrics import STATISTICS

Statistic = str | Callable[[np.ndarray], np.ndarray]
"""A name of `metrics.STATISTICS`, or a function of confusion matrices (...,C,C) -> (...)."""

LEVEL = 95  # percent of the draws that an interval holds
_PART = 100  # draws at a time: bounds the memory


class Interval(NamedTuple):
    estimate: float  # of all samples
    low: float
    high: float


class Difference(NamedTuple):
    estimate: float  # a - b over all samples
    low: float
    high: float
    below: float  # share of draws in which a is below b


def bootstrap(
    samples: Sequence[Any], statistic: Statistic, draws: int = 1000, seed: int = 0
) -> Interval:
    """A score of samples with the interval that holds 95 % of the draws.

    Args:
      samples: of a result: `name`, `confusion` (C,C) [truth, predicted] and, where several samples
        show one place, `place`; a mapping or an object with these.
      statistic: which score.
      draws: how many.
      seed: of the draws.

    Raises:
      ValueError: there is no sample, or no such statistic.
    """
    of = _statistic(statistic)
    matrices = _by_place(samples)
    estimate = float(of(matrices.sum(0)))
    return Interval(estimate, *_percentiles(_drawn(matrices, of, draws, seed)))


def paired_bootstrap(
    samples_a: Sequence[Any],
    samples_b: Sequence[Any],
    statistic: Statistic,
    draws: int = 1000,
    seed: int = 0,
) -> Difference:
    """The gap a - b of two results on the same samples; both see the same draws.

    Args:
      samples_a, samples_b: see `bootstrap`; in any order, of the same names.
      statistic: which score.
      draws: how many.
      seed: of the draws.

    Raises:
      ValueError: the two do not hold the same samples, or see `bootstrap`.
    """
    of = _statistic(statistic)
    a, b = ({_get(s, "name"): s for s in samples} for samples in (samples_a, samples_b))
    if a.keys() != b.keys() or len(a) != len(samples_a) or len(b) != len(samples_b):
        other = sorted(a.keys() ^ b.keys())
        raise ValueError(
            f"paired bootstrap: got {len(samples_a)} and {len(samples_b)} samples, expected the "
            f"same ones, each once; only one side holds {other[:5]} ({len(other)}); evaluate both "
            "on one split"
        )
    matrices = [_by_place([side[name] for name in sorted(a)]) for side in (a, b)]
    estimate = float(of(matrices[0].sum(0)) - of(matrices[1].sum(0)))
    gaps = np.subtract(*(_drawn(m, of, draws, seed) for m in matrices))
    known = gaps[~np.isnan(gaps)]
    below = float((known < 0).mean()) if known.size else np.nan
    return Difference(estimate, *_percentiles(gaps), below)


def _statistic(statistic: Statistic) -> Callable[[np.ndarray], np.ndarray]:
    if callable(statistic):
        return statistic
    if statistic not in STATISTICS:
        raise ValueError(f"statistic: got {statistic!r}, expected one of {sorted(STATISTICS)}")
    return STATISTICS[statistic]


def _get(sample: Any, field: str, default: Any = None) -> Any:
    if isinstance(sample, Mapping):
        return sample.get(field, default)
    return getattr(sample, field, default)


def _by_place(samples: Sequence[Any]) -> np.ndarray:
    """Confusion matrices summed over each place: (place,C,C) float64, in order of appearance."""
    if not len(samples):
        raise ValueError("bootstrap: there is no sample")
    places: dict[str, np.ndarray] = {}
    for sample in samples:
        place = _get(sample, "place") or _get(sample, "name")
        matrix = np.asarray(_get(sample, "confusion"), np.float64)
        places[place] = places[place] + matrix if place in places else matrix
    return np.stack(list(places.values()))


def _drawn(
    matrices: np.ndarray, of: Callable[[np.ndarray], np.ndarray], draws: int, seed: int
) -> np.ndarray:
    """The statistic of each draw, (draws,) float64."""
    rng, n = np.random.default_rng(seed), len(matrices)
    flat = matrices.reshape(n, -1)
    values = []
    for first in range(0, draws, _PART):
        times = rng.multinomial(n, np.full(n, 1 / n), min(_PART, draws - first))
        values.append(of((times @ flat).reshape(len(times), *matrices.shape[1:])))
    return np.concatenate(values) if values else np.empty(0)


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    """The middle `LEVEL` percent of what is defined; nan where nothing is."""
    known = values[~np.isnan(values)]
    if not known.size:
        return np.nan, np.nan
    edge = (100 - LEVEL) / 2
    low, high = np.percentile(known, [edge, 100 - edge])
    return float(low), float(high)
