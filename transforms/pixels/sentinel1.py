"""Sentinel-1: stored numbers to backscatter in dB, without border noise, speckle filtered."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from model.inputs import INPUTS
from transforms.pixels.sentinel2 import has_data
from transforms.scene import Raster, Scene

SAR = INPUTS.sar

BORDER_NOISE_DB = -30.0
"""VV below which a pixel at the swath's edge is noise, dB (Earth Engine's COPERNICUS/S1_GRD)."""

BORDER_MARGIN = 500
"""How far border noise reaches into the swath, px (default of SNAP's Remove-GRD-Border-Noise)."""

EQUIVALENT_LOOKS = 4.4
"""Of IW GRD in high resolution (Sentinel-1 Product Definition, S1-RS-MDA-52-7440)."""

_EIGHT = np.ones((3, 3), bool)


def to_backscatter(raster: Raster, scene: Scene) -> np.ndarray:
    """Backscatter of a scene as the chip stores it: dB = 10 log10(linear power).

    Nodata are NaN, infinities, the raster's and the asset's nodata, linear power of 0 or less, and
    pixels whose every band is exactly 0 dB, which is fill and no echo. Whether it is sigma0 or
    gamma0 is kept in `Scene.level`; the two are not converted into each other.

    Args:
      raster: pixels (band, y, x) of integer or float dtype; physical = stored * scale + offset.
      scene: the scene they are from; a band that it does not have becomes a plane of nodata.

    Returns:
      (band, y, x) int16, dB x 100, -32768 nodata per band; the bands are those of `SAR`.

    Raises:
      ValueError: the scene's unit is neither "dB" nor "linear".
    """
    if scene.unit not in ("dB", "linear"):
        raise ValueError(
            f"scene {scene.id}: unit of its backscatter is {scene.unit!r}, expected 'dB' or "
            "'linear'; state it in the item"
        )
    out = np.full((len(SAR.bands), *raster.pixels.shape[1:]), SAR.nodata, np.int16)
    present = [i for i, band in enumerate(SAR.names) if scene.asset(band)]
    for i in present:
        asset = scene.asset(SAR.names[i])
        stored = raster.pixels[raster.bands.index(asset.band)]
        valid = has_data(stored, asset, raster.nodata)
        value = stored[valid] * float(asset.scale) + asset.offset
        if scene.unit == "linear":
            power = value > 0
            valid[valid] = power
            value = 10 * np.log10(value[power])
        out[i][valid] = np.clip(np.rint(value / SAR.scale), SAR.nodata + 1, 32767)
    if scene.unit == "dB":
        out[:, (out[present] == 0).all(axis=0)] = SAR.nodata
    return out


def mask_border_noise(
    sar: np.ndarray, level: float = BORDER_NOISE_DB, margin: int = BORDER_MARGIN
) -> np.ndarray:
    """Backscatter with the noise along the swath's edge set to nodata, in every band.

    A pixel is noise where VV < `level` and a path of such pixels, at most `margin` long, links it
    to the nodata outside of the swath: nodata that reaches the window's edge. The level is Earth
    Engine's, the link to the border follows Stasolla and Neyns 2018 (Sensors 18(10):3454). Single
    brighter pixels that the noise encloses go with it (a closing of 3 x 3). Smooth water
    that touches the swath's edge can be lost; water elsewhere is not.

    Args:
      sar: (band, y, x) int16, dB x 100, -32768 nodata; VV first.
      level: dB.
      margin: px.

    Returns:
      A copy, (band, y, x) int16.
    """
    vv = sar[0]
    edge = np.ones(vv.shape, bool)
    edge[1:-1, 1:-1] = False
    empty = vv == SAR.nodata
    edge &= empty
    out = sar.copy()
    if not edge.any():
        return out
    outside = ndimage.binary_propagation(edge, _EIGHT, mask=empty)
    if outside.all():
        return out
    low = ~empty & (vv < level / SAR.scale)
    noise = ndimage.binary_dilation(outside, _EIGHT, margin, mask=outside | low)
    # Padded, since a closing would otherwise take what lies beyond the window for data.
    closed = ndimage.binary_closing(np.pad(noise, 1, mode="edge"), _EIGHT)[1:-1, 1:-1]
    # Where there is no noise the edge stays as it is: only gaps next to noise are closed.
    near = ndimage.binary_dilation(noise & ~outside, _EIGHT)
    out[:, noise | (closed & near)] = SAR.nodata
    return out


def filter_lee(sar: np.ndarray, size: int = 7, looks: float = EQUIVALENT_LOOKS) -> np.ndarray:
    """Speckle filter of Lee on linear power: mean + w (power - mean) in a moving window.

    w = 1 - Cu2 / Ci2, at least 0, with Cu2 = 1 / looks and Ci2 = variance / mean^2 of the window
    (Lee 1980, in the form of Lopes et al. 1990, IEEE TGRS 28(6)). Nodata has no weight and stays.
    The outer `size // 2` px of the window depend on where it ends; the halo holds them.

    Args:
      sar: (band, y, x) int16, dB x 100, -32768 nodata.
      size: side of the window, px.
      looks: equivalent number of looks of the input.

    Returns:
      (band, y, x) int16, dB x 100, -32768 nodata.
    """
    out = sar.copy()
    for plane, result in zip(sar, out, strict=True):
        valid = plane != SAR.nodata
        power = np.where(valid, 10.0 ** (plane * (SAR.scale / 10)), 0.0)

        def average(values: np.ndarray) -> np.ndarray:
            return ndimage.uniform_filter(values, size, mode="constant")

        weight = np.maximum(average(valid.astype(float)), 1e-9)
        mean = np.maximum(average(power) / weight, 1e-12)
        variation = np.maximum(average(power * power) / weight / mean**2 - 1, 1e-12)
        power = mean + np.maximum(1 - 1 / (looks * variation), 0) * (power - mean)
        decibel = 10 * np.log10(np.maximum(power[valid], 1e-12))
        result[valid] = np.clip(np.rint(decibel / SAR.scale), SAR.nodata + 1, 32767)
    return out


def sar_valid(sar: np.ndarray) -> np.ndarray:
    """(..., y, x) bool of (..., band, y, x) backscatter: any band has data."""
    return (sar != SAR.nodata).any(axis=-3)
