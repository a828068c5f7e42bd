"""The files of one patch: read, checked, and turned into the numbers that a chip holds.

Public copies of a data set differ in how they store the same thing. What is taken:

    optical   integers: reflectance x 1e4, 0 nodata per band; floats: the same, or reflectance
              where no value of the file is above 10
    SAR       floats: dB; dB x 100 where a value is beyond 100; linear power where none is negative;
              int16: dB x 100
    label     class index 0-5, 255 unknown; 1-6, 0 or 255 unknown with `labels_from_1`
    cloud     1 cloud or shadow, 0 clear

The nodata value that a file of an image declares, and what is not finite, is nodata, too.
Everything else is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from model.inputs import INPUTS
from model.legend import IGNORE_INDEX, LULC6

BANDS = {"sar_vh": 1, "sar_vv": 1, "opt_cloudy": 12, "opt_clear": 12, "label": 1, "cloud": 1}
"""Kinds of files and how many bands they have."""

MULTIPLE = 32  # the network's coarsest stride
_SAR_NODATA = INPUTS.sar.nodata
_DECIBEL = (-100.0, 40.0)  # plausible backscatter


class Row(NamedTuple):
    """One row of a split."""

    name: str  # unique in its split
    place: str  # rows of one place are no independent samples
    where: str  # for errors: split and number
    files: dict[str, Path]  # by kind, see `BANDS`; opt_clear and cloud may be left out


class Patches(NamedTuple):
    """One split, decoded; memory-mapped when read by `dataset.decode`."""

    cloudy: np.ndarray  # (n, 12, y, x) uint16, reflectance x 1e4, 0 nodata
    clear: np.ndarray  # (n, 12, y, x) uint16, reflectance x 1e4, 0 nodata; all 0: there is none
    sar: np.ndarray  # (n, 2, y, x) int16, dB x 100, VV and VH, -32768 nodata
    label: np.ndarray  # (n, y, x) uint8, class index, 255 unknown


class Sample(NamedTuple):
    """One patch to be evaluated, padded with nodata to a multiple of 32 pixels."""

    name: str
    place: str
    size: tuple[int, int]  # (y, x) before it was padded
    optical: np.ndarray  # (12, y, x) uint16, the cloudy image, reflectance x 1e4, 0 nodata
    sar: np.ndarray  # (2, y, x) int16, dB x 100, VV and VH, -32768 nodata
    label: np.ndarray  # (y, x) uint8, class index, 255 unknown
    cloud: np.ndarray | None  # (y, x) bool, cloud or shadow; None: there is no mask


def read_patch(row: Row, labels_from_1: bool = False) -> Patches:
    """One patch without the leading axis, padded with nodata to a multiple of 32 pixels.

    Raises:
      ValueError: a file is missing or unreadable, has another number of bands or another shape than
        the others, or holds values outside the documented range; the message names the row.
    """
    arrays = _read(row)
    clear = arrays.get("opt_clear")
    return Patches(
        _padded(arrays["opt_cloudy"], INPUTS.optical.nodata),
        _padded(np.zeros_like(arrays["opt_cloudy"]) if clear is None else clear, 0),
        _padded(np.concatenate([arrays["sar_vv"], arrays["sar_vh"]]), _SAR_NODATA),
        _padded(_index(arrays["label"][0], row, labels_from_1), IGNORE_INDEX),
    )


def read_sample(row: Row, labels_from_1: bool = False) -> Sample:
    """One patch as a sample; its clear image, which no network is given, is checked alone.

    Raises:
      ValueError: see `read_patch`; or the cloud mask holds other values than 0 and 1.
    """
    arrays = _read(row)
    label = _index(arrays["label"][0], row, labels_from_1)
    return Sample(
        row.name,
        row.place,
        label.shape,
        _padded(arrays["opt_cloudy"], INPUTS.optical.nodata),
        _padded(np.concatenate([arrays["sar_vv"], arrays["sar_vh"]]), _SAR_NODATA),
        _padded(label, IGNORE_INDEX),
        _padded(arrays["cloud"][0], False) if "cloud" in arrays else None,
    )


def _padded(a: np.ndarray, value: int) -> np.ndarray:
    height, width = a.shape[-2:]
    pad = ((0, 0),) * (a.ndim - 2) + ((0, -height % MULTIPLE), (0, -width % MULTIPLE))
    return np.pad(a, pad, constant_values=value)


def _read(row: Row) -> dict[str, np.ndarray]:
    """Every file of a row, (band, y, x) by kind; labels as they are stored."""
    arrays = {}
    for kind, path in row.files.items():
        where = f"{row.where}: {path}"
        if not path.is_file():
            raise ValueError(f"{row.where}: {kind} file {path} is missing")
        try:
            with rasterio.open(path) as file:
                if file.count != BANDS[kind]:
                    raise ValueError(f"{where} has {file.count} bands, expected {BANDS[kind]}")
                stored, nodata = file.read(), file.nodata
        except RasterioError as e:
            raise ValueError(f"{where} cannot be read: {e}") from e
        if stored.dtype.kind not in "iuf":
            raise ValueError(f"{where} is {stored.dtype}, expected numbers")
        if kind.startswith("opt"):
            arrays[kind] = _reflectance(stored, nodata, where)
        elif kind.startswith("sar"):
            arrays[kind] = _decibel(stored, nodata, where)
        elif kind == "cloud":
            arrays[kind] = _mask(stored, where)
        else:
            arrays[kind] = stored  # a nodata value may well be that of a class: it is not looked at
    shapes = {kind: a.shape[1:] for kind, a in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"{row.where}: layers differ in shape (y, x): {shapes} ({row.files['label']})"
        )
    return arrays


def _known(a: np.ndarray, nodata: float | None) -> np.ndarray:
    known = np.isfinite(a)
    return known if nodata is None else known & (a != nodata)


def _reflectance(a: np.ndarray, nodata: float | None, where: str) -> np.ndarray:
    if a.dtype.itemsize == 1:
        raise ValueError(
            f"{where} is {a.dtype}, expected reflectance, or reflectance x 1e4 in 16 bits or more"
        )
    top = np.iinfo(np.uint16).max
    known = _known(a, nodata)
    if a.dtype.kind == "f" and known.any():
        low, high = a[known].min(), a[known].max()
        if high > top:
            raise ValueError(f"{where} holds {low:g} to {high:g}, expected reflectance (x 1e4)")
        if high <= 10:
            a = a * a.dtype.type(1e4)
        known &= a != 0
        a = np.where(known, np.clip(np.rint(np.where(known, a, 0)), 1, top), 0)
    return np.where(known, np.clip(a, 0, top), 0).astype(np.uint16)


def _decibel(a: np.ndarray, nodata: float | None, where: str) -> np.ndarray:
    if a.dtype == np.int16:
        return np.where(_known(a, nodata), a, np.int16(_SAR_NODATA))
    if a.dtype.kind != "f":
        raise ValueError(f"{where} is {a.dtype}, expected dB as float or dB x 100 as int16")
    known = _known(a, nodata)
    stored = a[known].astype(np.float64)
    if not stored.size:
        return np.full(a.shape, _SAR_NODATA, np.int16)
    decibel = stored
    if stored.min() >= 0 and np.median(stored) < 10:  # as dB: bright all over
        known[known] = stored > 0
        decibel = 10 * np.log10(stored[stored > 0])
    elif np.abs(stored).max() > 100:
        decibel = stored / 100
    if decibel.size and (decibel.min() < _DECIBEL[0] or decibel.max() > _DECIBEL[1]):
        raise ValueError(f"{where} holds {stored.min():g} to {stored.max():g}, expected dB")
    out = np.full(a.shape, _SAR_NODATA, np.int16)
    out[known] = np.rint(100 * decibel)
    return out


def _mask(a: np.ndarray, where: str) -> np.ndarray:
    if not np.isin(a, (0, 1)).all():
        raise ValueError(f"{where} holds {np.unique(a)[:5].tolist()}, expected 0 and 1")
    return a == 1


def _index(label: np.ndarray, row: Row, from_1: bool) -> np.ndarray:
    last, first, unknown = len(LULC6.classes) - 1 + from_1, int(from_1), 0 if from_1 else 255
    known = (label != unknown) & (label != IGNORE_INDEX)
    fits = (label >= first) & (label <= last) & (label == np.rint(label))
    wrong = np.unique(label[known & ~fits])
    if wrong.size:
        raise ValueError(
            f"{row.where}: {row.files['label']} holds labels {wrong[:5].tolist()}, expected "
            f"{first}-{last} or {unknown}; labels that start at 1 need --labels-from-1"
        )
    return np.where(known, label - first, IGNORE_INDEX).astype(np.uint8)
