"""The shift of SAR against optical, measured on the structure that both see, and taken off.

Optical and SAR brightness have no common scale, but fields, shores, roads and woods have edges in
both. So each sensor becomes a stack of orientated gradients (channel features of orientated
gradients: Ye, Bruzzone, Shan, Bovolo and Zhu 2019, IEEE TGRS 57(11):9059), and the two stacks are
compared at every lag by masked normalised cross-correlation (Padfield 2012, IEEE TIP 21(5):2706),
which leaves clouds and nodata out instead of filling them. The sums behind the correlation are kept
per window: windows of several blocks of a tile can be put together, and leaving them out in turn
tells how far the answer can be trusted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage

from model.inputs import INPUTS

SEARCH = 8
"""Lags that are tried, px in each direction. Sentinel-1 and -2 agree to 1-3 px as a rule."""

APPLY_FROM = 0.5
"""Length from which a shift is worth an interpolation, px: an aligned pair stays as it is."""

MAX_ERROR = 0.5
"""Standard error up to which an estimate is confident, px."""

MIN_QUALITY = 18.0
"""Least height of the peak in units of 1 / sqrt(pixels): unrelated images stay below it."""

_BANDS = tuple(INPUTS.optical.names.index(b) for b in ("B02", "B03", "B04", "B08"))  # native 10 m
_SMOOTH = 1.5  # px, of both sensors alike: speckle goes, and sub-pixel lags become interpolable
_BACKGROUND = 5.0  # px, scale of what is taken off each gradient: its local mean and contrast
_CONTRAST_FLOOR = 0.3  # share of the mean contrast below which weak edges are not amplified further
_ORIENTATIONS = 6
_CLOUD_MARGIN, _EDGE_MARGIN = 4, 3  # px around cloud and around nodata that gradients may not trust
_WINDOW = (24, 96)  # px, sides of the smallest and largest window
_MIN_WINDOWS = 4
_MIN_SHARE = 0.1  # of a window that has to be clear
_GROUPS = 16  # left out in turn
_FINE = np.arange(-20, 21) / 20  # px around the highest lag, where the peak is looked for


class Shift(NamedTuple):
    """Where the SAR lies: sar[y + dy, x + dx] shows what the optical image shows at (y, x)."""

    dy: float  # px, NaN if not measured
    dx: float  # px, NaN if not measured
    confident: bool
    error: float  # px, standard error by leaving windows out; infinite if not measured
    quality: float  # correlation at the peak x sqrt(pixels that took part)
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
    return resolve(window_sums(optical, sar, clear))


def window_sums(optical: np.ndarray, sar: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """What every window adds to the correlation at each lag; see `estimate_shift`.

    Returns:
      (window, term, lag y, lag x) float64. Those of several images of one pair of passes may be
      concatenated along the windows and resolved together.
    """
    terms = 4 + 2 * _ORIENTATIONS
    sums = [np.empty((0, terms, 2 * SEARCH + 1, 2 * SEARCH + 1))]
    seen = clear & (optical[list(_BANDS)] != INPUTS.optical.nodata).all(axis=0)
    echo = (sar != INPUTS.sar.nodata).all(axis=0)
    if not seen.any() or not echo.any():
        return sums[0]
    bright = np.log(np.maximum(optical[list(_BANDS)], 30).astype(np.float32))
    ours = _structure(bright, seen)
    theirs = _structure(sar.astype(np.float32), echo)
    seen = _erode(seen, _CLOUD_MARGIN)
    echo = _erode(echo, _EDGE_MARGIN)
    around = [(SEARCH, SEARCH)] * 2
    theirs = np.pad(theirs * echo, [(0, 0), *around])
    echo = np.pad(echo, around)
    for ys, xs in _windows(seen.shape):
        inside = seen[ys, xs]
        if inside.mean() < _MIN_SHARE:
            continue
        wide = slice(ys.start, ys.stop + 2 * SEARCH), slice(xs.start, xs.stop + 2 * SEARCH)
        sums.append(_sums(ours[:, ys, xs] * inside, inside, theirs[:, *wide], echo[wide])[None])
    return np.concatenate(sums)


def resolve(sums: np.ndarray) -> Shift:
    """The shift at which the windows together correlate best.

    Its standard error is that of the delete-a-group jackknife: groups of interleaved windows are
    left out in turn. A shift is confident when the error is at most `MAX_ERROR`, the peak reaches
    `MIN_QUALITY`, and it does not lie at the edge of the search.

    Args:
      sums: (window, term, lag y, lag x) of `window_sums`.
    """
    count = len(sums)
    if count < _MIN_WINDOWS:
        return UNMEASURED._replace(windows=count)
    total = sums.sum(axis=0)
    surface = _correlation(total)
    dy, dx = _peak(surface)
    groups = min(count, _GROUPS)
    without = [_peak(_correlation(total - sums[i::groups].sum(axis=0))) for i in range(groups)]
    spread = np.var(without, axis=0).sum()
    error = float(np.sqrt((groups - 1) * spread))
    at = np.unravel_index(np.argmax(surface), surface.shape)
    quality = float(surface[at] * np.sqrt(total[3][at]))
    inner = max(abs(dy), abs(dx)) <= SEARCH - 1
    confident = inner and error <= MAX_ERROR and quality >= MIN_QUALITY
    return Shift(dy, dx, bool(confident), error, quality, count)


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


def _structure(planes: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Orientated gradients, (orientation, y, x) float32, of planes (plane, y, x) float32.

    The absolute gradient in six directions, so that an edge counts whichever side is brighter;
    every plane has the same say. Their local mean is taken off and their local contrast evened out.
    """
    angles = np.pi * np.arange(_ORIENTATIONS, dtype=np.float32)[:, None, None] / _ORIENTATIONS
    cos, sin = np.cos(angles), np.sin(angles)
    structure = np.zeros((_ORIENTATIONS, *valid.shape), np.float32)
    for plane in planes:
        down, right = np.gradient(_average(plane, valid, _SMOOTH))
        edges = np.abs(cos * right + sin * down)
        structure += edges / max(float(edges[:, valid].mean()), 1e-6)
    for edges in structure:
        edges -= _average(edges, valid, _BACKGROUND)
    energy = (structure**2).mean(axis=0)
    floor = _CONTRAST_FLOOR * float(energy[valid].mean())
    return structure / np.sqrt(np.maximum(_average(energy, valid, _BACKGROUND) + floor, 1e-9))


def _average(plane: np.ndarray, valid: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean of the valid pixels (normalised convolution), (y, x) float32."""
    weight = ndimage.gaussian_filter(valid.astype(np.float32), sigma, mode="constant")
    total = ndimage.gaussian_filter(np.where(valid, plane, 0), sigma, mode="constant")
    return total / np.maximum(weight, 1e-3)


def _erode(valid: np.ndarray, margin: int) -> np.ndarray:
    return ndimage.binary_erosion(valid, iterations=margin, border_value=1)


def _windows(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """(y, x) slices that tile an image, about five to its shorter side."""
    side = min(max(min(shape) // 5, _WINDOW[0]), _WINDOW[1])

    def parts(size: int) -> list[slice]:
        edges = np.linspace(0, size, max(1, round(size / side)) + 1).astype(int).tolist()
        return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    return [(ys, xs) for ys in parts(shape[0]) for xs in parts(shape[1])]


def _sums(ours: np.ndarray, inside: np.ndarray, theirs: np.ndarray, echo: np.ndarray) -> np.ndarray:
    """Sums over the common valid pixels at each lag, (term, lag y, lag x) float64.

    Args:
      ours: (orientation, y, x) float32, 0 where not `inside`.
      inside: (y, x) bool.
      theirs: (orientation, y + 2 SEARCH, x + 2 SEARCH) float32, 0 where no `echo`.
      echo: (y + 2 SEARCH, x + 2 SEARCH) bool.

    Returns:
      product, our squares, their squares, number of pixels; ours and theirs by orientation.
    """
    shape = [fft.next_fast_len(n, real=True) for n in echo.shape]

    def transform(planes: np.ndarray) -> np.ndarray:
        return fft.rfft2(planes.astype(np.float64), shape)

    a, b = np.conj(transform(ours)), transform(theirs)
    a2, b2 = np.conj(transform((ours**2).sum(axis=0))), transform((theirs**2).sum(axis=0))
    a1, b1 = np.conj(transform(inside)), transform(echo)
    products = [(a * b).sum(axis=0)[None], (a2 * b1)[None], (a1 * b2)[None], (a1 * b1)[None]]
    lags = slice(0, 2 * SEARCH + 1)
    return fft.irfft2(np.concatenate([*products, a * b1, a1 * b]), shape)[:, lags, lags]


def _correlation(sums: np.ndarray) -> np.ndarray:
    """Masked normalised cross-correlation, (lag y, lag x), from the sums (term, lag y, lag x)."""
    product, ours2, theirs2, count = sums[:4]
    count = np.maximum(count, 1.0)
    ours, theirs = sums[4 : 4 + _ORIENTATIONS], sums[4 + _ORIENTATIONS :]
    variances = (ours2 - (ours**2).sum(axis=0) / count) * (
        theirs2 - (theirs**2).sum(axis=0) / count
    )
    covariance = product - (ours * theirs).sum(axis=0) / count
    return covariance / np.sqrt(np.maximum(variances, 1e-9))


def _peak(surface: np.ndarray) -> tuple[float, float]:
    """(dy, dx) of the highest point, by cubic splines around the highest lag."""
    y, x = np.unravel_index(np.argmax(surface), surface.shape)
    grid = np.meshgrid(y + _FINE, x + _FINE, indexing="ij")
    fine = ndimage.map_coordinates(surface, grid, order=3, mode="nearest")
    i, j = np.unravel_index(np.argmax(fine), fine.shape)
    return float(y + _FINE[i] - SEARCH), float(x + _FINE[j] - SEARCH)
