"""Training samples: crops of patches, turned, changed and clouded.

Geometry is common to both sensors. Clouds are simulated over the clear image, drawn evenly over all
covers, so that every cover is trained; then the cloud mask is known and teaches the reliability.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.clouds import simulate_clouds
from model.dataset import Patches
from model.inputs import INPUTS
from model.legend import IGNORE_INDEX

UNKNOWN_CLOUD = 255.0
"""Value of `TrainingSample.clouded` where nobody knows, or where there is no optical image."""
THIN = 3.0
"""What is seen through cloud of opacity a is believed as far as (1 - a) ** THIN."""
_SAR_NODATA = INPUTS.sar.nodata


class Augmentation(NamedTuple):
    """How far a training sample may stray from its patch; probabilities and spreads."""

    simulate: float = 0.65  # clouds simulated over the clear image instead of the cloudy image
    no_optical: float = 0.15
    no_sar: float = 0.2
    no_60m: float = 0.2  # B01 and B09 missing
    few_bands: float = 0.1  # one to six bands missing
    footprint: float = 0.3  # only a rectangle holds data, as where a scene ends inside a chip
    gain: float = 0.05  # of the whole image and of each band
    offset: float = 60.0  # reflectance x 1e4, each band
    decibel: float = 0.7  # of both polarisations together and of each
    speckle: float = 0.3  # gamma speckle of 4 to 12 looks on top of the image's own


class TrainingSample(NamedTuple):
    optical: np.ndarray  # (12, y, x) uint16, reflectance x 1e4, 0 nodata
    sar: np.ndarray  # (2, y, x) int16, dB x 100, -32768 nodata
    label: np.ndarray  # (y, x) uint8, class index, 255 unknown
    clouded: np.ndarray  # (y, x) float32: 0 clear to 1 cloud, shadow; 255 unknown
    ground: np.ndarray  # (12, y, x) uint16, as `optical` without its clouds; 0 unknown


def training_sample(
    patches: Patches, index: int, crop: int, rng: np.random.Generator, how: Augmentation
) -> TrainingSample:
    """A crop of one patch, turned, changed and clouded; every choice is drawn from `rng`.

    Args:
      patches: the split.
      index: which patch.
      crop: pixels per side, at most the patch's own.
      rng: source of every random choice.
      how: see `Augmentation`.
    """
    height, width = patches.label.shape[1:]
    y, x = (int(rng.integers(n - crop + 1)) for n in (height, width))
    window = (..., slice(y, y + crop), slice(x, x + crop))
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))

    def cut(a: np.ndarray) -> np.ndarray:
        a = np.rot90(a[index][window], turns, (-2, -1))
        return a[..., ::-1] if flip else a

    label = cut(patches.label)
    ground = cut(patches.clear)
    if rng.uniform() < how.simulate and ground.any():  # not every patch has a clear image
        ground = _regain(ground, rng, how)
        under = simulate_clouds(ground, rng, rng.uniform())
        optical = under.optical
        clouded = np.maximum(1.0 - (1.0 - under.cloud) ** THIN, under.shadow)
    else:
        optical = _regain(cut(patches.cloudy), rng, how)
        ground = np.zeros_like(optical)
        clouded = np.full(label.shape, UNKNOWN_CLOUD, np.float32)
    sar = _respeckle(cut(patches.sar), rng, how)

    gone = rng.uniform() if (sar != _SAR_NODATA).any() else 1.0
    if gone < how.no_optical:
        optical = np.zeros_like(optical)
        clouded = np.full(label.shape, UNKNOWN_CLOUD, np.float32)
    elif gone < how.no_optical + how.no_sar:
        sar = np.full_like(sar, _SAR_NODATA)
    missing = []
    if rng.uniform() < how.no_60m:
        missing = [i for i, b in enumerate(INPUTS.optical.bands) if b.resolution == 60]
    elif rng.uniform() < how.few_bands / (1.0 - how.no_60m):
        missing = rng.choice(len(optical), int(rng.integers(1, 7)), replace=False)
    optical[missing] = INPUTS.optical.nodata
    label = label.copy()
    if rng.uniform() < how.footprint:
        outside = _outside_footprint(label.shape, rng)
        ends = rng.uniform()  # of both sensors, or of one of them
        if ends < 0.85:
            optical[:, outside] = INPUTS.optical.nodata
            clouded[outside] = UNKNOWN_CLOUD
        if ends < 0.7 or ends >= 0.85:
            sar[:, outside] = _SAR_NODATA
        label[outside & ~optical.any(axis=0) & (sar == _SAR_NODATA).all(axis=0)] = IGNORE_INDEX
    return TrainingSample(optical, sar, label, clouded, ground)


def _outside_footprint(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(y, x) bool: outside of a rectangle that is at least a quarter of the crop's side long."""
    outside = np.ones(shape, bool)
    inside = []
    for n in shape:
        length = int(rng.integers(n // 4, n + 1))
        start = int(rng.integers(n - length + 1))
        inside.append(slice(start, start + length))
    outside[tuple(inside)] = False
    return outside


def _regain(optical: np.ndarray, rng: np.random.Generator, how: Augmentation) -> np.ndarray:
    """Changes gain and offset of (12, y, x) uint16 reflectance; nodata stays nodata."""
    bands = (len(optical), 1, 1)
    gain = rng.normal(1.0, how.gain) * rng.normal(1.0, how.gain, bands)
    changed = optical * gain.astype(np.float32) + rng.normal(0.0, how.offset, bands)
    changed = np.clip(np.rint(changed), 1, np.iinfo(np.uint16).max).astype(np.uint16)
    return np.where(optical == INPUTS.optical.nodata, np.uint16(0), changed)


def _respeckle(sar: np.ndarray, rng: np.random.Generator, how: Augmentation) -> np.ndarray:
    """Shifts (2, y, x) int16 backscatter and, for some samples, adds speckle; keeps nodata."""
    shift = rng.normal(0.0, how.decibel) + rng.normal(0.0, how.decibel, (2, 1, 1))
    changed = sar + 100.0 * shift
    if rng.uniform() < how.speckle:
        looks = rng.uniform(4.0, 12.0)
        changed += 1000.0 * np.log10(rng.gamma(looks, 1.0 / looks, sar.shape) + 1e-4)
    changed = np.clip(np.rint(changed), -10000, 10000).astype(np.int16)
    return np.where(sar == _SAR_NODATA, np.int16(_SAR_NODATA), changed)
