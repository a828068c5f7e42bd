"""Chips: the prepared input of one block, and the flags that describe each pixel."""

from __future__ import annotations

from enum import IntFlag
from typing import NamedTuple

import numpy as np

CLOUD_UNKNOWN = 255
"""Cloud probability of a pixel that nothing screened for clouds."""

AGE_UNKNOWN = -32768
"""Age of a pixel whose acquisition day is unknown or that has no acquisition, days."""


class Quality(IntFlag):
    """Bits of the per-pixel quality layer."""

    CLOUD = 1
    SHADOW = 2
    SNOW = 4
    NO_OPTICAL = 8
    NO_SAR = 16
    SHIFTED = 32  # the SAR was moved onto the optical grid by a measured shift
    UNSCREENED = 64  # no cloud information came with the optical scene


def set_flag(quality: np.ndarray, flag: Quality, where: np.ndarray) -> None:
    """Set a flag of `quality` (..., y, x) uint8 in place, where `where` (..., y, x) bool says."""
    quality[where] |= np.uint8(flag)


class Chips(NamedTuple):
    """The chips of one block, halo included, in the order of `Grid.chip_slices`."""

    optical: np.ndarray  # (chip, band, y, x) uint16, reflectance x 1e4, 0 nodata
    sar: np.ndarray  # (chip, band, y, x) int16, dB x 100, -32768 nodata
    quality: np.ndarray  # (chip, y, x) uint8, `Quality` bits
    cloud: np.ndarray  # (chip, y, x) uint8, cloud probability 0-100, 255 unknown
    age: np.ndarray  # (chip, 2) int16, days from target date of optical, SAR; -32768 unknown
    shift: np.ndarray  # (chip, 2) float32, (dy, dx) of SAR to optical as measured, px; NaN: not
