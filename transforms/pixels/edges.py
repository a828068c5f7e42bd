"""Pixels that pass for data and are none: border noise, undeclared zeros, stripes of DN 1.

They sit where a swath, a detector or a tile ends. Each finding is a mask, so that it can be
counted, shown, or set to nodata.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from model.inputs import INPUTS
from transforms.pixels.sentinel1 import mask_border_noise, to_backscatter
from transforms.pixels.sentinel2 import has_data
from transforms.scene import QUALITY_BANDS, SENTINEL1, Raster, Scene

STRIPE_WIDTH = 4
"""How far a stripe of partial bands reaches in from the edge, px."""

_PATCH = 8  # px: fewer equal pixels inside of a scene may be chance
_EIGHT = np.ones((3, 3), bool)


class Defects(NamedTuple):
    """Where a raster's declared data are none."""

    zeros: np.ndarray  # (y, x) bool, stored as 0 in every band and not declared nodata
    stripes: np.ndarray  # (y, x) bool, optical: DN 1 in every band, or in most of them at an edge
    noise: np.ndarray  # (y, x) bool, SAR: noise along the swath's border
    valid: np.ndarray  # (y, x) bool, declared as data in any band

    @property
    def any(self) -> np.ndarray:
        """(y, x) bool."""
        return self.zeros | self.stripes | self.noise

    def share(self, name: str) -> float:
        """Of the declared data, 0-1."""
        return float(getattr(self, name).sum() / max(self.valid.sum(), 1))


def find_defects(raster: Raster, scene: Scene) -> Defects:
    """Defects of a raster.

    Args:
      raster: pixels (band, y, x), stored numbers at the scene's own pixel size: reduced by picking
        pixels, thin stripes may be lost.
      scene: the scene they are from.
    """
    bands = [b for b in raster.bands if b not in QUALITY_BANDS]
    planes = [raster.pixels[raster.bands.index(b)] for b in bands]
    known = [has_data(p, scene.asset(b), raster.nodata) for p, b in zip(planes, bands, strict=True)]
    nothing = np.zeros(raster.pixels.shape[1:], bool)
    if scene.sensor != SENTINEL1 and all(p.min() > 1 for p in planes) and all(map(np.all, known)):
        return Defects(nothing, nothing, nothing, ~nothing)  # as most are
    stored, known = np.stack(planes), np.stack(known)
    valid = known.any(axis=0)
    zeros = _patches(valid & ((stored == 0) | ~known).all(axis=0), ~valid)
    if scene.sensor == SENTINEL1:
        sar = to_backscatter(raster, scene)
        noise = (sar != INPUTS.sar.nodata).any(axis=0)
        noise &= (mask_border_noise(sar) == INPUTS.sar.nodata).all(axis=0)
        return Defects(zeros, nothing, noise, valid)
    return Defects(zeros, _stripes(stored, known, valid, zeros), nothing, valid)


def _stripes(
    stored: np.ndarray, known: np.ndarray, valid: np.ndarray, zeros: np.ndarray
) -> np.ndarray:
    """DN 1 (or a mix of 1, 0 and nodata) in every band; in half of the bands next to an edge.

    Where water is over-corrected to DN 1 in some bands, others still see it: every band at 1 is no
    ground. Half of the bands is what remains where the detectors' bands end at different columns.
    """
    empty = (stored <= 1) | ~known
    outside = ~valid | zeros
    whole = _patches(valid & ~zeros & empty.all(axis=0), outside)
    half = valid & ~zeros & (2 * empty.sum(axis=0, dtype=np.uint8) >= len(empty))
    if not outside.any():
        return whole
    start = outside | whole
    return whole | (half & ndimage.binary_dilation(start, _EIGHT, STRIPE_WIDTH, mask=start | half))


def _patches(found: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Those pixels of `found` (y, x) that touch the outside or come in patches."""
    if not found.any():
        return found
    labels, count = ndimage.label(found, _EIGHT)
    size = np.bincount(labels.ravel(), minlength=count + 1)
    keep = size >= _PATCH
    keep[np.unique(labels[ndimage.binary_dilation(outside, _EIGHT) & found])] = True
    keep[0] = False
    return keep[labels]
