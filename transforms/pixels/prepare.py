"""From the scenes of a pair to the chips of one block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from math import ceil
from typing import NamedTuple

import numpy as np

from model.inputs import BandSet
from transforms.grid import BlockKey, GeoBox, Grid
from transforms.pixels.chip import AGE_UNKNOWN, CLOUD_UNKNOWN, Chips, Quality, set_flag
from transforms.pixels.cloudmask import AUTO, CLOUD_MASKS
from transforms.pixels.clouds import screen, screening_bands
from transforms.pixels.coregister import UNMEASURED, Shift, apply_shift
from transforms.pixels.edges import find_defects
from transforms.pixels.pairing import Pair
from transforms.pixels.sentinel1 import (
    SAR,
    filter_lee,
    mask_border_noise,
    sar_valid,
    to_backscatter,
)
from transforms.pixels.sentinel2 import OPTICAL, optical_valid, to_reflectance
from transforms.scene import Raster, Scene

Read = Callable[[Scene, GeoBox, tuple[str, ...]], Raster]
"""`ImagerySource.read`, or any function like it."""

SPECKLE_FILTERS = {"none": lambda sar: sar, "lee": filter_lee}


@dataclass(frozen=True)
class PixelOptions:
    """How pixels are prepared; part of a run's configuration."""

    harmonise: bool = True  # add the offset that the item states for baseline 04.00 and later
    speckle: str = "none"  # a key of SPECKLE_FILTERS
    cloud_threshold: int = 40  # cloud probability from which a pixel is flagged, percent
    inputs: str = "measure"  # what the pixels of a pair say of it first, or "trust" its metadata
    cloud_mask: str = AUTO  # one of CLOUD_MASKS

    def __post_init__(self):
        if self.inputs not in ("measure", "trust"):
            raise ValueError(f"inputs: got {self.inputs!r}, expected measure or trust")
        if self.cloud_mask not in CLOUD_MASKS:
            raise ValueError(
                f"cloud-mask: got {self.cloud_mask!r}, expected one of {', '.join(CLOUD_MASKS)}"
            )
        if self.speckle not in SPECKLE_FILTERS:
            raise ValueError(
                f"speckle filter: got {self.speckle!r}, expected one of "
                f"{', '.join(SPECKLE_FILTERS)}"
            )
        if not 0 <= self.cloud_threshold <= 100:
            raise ValueError(f"cloud threshold: got {self.cloud_threshold}, expected 0 to 100 %")

    def to_dict(self) -> dict:
        return asdict(self)


class OpticalPass(NamedTuple):
    """The merged scenes of an optical pass."""

    pixels: np.ndarray  # (band, y, x) uint16
    cloud: np.ndarray  # (y, x) uint8
    flags: np.ndarray  # (y, x) uint8


def optical_bands(scene: Scene) -> tuple[str, ...]:
    """What has to be read of an optical scene: its bands and what its clouds are found by.

    Raises:
      ValueError: a band is neither there nor declared missing.
    """
    bands = _present(scene, OPTICAL)
    return bands + tuple(b for b in screening_bands(scene) if b not in bands)


def sar_bands(scene: Scene) -> tuple[str, ...]:
    """What has to be read of a SAR scene. Raises ValueError as `optical_bands` does."""
    return _present(scene, SAR)


def _present(scene: Scene, spec: BandSet) -> tuple[str, ...]:
    absent = [b for b in spec.names if b not in scene.bands and b not in scene.missing]
    if absent:
        raise ValueError(
            f"scene {scene.id}: got bands {', '.join(scene.bands) or 'none'}, expected "
            f"{', '.join(spec.names)}; where {', '.join(absent)} cannot be had, declare it in the "
            "item's cloudlulc:missing_bands"
        )
    return tuple(b for b in spec.names if b in scene.bands)


def prepare_block(
    key: BlockKey,
    pair: Pair,
    target: date,
    grid: Grid,
    read: Read,
    options: PixelOptions,
    shift: Shift = UNMEASURED,
) -> Chips:
    """Chips of a block: read, convert, screen, merge the scenes of each pass, cut.

    Every scene is read once. Where scenes of a pass overlap, the first one that has data wins,
    with all its bands and flags. A missing sensor is not an error: its planes are nodata and
    flagged.

    Args:
      key: of the block.
      pair: the scenes that map it.
      target: day from which ages count.
      grid: processing grid.
      read: gives a scene's pixels.
      options: of the pixel arithmetic.
      shift: of the pair's SAR; taken off where it `applies`, recorded where it was measured.

    Raises:
      ValueError: a scene lacks a band or comes in an unknown unit, or `read` did not return what
        it was asked for; the message names the block.
      SourceUnavailable: from `read`.
    """
    geobox = grid.geobox(key)
    try:
        optical = optical_pass(pair.optical, geobox, read, options)
        sar = _aligned(pair.sar, geobox, read, options, shift)
    except ValueError as error:
        raise ValueError(f"block {key}: {error}") from error

    has_optical, has_sar = optical_valid(optical.pixels), sar_valid(sar)
    quality = optical.flags
    set_flag(quality, Quality.NO_OPTICAL, ~has_optical)
    set_flag(quality, Quality.NO_SAR, ~has_sar)
    if shift.applies:
        set_flag(quality, Quality.SHIFTED, has_sar)

    slices = grid.chip_slices()

    def cut(planes: np.ndarray) -> np.ndarray:
        return np.stack([planes[..., ys, xs] for ys, xs in slices])

    age = np.stack(
        [_ages(cut(has_optical), pair.optical, target), _ages(cut(has_sar), pair.sar, target)],
        axis=1,
    )
    moved = np.tile(np.array([shift.dy, shift.dx], np.float32), (len(slices), 1))
    return Chips(cut(optical.pixels), cut(sar), cut(quality), cut(optical.cloud), age, moved)


def optical_pass(
    scenes: tuple[Scene, ...], geobox: GeoBox, read: Read, options: PixelOptions
) -> OpticalPass:
    """The scenes of a pass on a geobox, converted, screened and merged."""
    merged = None
    for scene in scenes:
        raster = _read(scene, geobox, optical_bands(scene), read)
        pixels = to_reflectance(raster, scene, OPTICAL.names, options.harmonise)
        # Before merging: another granule of the pass may show what one's edge spoils.
        stripes = find_defects(raster, scene).stripes
        if stripes.any():
            pixels[:, stripes] = OPTICAL.nodata
        valid = optical_valid(pixels)
        screening = screen(raster, scene, valid, options.cloud_threshold, options.cloud_mask)
        found = OpticalPass(pixels, *screening)
        if merged is None:
            merged = found
            continue
        new = valid & ~optical_valid(merged.pixels)
        for planes, more in zip(merged, found, strict=True):
            np.copyto(planes, more, where=new)
    return merged or OpticalPass(
        np.full((len(OPTICAL.bands), *geobox.shape), OPTICAL.nodata, np.uint16),
        np.full(geobox.shape, CLOUD_UNKNOWN, np.uint8),
        np.zeros(geobox.shape, np.uint8),
    )


def sar_pass(
    scenes: tuple[Scene, ...], geobox: GeoBox, read: Read, options: PixelOptions
) -> np.ndarray:
    """The slices of a pass on a geobox, (band, y, x) int16, dB x 100, -32768 nodata."""
    merged = None
    for scene in scenes:
        raster = _read(scene, geobox, sar_bands(scene), read)
        # Before merging: every slice has noise along its own edges.
        sar = mask_border_noise(to_backscatter(raster, scene))
        if merged is None:
            merged = sar
        else:
            np.copyto(merged, sar, where=sar_valid(sar) & ~sar_valid(merged))
    if merged is None:
        merged = np.full((len(SAR.bands), *geobox.shape), SAR.nodata, np.int16)
    # After merging: slices of a pass join without a seam.
    return SPECKLE_FILTERS[options.speckle](merged)


def _aligned(
    scenes: tuple[Scene, ...], geobox: GeoBox, read: Read, options: PixelOptions, shift: Shift
) -> np.ndarray:
    """`sar_pass`, moved onto the optical grid where the shift applies."""
    if not scenes or not shift.applies:
        return sar_pass(scenes, geobox, read, options)
    # As much more is read as the shift is long, so that no edge of the block goes empty.
    margin = ceil(max(abs(shift.dy), abs(shift.dx))) + 1
    wide = geobox._replace(
        x0=geobox.x0 - margin * geobox.resolution,
        y0=geobox.y0 + margin * geobox.resolution,
        width=geobox.width + 2 * margin,
        height=geobox.height + 2 * margin,
    )
    return apply_shift(sar_pass(scenes, wide, read, options), shift)[
        :, margin:-margin, margin:-margin
    ]


def _read(scene: Scene, geobox: GeoBox, bands: tuple[str, ...], read: Read) -> Raster:
    raster = read(scene, geobox, bands)
    shape, dtype = raster.pixels.shape, raster.pixels.dtype
    if (raster.bands, raster.geobox, shape) != (bands, geobox, (len(bands), *geobox.shape)):
        raise ValueError(
            f"scene {scene.id}: read returned bands {raster.bands} on {raster.geobox} in an array "
            f"of {shape}, expected {bands} on {geobox}; the source does not keep its contract"
        )
    if dtype.kind not in "uif":
        raise ValueError(
            f"scene {scene.id}: read returned pixels of {dtype}, expected integers or floats"
        )
    return raster


def _ages(valid: np.ndarray, scenes: tuple[Scene, ...], target: date) -> np.ndarray:
    """(chip,) int16, days from the target; unknown without date or without data (chip, y, x)."""
    age = scenes[0].age(target) if scenes else None
    age = AGE_UNKNOWN if age is None else age
    return np.where(valid.any(axis=(1, 2)), age, AGE_UNKNOWN).astype(np.int16)
