"""Clouds and their shadows over a clear image, for training and for scores at set cover levels.

Spectra are measured: those of thick cloud are the first two principal components of 42 really
cloudy dates of a Sentinel-2 L2A series (Flanders 2017-18, pixels that the scene classification
calls cloud of high probability), thin cloud and shadow the differences of such dates to the clear
ones within 30 days. Thick cloud is nearly white up to 0.9 micrometre; in the short-wave infrared
it is anything from a sixth of its brightness in red (ice) to the same. The kinds are those of
SatelliteCloudGenerator (thick, local, thin, fog) and a veil that thickens over the whole image;
the field is noise with a power-law spectrum.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

KINDS = ("thick", "local", "thin", "fog", "veil")
MASK_OPACITY = 0.15
"""Cloud opacity above which a pixel counts as cloud."""
MASK_SHADOW = 0.3
"""Share of a full shadow above which a pixel counts as shadow."""

_MAX_SHIFT = 48  # px; 480 m: a cloud at 500 m under a sun at 45 degrees

# Thick cloud per band B01 ... B12: brightness relative to red, and one standard deviation of the
# two components of its logarithm. B01 is extrapolated; B09 lies in water vapour, which L1C keeps
# and L2A over-corrects over cloud (measured 0.2 to 2.3).
_COLOR = np.array([1.15, 1.11, 1.04, 1.0, 1.07, 1.11, 1.11, 1.14, 1.09, 0.8, 0.72, 0.6], np.float32)
_COLOR_PARTS = np.array(
    [
        [-0.02, -0.02, 0.0, 0.0, 0.02, 0.07, 0.09, 0.09, 0.1, 0.1, 0.3, 0.3],
        [0.01, 0.0, 0.0, 0.0, -0.02, -0.06, -0.07, -0.08, -0.08, -0.08, 0.06, 0.02],
    ],
    np.float32,
)
_VAPOUR = 9  # B09
_BRIGHT = 0.6, 0.33  # median and spread of the logarithm of the brightness in red
_ICE = -0.58  # correlation of brightness and the first component

# Optical thickness relative to red of haze (Rayleigh-like); that of thin cloud is the same in all
# bands (measured 0.9 to 1.1, cirrus 0.3 in B11). The share of light that a full shadow keeps: L1C,
# with the sky light between, and L2A (measured 0.21 to 0.29, without order).
_HAZE = np.array([1.3, 1.2, 1.1, 1.0, 0.97, 0.93, 0.9, 0.88, 0.87, 0.7, 0.55, 0.4], np.float32)
_DIFFUSE = np.array(
    [0.55, 0.45, 0.35, 0.27, 0.24, 0.2, 0.18, 0.15, 0.14, 0.12, 0.06, 0.04], np.float32
)
_DIFFUSE_L2A = 0.25


class CloudyImage(NamedTuple):
    """An image under simulated cloud, and where the cloud is."""

    optical: np.ndarray  # (band, y, x) uint16, reflectance x 1e4, 0 nodata
    cloud: np.ndarray  # (y, x) float32, opacity in red, 0-1
    shadow: np.ndarray  # (y, x) float32, 0 lit to 1 full shadow; 0 under cloud

    def mask(self) -> np.ndarray:
        """(y, x) bool: cloud or shadow."""
        return (self.cloud > MASK_OPACITY) | (self.shadow > MASK_SHADOW)


def fractal_noise(shape: tuple[int, int], rng: np.random.Generator, exponent: float) -> np.ndarray:
    """Noise whose amplitude falls as frequency ** -exponent: (y, x) float32, mean 0, std 1."""
    fy = np.fft.fftfreq(shape[0])[:, None]
    fx = np.fft.rfftfreq(shape[1])[None, :]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal(shape, np.float32)) * frequency**-exponent
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, s=shape).astype(np.float32)
    return field / field.std()


def simulate_clouds(
    optical: np.ndarray, rng: np.random.Generator, cover: float, kind: str | None = None
) -> CloudyImage:
    """Lay cloud and shadow over a clear image.

    Args:
      optical: (12, y, x) uint16, reflectance x 1e4, 0 nodata per band.
      rng: source of every random choice.
      cover: wanted share of cloudy pixels, 0-1; shadows come on top.
      kind: one of `KINDS`; drawn evenly if None.

    Returns:
      The cloudy image; nodata stays nodata.

    Raises:
      ValueError: cover outside 0-1, an unknown kind, or not 12 bands.
    """
    if not 0.0 <= cover <= 1.0:
        raise ValueError(f"cloud cover: got {cover}, expected 0 to 1")
    if optical.ndim != 3 or optical.shape[0] != len(_COLOR):
        raise ValueError(f"clear image: got shape {optical.shape}, expected (12, y, x)")
    kind = KINDS[rng.integers(len(KINDS))] if kind is None else kind
    if kind not in KINDS:
        raise ValueError(f"kind of cloud: got {kind!r}, expected one of {KINDS}")

    shape = optical.shape[1:]
    margin = _MAX_SHIFT
    canvas = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    inner = (slice(margin, margin + shape[0]), slice(margin, margin + shape[1]))
    density = _density(canvas, inner, rng, cover, kind)
    opacity = (
        density
        * {
            "thick": rng.uniform(0.85, 1.0),
            "local": rng.uniform(0.8, 1.0),
            "thin": rng.uniform(0.3, 0.65),
            "fog": rng.uniform(0.3, 0.75),
            "veil": rng.uniform(0.6, 1.0),
        }[kind]
    )
    cloud = opacity[inner]

    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(4, margin)
    dy, dx = round(length * np.sin(angle)), round(length * np.cos(angle))
    cast = np.roll(opacity, (dy, dx), (0, 1))[inner]
    shadow = np.clip(cast * (1.0 - cloud), 0.0, 1.0)

    kept = _DIFFUSE + rng.uniform() * (_DIFFUSE_L2A - _DIFFUSE)
    ground = optical.astype(np.float32)
    ground *= 1.0 - rng.uniform(0.5, 0.95) * shadow * (1.0 - kept[:, None, None])
    thickness = _HAZE ** (rng.uniform(0.0, 1.0) if kind in ("thin", "fog", "veil") else 0.0)
    # Between the clouds, too, the air is seldom clean; this much still counts as clear.
    opaque = np.maximum(cloud, (cover > 0.0) * rng.uniform(-0.12, 0.12))
    seen = 1.0 - (1.0 - np.minimum(opaque, 0.999)) ** thickness[:, None, None]
    white = 1e4 * _brightness(shape, rng, kind)
    cloudy = np.clip(np.rint(seen * white + (1.0 - seen) * ground), 1, 20000).astype(np.uint16)
    return CloudyImage(np.where(optical == 0, np.uint16(0), cloudy), cloud, shadow)


def _brightness(shape: tuple[int, int], rng: np.random.Generator, kind: str) -> np.ndarray:
    """Reflectance of opaque cloud, (12, y, x) float32; its spectrum changes over the image."""
    bright, first, other = rng.standard_normal(3)
    first = _ICE * bright + np.sqrt(1.0 - _ICE**2) * first
    ice = first + 0.5 * fractal_noise(shape, rng, 1.5)
    parts = _COLOR_PARTS[0][:, None, None] * ice + (_COLOR_PARTS[1] * other)[:, None, None]
    parts = parts + 0.02 * rng.standard_normal((len(_COLOR), 1, 1), np.float32)
    parts[_VAPOUR] += rng.uniform(-1.4, 0.8)
    relief = np.clip(1.0 + rng.uniform(0.03, 0.2) * fractal_noise(shape, rng, 1.3), 0.5, 1.6)
    red = _BRIGHT[0] * np.exp(_BRIGHT[1] * bright) * (0.75 if kind == "fog" else 1.0)
    return red * relief * _COLOR[:, None, None] * np.exp(parts)


def _density(
    canvas: tuple[int, int],
    inner: tuple[slice, slice],
    rng: np.random.Generator,
    cover: float,
    kind: str,
) -> np.ndarray:
    """Cloud density (y, x) float32, 0-1, on the canvas; `cover` of its inner part is cloudy."""
    exponent = rng.uniform(1.6, 2.2) if kind == "fog" else rng.uniform(1.1, 1.9)
    field = fractal_noise(canvas, rng, exponent)
    if kind == "local":
        y = np.linspace(-1, 1, canvas[0], dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, canvas[1], dtype=np.float32)[None, :]
        cy, cx = rng.uniform(-0.6, 0.6, 2)
        field -= rng.uniform(1.0, 3.0) * np.hypot(y - cy, x - cx)
    # Through the ranks of the inner part, so that any cover is met whatever the noise is like.
    known = np.sort(field[inner], axis=None)
    rank = np.searchsorted(known, field).astype(np.float32) / known.size
    width = {"thick": 0.3, "local": 0.3}.get(kind, 1.0 if kind == "fog" else 0.8)
    width = 1.6 if kind == "veil" else width * rng.uniform(0.15, 1.0)
    width = max(min(width, 2.0 * cover), 1e-3)
    # 0.3 of the ramp lies under the mask's threshold; near full cover the whole ramp is let in,
    # but for a veil, which stays thin somewhere.
    edge = 1.0 - cover - width * (0.3 + (0.1 if kind == "veil" else 0.7) * cover**20) * (cover > 0)
    density = np.clip((rank - edge) / width, 0.0, 1.0)
    return density * density * (3.0 - 2.0 * density)
