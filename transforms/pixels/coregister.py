"""The shift of SAR against optical, measured where both are most alike, and taken off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from model.inputs import INPUTS
from transforms.pixels.likeness import SEARCH, likeness, window_sums

APPLY_FROM = 0.5
"""Length from which a shift is worth an interpolation, px: an aligned pair stays as it is."""

MAX_ERROR = 0.65
"""Standard error up to which an estimate is confident, px."""

MIN_QUALITY = 10.0
"""Least correlation of edges in units of 1 / sqrt(pixels): unrelated images stay below it."""

MAX_APART = 1.5
"""Distance from the peak up to which that of the edges alone says the same, px."""

MIN_PIXELS = 10_000
"""Pixels below which the windows are too few for their spread to tell the error: 1 km2."""

_MIN_WINDOWS = 4
_GROUPS = 16  # left out in turn
_FINE = np.arange(-20, 21) / 20  # px around the highest lag, where the peak is looked for


class Shift(NamedTuple):
    """Where the SAR lies: sar[y + dy, x + dx] shows what the optical image shows at (y, x)."""

    dy: float  # px, NaN if not measured
    dx: float  # px, NaN if not measured
    confident: bool
    error: float  # px, standard error by leaving windows out; infinite if not measured
    quality: float  # correlation of edges at the peak x sqrt(pixels that took part)
    windows: int  # that took part

    @property
    def length(self) -> float:
        """px."""
        return float(np.hypot(self.dy, self.dx))

    @property
    def applies(self) -> bool:
        """Whether `apply_shift` would move the SAR."""
        return self.confident and self.length >= APPLY_FROM


UNMEASURED = Shift(np.nan, np.nan, False, np.inf, 0.0, 0)


def estimate_shift(optical: np.ndarray, sar: np.ndarray, clear: np.ndarray) -> Shift:
    """Shift of one pair of images on the same grid.

    Args:
      optical: (band, y, x) uint16, reflectance x 1e4, 0 nodata.
      sar: (band, y, x) int16, dB x 100, -32768 nodata.
      clear: (y, x) bool, neither cloud nor shadow.
    """
    return resolve([window_sums(optical, sar, clear)])


def resolve(images: Sequence[np.ndarray]) -> Shift:
    """The one shift at which images of one pair of passes together are most alike.

    What optical values mean for the SAR may differ from image to image: each one's information
    counts by its pixels. The standard error is that of the delete-a-group jackknife: groups of
    interleaved windows are left out in turn. A shift is confident when the error is at most
    `MAX_ERROR`, the edges' correlation reaches `MIN_QUALITY` and has its own peak no further than
    `MAX_APART`, `MIN_PIXELS` took part, and the shift does not lie at the edge of the search.

    Args:
      images: (window, term, lag y, lag x) of `window_sums`, of each image.
    """
    images = [sums for sums in images if len(sums)]
    count = sum(map(len, images))
    if count < _MIN_WINDOWS:
        return UNMEASURED._replace(windows=count)
    totals = [sums.sum(axis=0) for sums in images]
    surface, edges, pixels = _together(totals)
    dy, dx = _peak(surface)
    groups = min(count, _GROUPS)
    numbers = np.split(np.arange(count) % groups, np.cumsum(list(map(len, images)))[:-1])
    without = []
    for group in range(groups):
        rest = [
            total - sums[number == group].sum(axis=0)
            for total, sums, number in zip(totals, images, numbers, strict=True)
        ]
        without.append(_peak(_together(rest)[0]))
    error = float(np.sqrt((groups - 1) * np.var(without, axis=0).sum()))
    at = np.unravel_index(np.argmax(surface), surface.shape)
    quality = float(edges[at])
    agreed = np.hypot(*np.subtract(_peak(edges), (dy, dx))) <= MAX_APART
    inner = max(abs(dy), abs(dx)) <= SEARCH - 1
    enough = quality >= MIN_QUALITY and pixels[at] >= MIN_PIXELS
    confident = agreed and inner and enough and error <= MAX_ERROR
    return Shift(dy, dx, bool(confident), error, quality, count)


def _together(totals: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean information, quality and pixels at each lag, (lag y, lag x), of all images."""
    information, correlation, pixels = map(np.stack, zip(*map(likeness, totals), strict=True))
    count = np.maximum(pixels.sum(axis=0), 1.0)
    return (
        (information * pixels).sum(axis=0) / count,
        (correlation * pixels).sum(axis=0) / np.sqrt(count),
        count,
    )


def apply_shift(sar: np.ndarray, shift: Shift) -> np.ndarray:
    """SAR moved onto the optical grid: out[y, x] = sar[y + dy, x + dx].

    Bilinear, on linear power (the mean of dB is no mean of power), between the valid ones of the
    four nearest pixels. A pixel is nodata where the nearest one is, or lies outside of the window:
    read as many px more as the shift is long.

    Args:
      sar: (band, y, x) int16, dB x 100, -32768 nodata.
      shift: of the pair; nothing is moved unless it `applies`.

    Returns:
      (band, y, x) int16, dB x 100, -32768 nodata; the argument itself where nothing is moved.
    """
    if not shift.applies:
        return sar
    height, width = sar.shape[1:]
    y, x = int(np.floor(shift.dy)), int(np.floor(shift.dx))
    fy, fx = shift.dy - y, shift.dx - x
    margin = max(abs(y), abs(x)) + 1
    padded = np.pad(
        sar, [(0, 0), (margin, margin), (margin, margin)], constant_values=INPUTS.sar.nodata
    )
    valid = padded != INPUTS.sar.nodata
    power = np.where(valid, 10.0 ** (padded * (INPUTS.sar.scale / 10)), 0.0)

    def moved(planes: np.ndarray, down: int, right: int) -> np.ndarray:
        top, left = margin + y + down, margin + x + right
        return planes[:, top : top + height, left : left + width]

    total, weight = np.zeros(sar.shape), np.zeros(sar.shape)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = (fy if down else 1 - fy) * (fx if right else 1 - fx)
        total += share * moved(power, down, right)
        weight += share * moved(valid, down, right)
    known = moved(valid, int(fy >= 0.5), int(fx >= 0.5))
    decibel = 10 * np.log10(total[known] / weight[known])
    out = np.full_like(sar, INPUTS.sar.nodata)
    out[known] = np.clip(np.rint(decibel / INPUTS.sar.scale), INPUTS.sar.nodata + 1, 32767)
    return out


def _peak(surface: np.ndarray) -> tuple[float, float]:
    """(dy, dx) of the highest point, by cubic splines around the highest lag."""
    y, x = np.unravel_index(np.argmax(surface), surface.shape)
    grid = np.meshgrid(y + _FINE, x + _FINE, indexing="ij")
    fine = ndimage.map_coordinates(surface, grid, order=3, mode="nearest")
    i, j = np.unravel_index(np.argmax(fine), fine.shape)
    return float(y + _FINE[i] - SEARCH), float(x + _FINE[j] - SEARCH)
