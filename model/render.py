"""Rendered training samples: real signatures of single pixels laid over a layout of classes.

There is little labelled Sentinel-1 + Sentinel-2 imagery that may be used freely, but there are
many single pixels known in both sensors. Two recipes turn them into images, pure functions of
their arguments: `render_layout` fills a class layout parcel by parcel, `render_image` takes the
optical texture of a real (30 m) image and gives every pixel the backscatter and the red edge of
those signatures of its class that look most like it. `observe` adds what the sensors do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from model.clouds import fractal_noise
from model.inputs import INPUTS, SENTINEL2_L2A
from model.layout import BARREN, BUILT, CROP, FOREST, GRASS, WATER, cells, enlarge_labels
from model.legend import IGNORE_INDEX

NEIGHBOURS = 8

_BAND = {name: i for i, name in enumerate(SENTINEL2_L2A.names)}
_MATCHED = [_BAND[b] for b in ("B02", "B03", "B04", "B08", "B11", "B12")]
IMAGE_BANDS = ("B01", "B02", "B03", "B04", "B08", "B11", "B12")
"""Bands of the images that `render_image` takes: what Landsat and Sentinel-2 have in common."""

# Standard deviation of what one 10 m pixel adds to its surroundings, log reflectance; and the
# share of the per-pixel signature in a parcel's mixture. By class index; judged by eye.
_GRAIN = np.array([0.015, 0.13, 0.06, 0.06, 0.2, 0.05], np.float32)
_LOOSE = np.array([0.15, 0.5, 0.35, 0.4, 0.75, 0.25], np.float32)

# What lush growth does to a plant cover's logarithm of reflectance, B01 ... B12: the signatures
# known come from few climates.
_LUSH = np.array(
    [-0.1, -0.15, -0.05, -0.25, -0.1, 0.05, 0.1, 0.1, 0.1, 0.1, -0.1, -0.2], np.float32
)

# Path radiance of a clear atmosphere that an L1C image still holds (reflectance), and its
# transmission; typical of SEN12MS-CR scenes against their L2A counterparts.
_PATH = np.array(
    [0.115, 0.08, 0.05, 0.032, 0.027, 0.021, 0.017, 0.013, 0.011, 0.004, 0.002, 0.001], np.float32
)
_TRANSMISSION = np.array(
    [0.8, 0.84, 0.86, 0.89, 0.9, 0.92, 0.92, 0.94, 0.95, 0.4, 0.95, 0.93], np.float32
)


class Signatures(NamedTuple):
    """Single pixels known in both sensors, monthly means."""

    optical: np.ndarray  # (n, 12) float32, reflectance x 1e4
    sar: np.ndarray  # (n, 2) float32, dB, VV and VH
    label: np.ndarray  # (n,) uint8, class index
    season: np.ndarray  # (n,) int64, months since winter's middle on its own hemisphere, 0-11
    neighbours: np.ndarray  # (n, 8) int64, rows of the same class with the nearest signature


class Sample(NamedTuple):
    """A clear image in both sensors with its labels, free of sensor effects."""

    optical: np.ndarray  # (12, y, x) float32, reflectance x 1e4
    sar: np.ndarray  # (2, y, x) float32, dB
    label: np.ndarray  # (y, x) uint8, class index, 255 unknown


def signatures(
    optical: np.ndarray, sar: np.ndarray, label: np.ndarray, season: np.ndarray
) -> Signatures:
    """Signatures with their neighbours: nearest in log reflectance and dB, of the same class."""
    feature = np.hstack([np.log(optical), sar / 6.0])
    neighbours = np.empty((len(label), NEIGHBOURS), np.int64)
    for c in np.unique(label):
        rows = np.flatnonzero(label == c)
        _, near = cKDTree(feature[rows]).query(feature[rows], k=min(NEIGHBOURS, len(rows)))
        near = near.reshape(len(rows), -1)
        neighbours[rows] = rows[near[:, np.arange(NEIGHBOURS) % near.shape[1]]]
    return Signatures(optical.astype(np.float32), sar.astype(np.float32), label, season, neighbours)


def render_layout(label: np.ndarray, known: Signatures, rng: np.random.Generator) -> Sample:
    """Fill a layout with signatures: one season, a few kinds of each class, one kind per parcel.

    Args:
      label: (y, x) uint8 class index, 255 unknown (filled with any class).
      known: the signatures drawn from.
      rng: source of every random choice.
    """
    shape = label.shape
    month = rng.integers(12)
    near = np.minimum((known.season - month) % 12, (month - known.season) % 12) <= 1
    fill = np.where(label == IGNORE_INDEX, rng.integers(6, size=shape), label)
    optical = np.empty((12, *shape), np.float32)
    sar = np.empty((2, *shape), np.float32)
    parcel = cells(shape, rng, np.exp(rng.uniform(np.log(6), np.log(45))), rng.uniform(1, 4))
    clump = cells(shape, rng, rng.uniform(1.5, 3.5))
    for c in np.unique(fill):
        pool = np.flatnonzero((known.label == c) & near)
        if len(pool) < 20:
            pool = np.flatnonzero(known.label == c)
        # One kind of water per image; farmland is the most varied.
        count = {WATER: 1, CROP: rng.integers(2, 14)}.get(int(c), rng.integers(2, 7))
        kinds = rng.choice(pool, count)
        natural = c in (FOREST, GRASS, BARREN) and rng.uniform() < 0.6
        unit = clump if c == BUILT else _patches(shape, rng) if natural else parcel
        kind = rng.choice(kinds if c != BUILT else pool, unit.max() + 1)[unit]
        # Sand, rock and gravel differ more than the few barren pixels known, as does plant cover.
        stray = rng.standard_normal((2, unit.max() + 1)).astype(np.float32)[:, unit]
        grown = 0.6 * (c in (FOREST, GRASS, CROP)) * _LUSH + 0.25 * (c == BARREN)
        pixel = known.neighbours[kind, rng.integers(NEIGHBOURS, size=shape)]
        inside = fill == c
        loose = _LOOSE[c] * rng.uniform(0.6, 1.3)
        for out, values, spread in (
            (optical, np.log(known.optical), stray[0, ..., None] * grown),
            (sar, known.sar, 2.0 * (c == BARREN) * stray[1, ..., None]),
        ):
            mixed = (1 - loose) * values[kind] + loose * values[pixel]
            out[:, inside] = (mixed + spread)[inside].T
        if c == BUILT:  # gardens and street trees among the houses
            _mix_in_gardens(optical, sar, inside, known, near, clump, rng)
    optical = np.exp(optical + _grain(fill, rng))
    sar = _add_corners(sar, fill, rng)
    return _shade(Sample(optical, sar, label), rng)


def _patches(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Patches of wild growth, (y, x) int64 ids from 0: bands of levels of a rough field."""
    field = fractal_noise(shape, rng, rng.uniform(0.9, 1.8))
    return np.digitize(field, np.sort(rng.uniform(-1.5, 1.5, int(rng.integers(1, 7)))))


def _mix_in_gardens(optical, sar, inside, known, near, clump, rng) -> None:
    """Change a share of the built-up clumps in (12 | 2, y, x) log reflectance and dB in place."""
    green = np.flatnonzero((known.label == rng.choice([FOREST, GRASS])) & near)
    if len(green) == 0:
        return
    row = rng.choice(green, clump.max() + 1)
    garden = inside & (rng.uniform(size=clump.max() + 1) < rng.uniform(0.0, 0.4))[clump]
    row = row[clump[garden]]
    optical[:, garden] = 0.3 * optical[:, garden] + 0.7 * np.log(known.optical[row]).T
    sar[:, garden] = 0.7 * sar[:, garden] + 0.3 * known.sar[row].T


def render_image(
    image: np.ndarray, label: np.ndarray, known: Signatures, rng: np.random.Generator, zoom: int
) -> Sample:
    """Give a real image of seven bands the missing bands and the backscatter of its likes.

    Args:
      image: (7, y, x) float32 in the order of `IMAGE_BANDS`, reflectance x 1e4, all above 0.
      label: (y, x) uint8 class index, 255 unknown.
      known: signatures; of the 8 of a pixel's class nearest in spectrum a weighted mean is taken,
        with the same random weights all over the image.
      rng: source of every random choice.
      zoom: each pixel becomes zoom x zoom pixels.
    """
    fill = np.where(label == IGNORE_INDEX, GRASS, label)
    flat = np.log(image).reshape(7, -1).T
    place = [IMAGE_BANDS.index(SENTINEL2_L2A.names[b]) for b in _MATCHED]
    weights = rng.dirichlet(np.full(NEIGHBOURS, 0.6)).astype(np.float32)
    log_known = np.log(known.optical)
    full = np.empty((flat.shape[0], 12), np.float32)
    sar = np.empty((flat.shape[0], 2), np.float32)
    for c in np.unique(fill):
        rows = np.flatnonzero(known.label == c)
        rows = rng.choice(rows, min(len(rows), 1500), replace=False)
        inside = np.flatnonzero(fill.ravel() == c)
        tree = cKDTree(log_known[np.ix_(rows, _MATCHED)])
        _, near = tree.query(flat[np.ix_(inside, place)], k=NEIGHBOURS, eps=0.3)
        near = rows[near]
        sar[inside] = np.einsum("nkb,k->nb", known.sar[near], weights)
        full[inside] = np.einsum("nkb,k->nb", log_known[near], weights)
    # Bands that the image lacks keep the neighbours' ratio to the band next to them.
    for band, partner in (("B05", "B04"), ("B06", "B08"), ("B07", "B08"), ("B8A", "B08")):
        ratio = full[:, _BAND[band]] - full[:, _BAND[partner]]
        full[:, _BAND[band]] = flat[:, IMAGE_BANDS.index(partner)] + ratio
    for i, band in enumerate(IMAGE_BANDS):
        full[:, _BAND[band]] = flat[:, i]
    full[:, _BAND["B09"]] = full[:, _BAND["B8A"]] + np.log(rng.uniform(0.8, 1.05))
    shape = tuple(zoom * n for n in label.shape)
    if zoom > 1:
        label = enlarge_labels(label, shape, rng)
        fill = np.where(label == IGNORE_INDEX, GRASS, label)
    optical = _enlarge(full.T.reshape(12, *image.shape[1:]), shape, order=1)
    # The neighbours of one pixel are too alike: let single pixels stray in the SAR, too.
    backscatter = _enlarge(sar.T.reshape(2, *image.shape[1:]), shape, order=0)
    backscatter += 4.0 * _GRAIN[fill] * rng.standard_normal(shape, np.float32)
    backscatter = _add_corners(backscatter, fill, rng)
    grain = _grain(fill, rng) if zoom > 1 else 0.3 * _grain(fill, rng)
    return _shade(Sample(np.exp(optical + grain), backscatter, label), rng)


def _add_corners(sar: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Corner reflectors among houses: the bright tail that monthly 20 m means have lost.

    Args:
      sar: (2, y, x) float32 dB.
      label: (y, x) uint8 class index.
      rng: source of every random choice.
    """
    corner = (label == BUILT) & (rng.uniform(size=label.shape) < rng.uniform(0.05, 0.35))
    extra = corner * rng.exponential(rng.uniform(3.0, 6.0), label.shape).clip(0, 18)
    extra += (label == BUILT) * rng.uniform(-1.0, 2.0)
    return sar + np.stack([extra, 0.7 * extra]).astype(np.float32)


def _enlarge(image: np.ndarray, shape: tuple[int, int], order: int) -> np.ndarray:
    at = [(np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(shape, image.shape[1:], strict=True)]
    place = np.meshgrid(*at, indexing="ij")
    return np.stack([map_coordinates(b, place, order=order, mode="nearest") for b in image])


def _grain(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fine texture common to all bands, (y, x) float32, log reflectance."""
    fine = gaussian_filter(rng.standard_normal(label.shape, np.float32), rng.uniform(0.3, 0.9))
    coarse = fractal_noise(label.shape, rng, 1.2)
    grain = fine / fine.std() + 0.5 * coarse
    return rng.uniform(0.5, 1.3) * _GRAIN[np.minimum(label, CROP)] * grain


def _shade(sample: Sample, rng: np.random.Generator) -> Sample:
    """Light and look direction over hills, for a part of the samples; water stays flat."""
    if rng.uniform() < 0.6:
        return sample
    hills = fractal_noise(sample.label.shape, rng, rng.uniform(1.6, 2.2))
    slope = np.gradient(hills)
    dry = gaussian_filter((sample.label != WATER).astype(np.float32), 2)
    field = []
    for angle in rng.uniform(0, 2 * np.pi, 2):
        lit = np.cos(angle) * slope[0] + np.sin(angle) * slope[1]
        field.append(dry * np.clip(lit / lit.std(), -2.5, 2.5))
    light = 1.0 + rng.uniform(0.0, 0.22) * field[0]
    return sample._replace(
        optical=sample.optical * np.clip(light, 0.4, 1.5),
        sar=sample.sar + rng.uniform(0.0, 1.8) * field[1],
    )


def observe(sample: Sample, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What the sensors make of a sample.

    Optical: point spread, 20 m and 60 m bands blurred more, gains, an atmosphere that is left in
    for a part of the samples (L1C) and haze, noise. SAR: calibration offsets (sigma0, gamma0, angle
    of incidence), wind on water, gamma speckle of 3 to 12 looks correlated between pixels.

    Returns:
      optical (12, y, x) uint16, reflectance x 1e4; sar (2, y, x) int16, dB x 100.
    """
    optical = np.empty_like(sample.optical)
    for i, band in enumerate(SENTINEL2_L2A.bands):
        sigma = {10: 0.45, 20: 0.9, 60: 2.2}[band.resolution] * rng.uniform(0.8, 1.3)
        optical[i] = gaussian_filter(sample.optical[i], sigma)
    if rng.uniform() < 0.15:  # low sun, high cloud before it: the ground is dim, the air is not
        optical *= rng.uniform(0.3, 0.8)
    if rng.uniform() < 0.45:
        optical = optical * _TRANSMISSION[:, None, None]
        optical[_BAND["B09"]] *= rng.uniform(0.5, 1.3)
        optical += 1e4 * rng.uniform(0.5, 1.4) * _PATH[:, None, None]
    else:
        optical += 1e4 * np.clip(rng.normal(0, 0.12), -0.1, 0.4) * _PATH[:, None, None]
    gain = rng.uniform(0.9, 1.1) * rng.normal(1.0, 0.03, (12, 1, 1))
    optical = optical * gain + rng.normal(0, 40, (12, 1, 1))
    optical += rng.uniform(5, 25) * rng.standard_normal(optical.shape, np.float32)

    sar = sample.sar + rng.normal(0, 0.8) + rng.normal(0, 0.4, (2, 1, 1))
    wind = gaussian_filter((sample.label == WATER).astype(np.float32), 1)
    sar = sar + wind * rng.uniform(-3, 4) * np.array([1.0, 0.7])[:, None, None]
    power = 10.0 ** (sar / 10.0)
    sigma = rng.uniform(0.35, 0.8)
    looks = rng.uniform(3.0, 12.0)
    # Blurring averages about 4 pi sigma^2 pixels: fewer looks before, the wanted number after.
    before = looks / max(1.0, 4 * np.pi * sigma**2)
    speckled = power * rng.gamma(before, 1.0 / before, power.shape)
    power = np.stack([gaussian_filter(p, sigma) for p in speckled])
    decibel = np.clip(10.0 * np.log10(np.maximum(power, 1e-5)), -45.0, 25.0)
    low, high = 1, np.iinfo(INPUTS.optical.dtype).max
    return (
        np.clip(np.rint(optical), low, high).astype(np.uint16),
        np.rint(100 * decibel).astype(np.int16),
    )
