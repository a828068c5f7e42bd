"""How alike an optical and a SAR image are at every lag, by what both show and where it changes.

Brightness has no common scale in the two, so likeness is mutual information, of normal variables
(-1/2 log(1 - r^2), and its form for several of them by Wilks' lambda), at each lag, from two views:

* values: how well VV and VH, without their surroundings, are explained by the optical bands;
* edges: orientated gradients of both (channel features of orientated gradients: Ye, Bruzzone, Shan,
  Bovolo and Zhu 2019, IEEE TGRS 57(11):9059), by masked normalised cross-correlation (Padfield
  2012, IEEE TIP 21(5):2706).

Clouds and nodata are left out instead of filled. The sums behind both are kept per window, so that
windows can be left out in turn, which tells how far an answer can be trusted.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft, ndimage

from model.inputs import INPUTS

SEARCH = 8
"""Lags that are tried, px in each direction. Sentinel-1 and -2 agree to 1-3 px as a rule."""

_NAMES = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
_BANDS = tuple(INPUTS.optical.names.index(b) for b in _NAMES)  # native 10 and 20 m
_SHARP = tuple(INPUTS.optical.names.index(b) for b in ("B02", "B03", "B04", "B08"))  # native 10 m
_BACKGROUND = 5.0  # px, scale of what is taken off as surroundings
_CLOUD_MARGIN, _EDGE_MARGIN = 4, 3  # px around cloud and around nodata that filters reach over
_WINDOW = (24, 96)  # px, sides of the smallest and largest window
_MIN_SHARE = 0.1  # of a window that has to be clear

_ORIENTATIONS = 6
_EDGE_SMOOTH = 1.5  # px, of both sensors alike: speckle goes, and sub-pixel lags become smooth
_CONTRAST_FLOOR = 0.3  # share of the mean contrast below which weak edges are not amplified further
_EDGE_WEIGHT = 3.0  # of the edges' information against that of the values

_COMPONENTS = 6  # principal components of the bands
_VALUE_SMOOTH = 0.7, 1.0  # px, of the bands and of the echoes
_CLIP = 4.0  # standard deviations: no single roof or ship decides
_RIDGE = 1e-3  # of a feature's variance

_PART = 64  # px that are smoothed at a time

_FEATURES, _ECHOES = _COMPONENTS + 1, len(INPUTS.sar.bands)
_EDGE_TERMS = 4 + 2 * _ORIENTATIONS
_PAIRS, _ECHO_PAIRS = np.triu_indices(_FEATURES), np.triu_indices(_ECHOES)
_SPLITS = np.cumsum(
    [_FEATURES * _ECHOES, len(_PAIRS[0]), len(_ECHO_PAIRS[0]), _FEATURES, _ECHOES]
).tolist()
_TERMS = _EDGE_TERMS + _SPLITS[-1] + 1


def window_sums(optical: np.ndarray, sar: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """What every window of one image adds to the likeness at each lag.

    Args:
      optical: (band, y, x) uint16, reflectance x 1e4, 0 nodata; bands without any data are left
        out, those of 10 m have to be there.
      sar: (band, y, x) int16, dB x 100, -32768 nodata.
      clear: (y, x) bool, neither cloud nor shadow.

    Returns:
      (window, term, lag y, lag x) float64.
    """
    none = np.empty((0, _TERMS, 2 * SEARCH + 1, 2 * SEARCH + 1))
    bands = [b for b in _BANDS if b in _SHARP or optical[b].any()]
    seen = clear & (optical[bands] != INPUTS.optical.nodata).all(axis=0)
    echo = (sar != INPUTS.sar.nodata).all(axis=0)
    # What is left for `_windows` beside clouds and edges; statistics of nothing have no values.
    if not _erode(seen, _CLOUD_MARGIN).any() or not _erode(echo, _EDGE_MARGIN).any():
        return none
    bright = {b: np.log(np.maximum(optical[b], 30).astype(np.float32)) for b in bands}
    decibel = sar.astype(np.float32) * np.float32(INPUTS.sar.scale)
    ours = (
        _edges(np.stack([bright[b] for b in _SHARP]), seen),
        _features(np.stack(list(bright.values())), seen),
    )
    theirs = _edges(decibel, echo), _echoes(decibel, echo)
    seen = _erode(seen, _CLOUD_MARGIN)
    echo = _erode(echo, _EDGE_MARGIN)
    around = [(SEARCH, SEARCH)] * 2
    theirs = [np.pad(planes * echo, [(0, 0), *around]) for planes in theirs]
    echo = np.pad(echo, around)
    found = [none]  # of float64, as the sums of windows will be
    for ys, xs in _windows(seen.shape):
        inside = seen[ys, xs]
        if inside.mean() < _MIN_SHARE:
            continue
        wide = slice(ys.start, ys.stop + 2 * SEARCH), slice(xs.start, xs.stop + 2 * SEARCH)
        edges, values = (
            (a[:, ys, xs] * inside, inside, b[:, *wide], echo[wide])
            for a, b in zip(ours, theirs, strict=True)
        )
        found.append(np.concatenate([_edge_sums(*edges), _value_sums(*values)])[None])
    return np.concatenate(found)


def likeness(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Likeness of one image at each lag, from the sum of its windows.

    Args:
      sums: (term, lag y, lag x) of `window_sums`, summed over windows.

    Returns:
      information: (lag y, lag x), nats per pixel, twice that of the values and three times that of
        the edges, up to a common factor.
      correlation: (lag y, lag x), of the edges, -1 to 1.
      pixels: (lag y, lag x), that took part.
    """
    correlation = _correlation(sums[:_EDGE_TERMS])
    edges = -np.log(1 - np.clip(correlation, 0, 0.999) ** 2)
    return _information(sums[_EDGE_TERMS:]) + _EDGE_WEIGHT * edges, correlation, sums[3]


def _edges(planes: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Orientated gradients, (orientation, y, x) float32, of planes (plane, y, x) float32.

    The absolute gradient in six directions, so that an edge counts whichever side is brighter;
    every plane has the same say. Their local mean is taken off and their local contrast evened out.
    """
    angles = np.pi * np.arange(_ORIENTATIONS, dtype=np.float32)[:, None, None] / _ORIENTATIONS
    cos, sin = np.cos(angles), np.sin(angles)
    structure = np.zeros((_ORIENTATIONS, *valid.shape), np.float32)
    for plane in _average(planes, valid, _EDGE_SMOOTH):
        down, right = np.gradient(plane)
        edges = cos * right
        edges += sin * down
        np.abs(edges, out=edges)
        edges /= max(float(edges.mean(axis=0)[valid].mean()), 1e-6)
        structure += edges
    structure -= _average(structure, valid, _BACKGROUND)
    energy = (structure**2).mean(axis=0)
    floor = _CONTRAST_FLOOR * float(energy[valid].mean())
    return structure / np.sqrt(np.maximum(_average(energy, valid, _BACKGROUND) + floor, 1e-9))


def _features(planes: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Principal components of the bands, and how rough they are: (feature, y, x) of variance 1."""
    standing = _standing_out(planes, valid, _VALUE_SMOOTH[0])
    known = standing[:, valid]
    known -= known.mean(axis=1, keepdims=True)
    covariance = (known @ known.T).astype(np.float64) / max(known.shape[1] - 1, 1)
    variances, axes = np.linalg.eigh(covariance)
    first = slice(None, -_COMPONENTS - 1, -1)
    axes = axes[:, first] / np.sqrt(np.maximum(variances[first], 1e-9))
    components = np.tensordot(axes.T.astype(np.float32), standing, axes=1)
    rough = np.zeros(valid.shape, np.float32)
    for plane in _average(planes, valid, 1.0):
        down, right = np.gradient(plane)
        rough += np.sqrt(down * down + right * right)
    rough = np.log(rough + 0.3 * float(rough[valid].mean()) + 1e-6)
    rough = _standing_out(rough, valid, 0.0)
    out = np.zeros((_FEATURES, *valid.shape), np.float32)
    out[: len(components)] = components
    out[-1] = rough / max(float(rough[valid].std()), 1e-6)
    return np.clip(out, -_CLIP, _CLIP, out=out)


def _echoes(planes: np.ndarray, valid: np.ndarray) -> np.ndarray:
    standing = _standing_out(planes, valid, _VALUE_SMOOTH[1])
    spread = np.maximum(standing[:, valid].std(axis=1), 1e-6)
    return np.clip(standing / spread[:, None, None], -_CLIP, _CLIP)


def _standing_out(planes: np.ndarray, valid: np.ndarray, smooth: float) -> np.ndarray:
    sharp = _average(planes, valid, smooth) if smooth else planes
    return sharp - _average(planes, valid, _BACKGROUND)


def _average(planes: np.ndarray, valid: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean of the valid pixels (normalised convolution), (..., y, x) float32."""
    total = _smooth(planes if valid.all() else np.where(valid, planes, 0), sigma)
    total /= np.maximum(_smooth(valid.astype(np.float32), sigma), 1e-3)
    return total


def _smooth(planes: np.ndarray, sigma: float) -> np.ndarray:
    """Convolution with a Gaussian, zeros around, as products with parts of a banded matrix.

    The products are so small that OpenBLAS takes one thread for each: windows run side by side.
    """
    down, out = np.empty_like(planes), np.empty_like(planes)
    rows, cols = (_gaussian(size, sigma) for size in planes.shape[-2:])
    for part, near, weights in rows:
        for across, *_ in cols:
            np.matmul(weights, planes[..., near, across], out=down[..., part, across])
    for part, near, weights in cols:
        for along, *_ in rows:
            np.matmul(down[..., along, near], weights.T, out=out[..., along, part])
    return out


@lru_cache(maxsize=32)
def _gaussian(size: int, sigma: float) -> list[tuple[slice, slice, np.ndarray]]:
    """Parts of the result, what they are made from, and the weights, (part, from) float32."""
    reach = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    away = np.arange(size) - np.arange(size)[:, None] + reach
    inside = (away >= 0) & (away <= 2 * reach)
    matrix = np.where(inside, (kernel / kernel.sum())[away * inside], 0).astype(np.float32)
    parts = [slice(start, min(start + _PART, size)) for start in range(0, size, _PART)]
    nears = [slice(max(p.start - reach, 0), min(p.stop + reach, size)) for p in parts]
    return [(p, n, np.ascontiguousarray(matrix[p, n])) for p, n in zip(parts, nears, strict=True)]


def _erode(valid: np.ndarray, margin: int) -> np.ndarray:
    return ndimage.binary_erosion(valid, iterations=margin, border_value=1)


def _windows(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """(y, x) slices that tile an image, about five to its shorter side."""
    side = min(max(min(shape) // 5, _WINDOW[0]), _WINDOW[1])

    def parts(size: int) -> list[slice]:
        edges = np.linspace(0, size, max(1, round(size / side)) + 1).astype(int).tolist()
        return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    return [(ys, xs) for ys in parts(shape[0]) for xs in parts(shape[1])]


class _Spectra:
    """Sums of products at every lag, as products of spectra."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = [fft.next_fast_len(n, real=True) for n in shape]

    def ours(self, planes: np.ndarray) -> np.ndarray:
        return np.conj(self.theirs(planes))

    def theirs(self, planes: np.ndarray) -> np.ndarray:
        return fft.rfft2(planes, self.shape)

    def lags(self, products: np.ndarray) -> np.ndarray:
        near = slice(0, 2 * SEARCH + 1)
        return fft.irfft2(products, self.shape)[:, near, near]

    def ours_under(self, planes: np.ndarray, echo: np.ndarray) -> np.ndarray:
        """Sums at each lag of our planes (plane, y, x) where there is an echo."""
        if sides := _sides(echo):
            down, right = (
                sliding_window_view(side, n)
                for side, n in zip(sides, planes.shape[1:], strict=True)
            )
            return down @ planes @ right.T
        return self.lags(self.ours(planes) * self.theirs(echo.astype(np.float32)))

    def theirs_over(self, planes: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Sums at each lag of their planes (plane, y + 2 SEARCH, x + 2 SEARCH) where we look."""
        if sides := _sides(inside):
            down, right = (
                np.stack([np.pad(side, (lag, 2 * SEARCH - lag)) for lag in range(2 * SEARCH + 1)])
                for side in sides
            )
            return down @ planes @ right.T
        return self.lags(self.ours(inside.astype(np.float32)) * self.theirs(planes))


def _sides(mask: np.ndarray) -> list[np.ndarray] | None:
    """Rows and columns, float32 of 0 and 1, of a mask that is no more than those; else None.

    A whole window is, and one that ends at the border of what was read: it needs no spectra.
    """
    sides = [mask.any(axis=1), mask.any(axis=0)]
    return [s.astype(np.float32) for s in sides] if (mask == np.outer(*sides)).all() else None


def _edge_sums(
    ours: np.ndarray, inside: np.ndarray, theirs: np.ndarray, echo: np.ndarray
) -> np.ndarray:
    """Sums over the common valid pixels at each lag, (term, lag y, lag x) float32.

    Args:
      ours: (orientation, y, x), 0 where not `inside`.
      inside: (y, x) bool.
      theirs: (orientation, y + 2 SEARCH, x + 2 SEARCH), 0 where no `echo`.
      echo: (y + 2 SEARCH, x + 2 SEARCH) bool.

    Returns:
      product, our squares, their squares, number of pixels; ours and theirs by orientation.
    """
    s = _Spectra(echo.shape)
    product = s.lags((s.ours(ours) * s.theirs(theirs)).sum(axis=0)[None])
    a = s.ours_under(np.stack([(ours**2).sum(axis=0), inside, *ours]), echo)
    b = s.theirs_over(np.stack([(theirs**2).sum(axis=0), *theirs]), inside)
    return np.concatenate([product, a[:1], b[:1], a[1:2], a[2:], b[1:]])


def _value_sums(
    ours: np.ndarray, inside: np.ndarray, theirs: np.ndarray, echo: np.ndarray
) -> np.ndarray:
    """As `_edge_sums`, of features and echoes: products, squares by pair, ours, theirs, pixels."""
    s = _Spectra(echo.shape)
    a, b = s.ours(ours), s.theirs(theirs)
    products = s.lags((a[:, None] * b[None]).reshape(-1, *b.shape[1:]))
    squares = ours[_PAIRS[0]] * ours[_PAIRS[1]]
    a = s.ours_under(np.concatenate([squares, ours, inside[None]]), echo)
    echo_squares = theirs[_ECHO_PAIRS[0]] * theirs[_ECHO_PAIRS[1]]
    b = s.theirs_over(np.concatenate([echo_squares, theirs]), inside)
    a, b = np.split(a, [len(squares)]), np.split(b, [len(echo_squares)])
    return np.concatenate([products, a[0], b[0], a[1][:-1], b[1], a[1][-1:]])


def _correlation(sums: np.ndarray) -> np.ndarray:
    """Masked normalised cross-correlation, (lag y, lag x), from `_edge_sums`."""
    product, ours2, theirs2, count = sums[:4]
    count = np.maximum(count, 1.0)
    ours, theirs = sums[4 : 4 + _ORIENTATIONS], sums[4 + _ORIENTATIONS :]
    variances = (ours2 - (ours**2).sum(axis=0) / count) * (
        theirs2 - (theirs**2).sum(axis=0) / count
    )
    covariance = product - (ours * theirs).sum(axis=0) / count
    return covariance / np.sqrt(np.maximum(variances, 1e-9))


def _information(sums: np.ndarray) -> np.ndarray:
    """-log of Wilks' lambda, (lag y, lag x), from `_value_sums`: how much of VV and VH the features
    explain, as log of the determinant of their covariance without and with them."""
    products, squares, echo_squares, ours, theirs, (count,) = np.split(sums, _SPLITS)
    count = np.maximum(count, 1.0)
    products = products.reshape(_FEATURES, _ECHOES, *count.shape)

    def full(half: np.ndarray, pairs: tuple, mean: np.ndarray) -> np.ndarray:
        side = len(mean)
        out = np.empty((*count.shape, side, side))
        i, j = pairs
        out[..., i, j] = out[..., j, i] = np.moveaxis(half / count, 0, -1)
        centre = np.moveaxis(mean / count, 0, -1)
        return out - centre[..., :, None] * centre[..., None, :]

    a = full(squares, _PAIRS, ours) + _RIDGE * np.eye(_FEATURES)
    b = full(echo_squares, _ECHO_PAIRS, theirs) + _RIDGE * np.eye(_ECHOES)
    c = np.moveaxis(products / count - ours[:, None] * theirs[None] / count**2, (0, 1), (-2, -1))
    explained = np.swapaxes(c, -1, -2) @ np.linalg.solve(a, c)
    return np.linalg.slogdet(b)[1] - np.linalg.slogdet(b - explained)[1]
