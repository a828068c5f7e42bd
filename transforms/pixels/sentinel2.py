"""Sentinel-2: stored numbers to reflectance, and granules of one pass to one image."""

from __future__ import annotations

from functools import partial

import numpy as np

from model.inputs import INPUTS
from transforms.scene import Asset, Raster, Scene

OPTICAL = INPUTS.optical


def to_reflectance(
    raster: Raster,
    scene: Scene,
    bands: tuple[str, ...] = OPTICAL.names,
    harmonise: bool = True,
) -> np.ndarray:
    """Reflectance of a scene's bands as the chip stores them.

    reflectance = DN * scale + offset, both from the item's metadata (`Asset.scale`,
    `Asset.offset`): since processing baseline 04.00 (25 January 2022) the products carry an offset
    of -1000 DN (BOA_ADD_OFFSET and RADIO_ADD_OFFSET, Sentinel-2 Products Specification Document),
    which items of harmonised collections state as 0. DN 0 is nodata before and after.

    Args:
      raster: pixels (band, y, x) of integer or float dtype, the scene's stored numbers.
      scene: the scene they are from; `Scene.level` tells top-of-atmosphere (L1C) from surface (L2A)
        reflectance, which are not converted into each other.
      bands: the bands of the result; one that the scene does not have becomes a plane of nodata.
      harmonise: add the offset. Off, reflectance = DN * scale, for models trained that way.

    Returns:
      (band, y, x) uint16, reflectance x 1e4, 1 to 65535, 0 nodata per band.

    Raises:
      ValueError: integers come without a scale that makes them reflectance, or with an offset
        that is none.
    """
    out = np.zeros((len(bands), *raster.pixels.shape[1:]), np.uint16)
    for plane, band in zip(out, bands, strict=True):
        asset = scene.asset(band)
        if asset is None:
            continue
        stored = raster.pixels[raster.bands.index(band)]
        if stored.dtype.kind in "ui" and asset.scale >= 0.1:
            raise ValueError(
                f"scene {scene.id}, band {band}: {stored.dtype} pixels with a scale of "
                f"{asset.scale:g}, expected one that gives reflectance, such as 0.0001; state it "
                "in the item's raster:bands"
            )
        if abs(asset.offset) > 1:
            raise ValueError(
                f"scene {scene.id}, band {band}: offset {asset.offset:g}, expected reflectance, "
                "such as -0.1 for 1000 DN; correct the item's raster:bands"
            )
        convert = partial(
            _units,
            scale=asset.scale / OPTICAL.scale,
            offset=(asset.offset if harmonise else 0.0) / OPTICAL.scale,
            nodata=(raster.nodata, asset.nodata),
        )
        if stored.dtype.itemsize <= 2 and stored.dtype.kind in "ui":
            # Of 65,536 numbers at most each is converted once; any table holds what is looked up.
            unsigned = np.dtype(f"u{stored.dtype.itemsize}")
            every = np.arange(2 ** (8 * unsigned.itemsize), dtype=unsigned).view(stored.dtype)
            np.take(convert(every), stored.view(unsigned), out=plane, mode="clip")
        else:
            plane[:] = convert(stored)
    return out


def _units(
    stored: np.ndarray, scale: float, offset: float, nodata: tuple[float | None, ...]
) -> np.ndarray:
    """Stored numbers as uint16, 1 to 65535; 0 where they are 0, nodata or not finite."""
    valid = _known(stored, *nodata) & (stored != 0)
    units = np.where(valid, stored, 0) * scale
    units += offset
    # Dark pixels may fall to 0 or below once the offset is off; they are still data.
    np.clip(np.rint(units, out=units), 1, 65535, out=units)
    return np.where(valid, units, 0).astype(np.uint16)


def has_data(stored: np.ndarray, asset: Asset, nodata: float) -> np.ndarray:
    """(y, x) bool: finite, and neither the raster's nor the asset's nodata."""
    return _known(stored, nodata, asset.nodata)


def _known(stored: np.ndarray, *nodata: float | None) -> np.ndarray:
    valid = np.isfinite(stored) if stored.dtype.kind == "f" else np.ones(stored.shape, bool)
    for value in {*nodata} - {None}:
        valid &= stored != value
    return valid


def optical_valid(optical: np.ndarray) -> np.ndarray:
    """(..., y, x) bool of (..., band, y, x) reflectance: any band has data."""
    return (optical != OPTICAL.nodata).any(axis=-3)
