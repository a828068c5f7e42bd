"""Accuracy and area from a stratified random sample, with standard errors and 95 % intervals.

Olofsson et al. 2014 (Remote Sensing of Environment 148:42-57) and Stehman 2014 (International
Journal of Remote Sensing 35:4923-4939). Every figure is a mean or a ratio of means of indicator
variables (Stehman's equations 2, 25, 27 and 28); where the strata are the map's classes these are
Olofsson's equations 3 to 11. Two things are added: units of a stratum may differ in ground area,
as the pixels of a geographic grid do (then means are weighted by area and residuals with them,
Cochran 1977, section 6.10), and intervals of what is rare are not the normal ones.

Where some strata hold fewer than three hits (or misses) and carry much of the uncertainty, a
normal interval covers far too seldom: one omission seen in a large stratum is a large area. There
the hits are taken as Poisson counts and their weighted sum gets the mid-p gamma interval of Fay
and Kim 2017 (Biometrical Journal 59, doi:10.1002/bimj.201600111), joined with the normal part of
the other strata by the method of variance estimates recovery (Zou and Donner 2008, Statistics in
Medicine 27:1693-1702; for ratios Donner and Zou 2012, Statistical Methods in Medical Research
21:347-359).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Z = 1.96
"""Normal deviate of the 95 % intervals, to the digits that both papers use."""

NORMAL, RARE = "normal", "mid-p gamma"

_FEW = 3  # hits or misses below which a stratum counts as rare
_GOVERNS = 0.2  # part of an interval's squared half-width from which rare strata decide its kind


class Sample(NamedTuple):
    """Interpreted units of a stratified random sample.

    Attributes:
      stratum: (unit,) int, position in `area`.
      area: (stratum,) float64, any unit of area; strata without a unit may not have any.
      pixels: (stratum,) pixels to draw from, for the finite population correction; None: so many
        that there is none, as Olofsson et al. have it.
      ground: (unit,) float64, ground area of each unit, any unit; None: all the same.
    """

    stratum: np.ndarray
    area: np.ndarray
    pixels: np.ndarray | None = None
    ground: np.ndarray | None = None


class Estimate(NamedTuple):
    value: float
    se: float
    low: float  # of the 95 % interval
    high: float
    interval: str  # which one: NORMAL or RARE

    @property
    def normal(self) -> tuple[float, float]:
        """The normal interval, whether or not it is the one to use."""
        return self.value - Z * self.se, self.value + Z * self.se

    def times(self, factor: float) -> Estimate:
        return self._replace(
            value=self.value * factor,
            se=self.se * factor,
            low=self.low * factor,
            high=self.high * factor,
        )


def proportion(sample: Sample, hit: np.ndarray) -> Estimate:
    """Share of the area where an indicator is true: overall accuracy, area of a class.

    Args:
      hit: (unit,) bool.

    Raises:
      ValueError: a stratum has too few units.
    """
    return _Stratified(sample).mean(sample.area / sample.area.sum(), hit)


def ratio(sample: Sample, hit: np.ndarray, within: np.ndarray) -> Estimate | None:
    """Share of a part of the map where an indicator is true: user's accuracy, say.

    Args:
      hit: (unit,) bool, true only where `within` is.
      within: (unit,) bool, follows from the map alone.

    Returns:
      None where the sample has nothing within.

    Raises:
      ValueError: a stratum has too few units.
    """
    if not within.any():
        return None
    strata = _Stratified(sample)
    share = sample.area / sample.area.sum()
    inside = strata.means(within)
    if np.isin(inside, (0.0, 1.0)).all():
        # Whole strata: the area is known, only the hits are uncertain.
        return strata.mean(share * inside / (share @ inside), hit)
    possible = share * (inside > 0)
    return _part_of_sum(strata, share, hit, within & ~hit, possible, possible)


def producers_accuracy(sample: Sample, mapped: np.ndarray, truth: np.ndarray) -> Estimate | None:
    """Share of a class's true area that the map shows as this class.

    Args:
      mapped, truth: (unit,) bool, whether the map and the reference say the class.

    Returns:
      None where the reference has none of the class.

    Raises:
      ValueError: a stratum has too few units.
    """
    if not truth.any():
        return None
    strata = _Stratified(sample)
    share = sample.area / sample.area.sum()
    shown = strata.means(mapped)
    # Where the map says nothing else there is nothing to omit, and the other way round.
    hits, omissions = share * (shown > 0), share * (shown < 1)
    return _part_of_sum(strata, share, mapped & truth, truth & ~mapped, hits, omissions)


def _part_of_sum(
    strata: _Stratified,
    share: np.ndarray,
    hit: np.ndarray,
    miss: np.ndarray,
    hit_share: np.ndarray,
    miss_share: np.ndarray,
) -> Estimate:
    """hit / (hit + miss), both areas estimated; Stehman 2014, equations 27 and 28.

    Args:
      hit_share, miss_share: (stratum,) `share` of the strata where there may be any.
    """
    either = hit | miss
    total = share @ strata.means(either)
    value = share @ strata.means(hit) / total
    residual = strata.residuals(hit) - value * strata.residuals(either)
    se = np.sqrt(strata.variance(share, residual).sum()) / total
    part, rest = strata.mean(hit_share, hit), strata.mean(miss_share, miss)
    if part.interval == rest.interval == NORMAL:
        return _normal(value, se)
    return Estimate(float(value), float(se), *_share_of_sum(part, rest), RARE)


class _Stratified:
    """The arithmetic that all figures of one sample share."""

    def __init__(self, sample: Sample):
        self.stratum, size = sample.stratum, len(sample.area)
        self.units = np.bincount(self.stratum, minlength=size)
        self.sampled = np.zeros(size) if sample.pixels is None else self.units / sample.pixels
        for h in np.flatnonzero((sample.area > 0) & (self.units < 2) & (self.sampled < 1)):
            raise ValueError(
                f"stratum {h}: got {self.units[h]} units, expected 2 or more: one says nothing of "
                "the variance"
            )
        ground = np.ones(len(self.stratum)) if sample.ground is None else sample.ground
        of_stratum = np.bincount(self.stratum, ground, size)[self.stratum]
        self.weight = ground / of_stratum * self.units[self.stratum]  # mean 1 in each stratum

    def means(self, y: np.ndarray) -> np.ndarray:
        """(stratum,) means, 0 where there is no unit."""
        sums = np.bincount(self.stratum, self.weight * y, len(self.units))
        return sums / np.maximum(self.units, 1)

    def residuals(self, y: np.ndarray) -> np.ndarray:
        return self.weight * (y - self.means(y)[self.stratum])

    def variance(self, share: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """(stratum,) parts of the variance of a mean; Stehman 2014, equation 25."""
        squares = np.bincount(self.stratum, residual**2, len(self.units))
        within = squares / np.maximum(self.units - 1, 1) / np.maximum(self.units, 1)
        return share**2 * (1 - self.sampled) * within

    def mean(self, share: np.ndarray, hit: np.ndarray) -> Estimate:
        """Sum over the strata of `share` (stratum,) times the mean of `hit` (unit,) bool."""
        value = float(share @ self.means(hit))
        variance = self.variance(share, self.residuals(hit))
        se = float(np.sqrt(variance.sum()))

        hits = np.bincount(self.stratum, hit, len(self.units))
        open_ = (self.sampled < 1) & (share > 0)
        few_hits = open_ & (hits < _FEW)
        few_misses = open_ & ~few_hits & (self.units - hits < _FEW)
        common = Z**2 * variance[~few_hits & ~few_misses].sum()
        hit_low, hit_high = self._gaps(share, hit, few_hits)
        miss_low, miss_high = self._gaps(share, ~hit, few_misses)
        rare = hit_low**2 + miss_high**2, hit_high**2 + miss_low**2
        if all(part <= _GOVERNS * (part + common) for part in rare):
            return _normal(value, se)
        low, high = (np.sqrt(common + part) for part in rare)
        return Estimate(value, se, *_clip(value - low, value + high), RARE)

    def _gaps(self, share: np.ndarray, y: np.ndarray, strata: np.ndarray) -> tuple[float, float]:
        """How far the limits of the rare strata's sum lie below and above it."""
        if not strata.any():
            return 0.0, 0.0
        each = share / np.maximum(self.units, 1)  # what one unit stands for
        counted = (each[self.stratum] * self.weight)[y & strata[self.stratum]]
        total = float(counted.sum())
        next_one = float(share[strata] @ each[strata] / share[strata].sum())
        low, high = _mid_p_gamma(total, float((counted**2).sum()), next_one)
        return total - low, high - total


def _mid_p_gamma(total: float, variance: float, next_one: float) -> tuple[float, float]:
    """95 % limits of a weighted sum of Poisson counts; Fay and Kim 2017.

    Args:
      total, variance: the sum of the weights of what was counted, and of their squares.
      next_one: weight of one more count. They take the largest there is, which covers too often
        where weights differ much; here the mean is given, over the area of the strata.
    """
    from scipy.optimize import brentq
    from scipy.special import gammainc, gammaincinv

    more, spread = total + next_one, variance + next_one**2

    def cumulated(x: float) -> float:
        below = gammainc(total**2 / variance, x * total / variance) if total > 0 else 1.0
        return (below + gammainc(more**2 / spread, x * more / spread)) / 2

    end = gammaincinv(more**2 / spread, 1 - 1e-9) * spread / more
    low = brentq(lambda x: cumulated(x) - 0.025, 0, end) if cumulated(0) < 0.025 else 0.0
    return low, brentq(lambda x: cumulated(x) - 0.975, 0, end)


def _share_of_sum(part: Estimate, rest: Estimate) -> tuple[float, float]:
    """Limits of part / (part + rest); Donner and Zou 2012, for rest / part."""
    a, b = part, rest
    if a.value == 0:
        return _clip(0.0, a.high / (a.high + b.low) if b.low > 0 else 1.0)
    both = a.value * b.value

    def root(end_a: float, end_b: float) -> float:
        return np.sqrt(both**2 - end_a * end_b * (2 * a.value - end_a) * (2 * b.value - end_b))

    least = b.low * (2 * b.value - b.low) / (both + root(a.high, b.low)) if b.low > 0 else 0.0
    below = a.low * (2 * a.value - a.low)
    most = (both + root(a.low, b.high)) / below if below > 0 else np.inf
    return _clip(1 / (1 + most), 1 / (1 + least))


def _normal(value: float, se: float) -> Estimate:
    return Estimate(float(value), float(se), *_clip(value - Z * se, value + Z * se), NORMAL)


def _clip(low: float, high: float) -> tuple[float, float]:
    return float(max(low, 0.0)), float(min(high, 1.0))
