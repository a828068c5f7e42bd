"""Clouds and their shadows over a clear image, for training and for scores at set cover levels.

Spectra follow the cloud and shadow pixels of ukis-csmask's reference scene and the Sentinel-2
images of SEN12MS-CR: thick cloud is bright and nearly white up to 0.9 micrometre and darker in the
short-wave infrared, a shadow keeps the blue sky light. The four kinds are those of
SatelliteCloudGenerator (thick, local, thin, fog); the field is noise with a power-law spectrum.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

KINDS = ("thick", "local", "thin", "fog")
MASK_OPACITY = 0.15
"""Cloud opacity above which a pixel counts as cloud."""
MASK_SHADOW = 0.3
"""Share of a full shadow above which a pixel counts as shadow."""

_MAX_SHIFT = 48  # px; 480 m: a cloud at 500 m under a sun at 45 degrees

# Per band B01 ... B12: brightness of cloud relative to red, the spread of that, the strength of
# haze relative to red (Rayleigh-like), and the share of diffuse light that a shadow keeps.
_COLOR = np.array([1.0, 0.99, 0.97, 1.0, 1.03, 1.08, 1.12, 1.1, 1.14, 0.75, 0.9, 0.7], np.float32)
_COLOR_SPREAD = np.array(
    [0.03, 0.02, 0.02, 0.0, 0.02, 0.04, 0.05, 0.05, 0.06, 0.2, 0.12, 0.15], np.float32
)
_HAZE = np.array([1.3, 1.2, 1.1, 1.0, 0.97, 0.93, 0.9, 0.88, 0.87, 0.7, 0.55, 0.4], np.float32)
_DIFFUSE = np.array(
    [0.55, 0.45, 0.35, 0.27, 0.24, 0.2, 0.18, 0.15, 0.14, 0.12, 0.06, 0.04], np.float32
)


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
    opacity = {
        "thick": rng.uniform(0.85, 1.0),
        "local": rng.uniform(0.8, 1.0),
        "thin": rng.uniform(0.3, 0.65),
        "fog": rng.uniform(0.3, 0.75),
    }[kind] * density
    cloud = opacity[inner]

    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(4, margin)
    dy, dx = round(length * np.sin(angle)), round(length * np.cos(angle))
    cast = np.roll(opacity, (dy, dx), (0, 1))[inner]
    shadow = np.clip(cast * (1.0 - cloud), 0.0, 1.0)

    strength = rng.uniform(0.5, 0.95)
    ground = optical.astype(np.float32)
    ground *= 1.0 - strength * shadow * (1.0 - _DIFFUSE[:, None, None])
    haze = _HAZE if kind in ("thin", "fog") else np.ones_like(_HAZE)
    seen = 1.0 - (1.0 - np.minimum(cloud, 0.999)) ** haze[:, None, None]
    color = _COLOR * (1.0 + _COLOR_SPREAD * rng.standard_normal(len(_COLOR), np.float32))
    relief = np.clip(1.0 + 0.12 * fractal_noise(shape, rng, 1.3), 0.6, 1.5)
    bright = rng.uniform(0.3, 0.55) if kind == "fog" else rng.uniform(0.4, 1.0)
    white = 1e4 * bright * color[:, None, None] * relief
    cloudy = np.clip(np.rint(seen * white + (1.0 - seen) * ground), 1, 20000).astype(np.uint16)
    return CloudyImage(np.where(optical == 0, np.uint16(0), cloudy), cloud, shadow)


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
    width = {"thick": 0.3, "local": 0.3, "thin": 0.8, "fog": 1.0}[kind] * rng.uniform(0.15, 1.0)
    width = max(min(width, 2.0 * cover), 1e-3)
    # 0.3 of the ramp lies under the mask's threshold; near full cover the whole ramp is let in.
    edge = 1.0 - cover - width * (0.3 + 0.7 * cover**20) * (cover > 0.0)
    density = np.clip((rank - edge) / width, 0.0, 1.0)
    return density * density * (3.0 - 2.0 * density)
