"""Labelled patches for training and tests: a block's chips, the way a run makes them, with labels.

The pixels come from the functions that a run's chips come from, so a network is trained on what it
will be given. A patch is a chip without halo; a block holds 2 x 2 of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np

from model.legend import IGNORE_INDEX, Crosswalk
from transforms.grid import BlockKey, GeoBox, Grid
from transforms.pixels.chip import Quality
from transforms.pixels.coregister import Shift
from transforms.pixels.pairing import Pair
from transforms.pixels.prepare import PixelOptions, optical_pass, prepare_block
from transforms.pixels.spectral_clouds import spectral_mask
from transforms.scene import ImagerySource, Scene

NO_LABEL, NO_OPTICAL, NO_SAR = "no label", "no optical", "no SAR"
"""Why a patch is left out."""


class Patch(NamedTuple):
    """One sample of a data set."""

    number: int  # in its block, row by row
    geobox: GeoBox
    optical: np.ndarray  # (12, y, x) uint16, clouds as they come, reflectance x 1e4, 0 nodata
    clear: np.ndarray | None  # (12, y, x) uint16, the least cloudy image near the day, if clear
    sar: np.ndarray  # (2, y, x) int16, dB x 100, VV and VH, -32768 nodata
    label: np.ndarray  # (y, x) uint8, class index, 255 unknown
    cloud: np.ndarray  # (y, x) bool, cloud or shadow in `optical`


@dataclass(frozen=True)
class PatchMaker:
    """What all patches of a data set have in common.

    Attributes:
      grid: its chips are the patches; without halo.
      source: of imagery.
      options: of the pixel arithmetic.
      labels: gives the label product's codes on a geobox, (y, x) uint8.
      crosswalk: of these codes.
      clear_cover: share of cloud and shadow up to which an image is called clear.
    """

    grid: Grid
    source: ImagerySource
    options: PixelOptions
    labels: Callable[[GeoBox], np.ndarray]
    crosswalk: Crosswalk
    clear_cover: float = 0.05

    def patches(
        self, key: BlockKey, pair: Pair, shift: Shift, clearest: tuple[Scene, ...], target: date
    ) -> tuple[list[Patch], Counter[str]]:
        """The patches of a block, and how many were left out, by reason.

        Args:
          key: of the block.
          pair: the scenes that map it, as measured.
          shift: of the pair's SAR.
          clearest: optical pass to take the clear image from.
          target: the day.

        Raises:
          ValueError, SourceUnavailable: see `prepare_block`; or the labels are of another product.
        """
        skipped: Counter[str] = Counter()
        geobox = self.grid.geobox(key)
        codes = self.labels(geobox)
        label = self._cut(self.crosswalk.indices(codes, f"labels of block {key}"))
        if (label == IGNORE_INDEX).all():
            return [], Counter({NO_LABEL: len(label)})
        chips = prepare_block(key, pair, target, self.grid, self.source.read, self.options, shift)
        cloud = [_clouds(o, q) for o, q in zip(chips.optical, chips.quality, strict=True)]
        found = []
        for i, (ys, xs) in enumerate(self.grid.chip_slices()):
            reason = _reason(label[i], chips.quality[i])
            if reason:
                skipped[reason] += 1
                continue
            box = geobox._replace(
                x0=geobox.x0 + xs.start * geobox.resolution,
                y0=geobox.y0 - ys.start * geobox.resolution,
                width=self.grid.chip_size,
                height=self.grid.chip_size,
            )
            clear = chips.optical[i] if cloud[i].mean() <= self.clear_cover else None
            found.append(Patch(i, box, chips.optical[i], clear, chips.sar[i], label[i], cloud[i]))
        if clearest != pair.optical and any(patch.clear is None for patch in found):
            found = self._with_clear(found, clearest, geobox)
        return found, skipped

    def _with_clear(
        self, patches: list[Patch], clearest: tuple[Scene, ...], geobox: GeoBox
    ) -> list[Patch]:
        seen = optical_pass(clearest, geobox, self.source.read, self.options)
        images, flags = self._cut(seen.pixels), self._cut(seen.flags)
        out = []
        for patch in patches:
            image = images[patch.number]
            whole = not ((image == 0) & (patch.optical != 0)).any()
            cover = _clouds(image, flags[patch.number]).mean()
            if patch.clear is None and whole and cover <= self.clear_cover:
                patch = patch._replace(clear=image)
            out.append(patch)
        return out

    def _cut(self, planes: np.ndarray) -> np.ndarray:
        return np.stack([planes[..., ys, xs] for ys, xs in self.grid.chip_slices()])


def _reason(label: np.ndarray, quality: np.ndarray) -> str | None:
    """Why a patch cannot be used; None: it can."""
    if (label == IGNORE_INDEX).all():
        return NO_LABEL
    if (quality & Quality.NO_OPTICAL).all():
        return NO_OPTICAL
    if (quality & Quality.NO_SAR).all():
        return NO_SAR
    return None


def _clouds(optical: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """(y, x) bool: cloud or shadow by the scene's screening; by spectrum where there is none."""
    clouded = (flags & (Quality.CLOUD | Quality.SHADOW)) != 0
    unscreened = (flags & Quality.UNSCREENED) != 0
    if unscreened.any():
        clouded |= unscreened & spectral_mask(optical)
    return clouded
