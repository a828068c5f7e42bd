"""How many samples, and how many in which stratum, before anybody looks at imagery."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np

PROPORTIONAL, EQUAL, NEYMAN = "proportional", "equal", "neyman"


def sample_size(area: np.ndarray, expected: np.ndarray, standard_error: float) -> int:
    """Samples that estimate overall accuracy with a wanted standard error.

    Olofsson et al. 2014, equation 13, which is Cochran 1977, equation 5.25, for a map with very
    many pixels: n = (sum of W_i S_i / S(O))^2 with S_i = sqrt(U_i (1 - U_i)).

    Args:
      area: (stratum,) any unit of area.
      expected: (stratum,) user's accuracy that is expected there, 0 to 1.
      standard_error: wanted, of overall accuracy, above 0.
    """
    share = area / area.sum()
    return ceil(float(share @ _deviation(expected) / standard_error) ** 2)


def allocate(
    size: int,
    pixels: np.ndarray,
    area: np.ndarray,
    expected: np.ndarray,
    rule: str = PROPORTIONAL,
    minimum: int = 0,
) -> np.ndarray:
    """Shares samples out to strata.

    Strata that the rule gives less than the minimum get the minimum, the others share the rest by
    the rule; no stratum gets more samples than it has pixels. Where minima alone exceed `size`,
    the sample becomes larger than asked.

    Args:
      size: of the whole sample.
      pixels: (stratum,) int pixels to draw from.
      area: (stratum,) any unit of area.
      expected: (stratum,) expected user's accuracy, for Neyman's rule.
      rule: proportional (to area), equal, or neyman (to area times expected deviation; Cochran
        1977, equation 5.26).
      minimum: samples per stratum.

    Returns:
      (stratum,) int64.
    """
    part = {
        PROPORTIONAL: area,
        EQUAL: np.ones(len(area)),
        NEYMAN: area * _deviation(expected),
    }[rule] * (pixels > 0)
    least, most = np.minimum(minimum, pixels), pixels
    fixed = np.zeros(len(area), np.int64)
    open_ = part > 0
    fixed[~open_] = least[~open_]
    # What a bound settles leaves another rest to the others: minima first, they decide the size.
    for bound, beyond in ((least, np.less), (most, np.greater)):
        while open_.any():
            wanted = max(size - fixed.sum(), 0) * part / part[open_].sum()
            settled = open_ & beyond(wanted, bound)
            if not settled.any():
                break
            fixed[settled] = bound[settled]
            open_ &= ~settled
    if open_.any():
        fixed[open_] = _rounded(part[open_], max(size - fixed.sum(), 0))
    return fixed


def _rounded(part: np.ndarray, total: int) -> np.ndarray:
    """(n,) int that add up to `total`, by largest remainders."""
    exact = part / part.sum() * total
    whole = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: total - whole.sum()]] += 1
    return whole


def _deviation(expected: np.ndarray) -> np.ndarray:
    return np.sqrt(expected * (1 - expected))


class Design(NamedTuple):
    sizes: np.ndarray  # (stratum,) int64 samples
    standard_error: float  # of overall accuracy, if the expected accuracies hold


def design(
    names: Sequence[str],
    pixels: np.ndarray,
    area: np.ndarray,
    expect: str,
    standard_error: float,
    size: int | None = None,
    rule: str = PROPORTIONAL,
    minimum: int = 0,
) -> Design:
    """Size a sample and share it out.

    Args:
      names: of the strata, "forest/cloudy" or "forest".
      expect: see `expected_accuracies`.
      standard_error: wanted, of overall accuracy; not used where `size` is given.

    Raises:
      ValueError: a number is out of range, or a name is no stratum.
    """
    if not 0 < standard_error < 0.5:
        raise ValueError(f"standard error: got {standard_error}, expected above 0 and below 0.5")
    if minimum < 2 or (size is not None and size < 2):
        raise ValueError(
            f"sample: got size {size} and minimum {minimum}, expected 2 or more in each stratum: "
            "one sample says nothing of the variance"
        )
    expected = expected_accuracies(expect, names)

    def planned(size: int) -> Design:
        return _planned(size, pixels, area, expected, rule, minimum)

    if size is not None:
        return planned(size)
    # The equation takes proportional shares for granted; what minima take from large strata has
    # to be made good. A census of everything has no error, so the search ends.
    every = int(pixels.sum())
    sizes = range(min(sample_size(area, expected, standard_error), every), every + 1)
    enough = bisect_left(sizes, True, key=lambda n: planned(n).standard_error <= standard_error)
    return planned(sizes[enough])


def _planned(
    size: int,
    pixels: np.ndarray,
    area: np.ndarray,
    expected: np.ndarray,
    rule: str,
    minimum: int,
) -> Design:
    sizes = allocate(size, pixels, area, expected, rule, minimum)
    drawn = pixels > 0
    parts = (area / area.sum() * _deviation(expected))[drawn] ** 2 / sizes[drawn]
    variance = parts @ (1 - sizes[drawn] / pixels[drawn])
    return Design(sizes, float(np.sqrt(variance)))


def expected_accuracies(text: str, names: Sequence[str]) -> np.ndarray:
    """(stratum,) expected user's accuracies from "0.8", or "forest=0.9,crop/cloudy=0.6,0.8".

    The number without a name is that of all others, 0.8 where it is left out; what is said of a
    stratum goes before what is said of its class.
    """
    told: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.strip().rpartition("=")
        try:
            told[name.strip()] = float(number)
        except ValueError:
            raise ValueError(f"expected accuracy: got {part!r}, expected NAME=0.9 or 0.9") from None
    known = {*names, *(name.partition("/")[0] for name in names), ""}
    if unknown := sorted(set(told) - known):
        raise ValueError(f"expected accuracy: there is no {unknown[0]}; there are {sorted(known)}")
    if not all(0 < value < 1 for value in told.values()):
        raise ValueError(f"expected accuracy: got {text}, expected numbers between 0 and 1")
    rest = told.get("", 0.8)
    return np.array([told.get(name, told.get(name.partition("/")[0], rest)) for name in names])
