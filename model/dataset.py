"""CloudLULC-Set's folder layout as training samples.

    SAR_S1/VH, SAR_S1/VV         one band each: backscatter in dB (float), or dB x 100 (int16,
                                 nodata -32768)
    Opt_S2_cloudy, Opt_S2_clear  12 bands B01 ... B8A, B09, B11, B12: reflectance x 1e4 (integer,
                                 0 nodata per band)
    Label                        one band: class index 0-5 in the order of `LULC6`, 255 unknown
                                 (1-6 and 0 unknown with `labels_from_1`)
    split/{train,val,test}.csv   split_id, sar_vh, sar_vv, opt_cloudy, opt_clear, label: paths below
                                 the root, or bare names in the folder of their kind

Everything is read and checked once, before training starts, and decoded to memory-mapped arrays.
"""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from model.inputs import INPUTS
from model.legend import IGNORE_INDEX, LULC6

SPLIT_IDS = {"train": 1, "val": 2, "test": 3}
LAYERS = {  # column of the CSV -> folder, bands
    "sar_vh": ("SAR_S1/VH", 1),
    "sar_vv": ("SAR_S1/VV", 1),
    "opt_cloudy": ("Opt_S2_cloudy", 12),
    "opt_clear": ("Opt_S2_clear", 12),
    "label": ("Label", 1),
}
MULTIPLE = 32  # the network's coarsest stride
_SAR_NODATA = INPUTS.sar.nodata


class Patches(NamedTuple):
    """One split, decoded; memory-mapped when read by `decode`."""

    cloudy: np.ndarray  # (n, 12, y, x) uint16, reflectance x 1e4, 0 nodata
    clear: np.ndarray  # (n, 12, y, x) uint16, reflectance x 1e4, 0 nodata
    sar: np.ndarray  # (n, 2, y, x) int16, dB x 100, VV and VH, -32768 nodata
    label: np.ndarray  # (n, y, x) uint8, class index, 255 unknown


def read_split(root: str | Path, split: str) -> list[dict[str, Path]]:
    """Rows of a split's CSV, column -> file.

    Raises:
      ValueError: the CSV is missing or empty, lacks a column, or holds another split's rows.
    """
    root = Path(root)
    path = root / "split" / f"{split}.csv"
    if split not in SPLIT_IDS:
        raise ValueError(f"split: got {split!r}, expected one of {list(SPLIT_IDS)}")
    if not path.is_file():
        raise ValueError(f"data set {root}: {path} is missing; expected CloudLULC-Set's layout")
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        lacking = {"split_id", *LAYERS} - set(reader.fieldnames or ())
        if lacking:
            raise ValueError(f"{path}: columns {sorted(lacking)} are missing")
        rows = []
        for number, row in enumerate(reader, 1):
            if row["split_id"].strip() != str(SPLIT_IDS[split]):
                raise ValueError(
                    f"{path} row {number}: got split_id {row['split_id']!r}, expected "
                    f"{SPLIT_IDS[split]} ({split})"
                )
            rows.append(
                {
                    column: root / (name if "/" in name else f"{folder}/{name}")
                    for column, (folder, _) in LAYERS.items()
                    for name in (row[column].strip(),)
                }
            )
    if not rows:
        raise ValueError(f"{path}: no rows")
    return rows


def read_patch(row: dict[str, Path], where: str, labels_from_1: bool = False) -> Patches:
    """One patch without the leading axis, padded with nodata to a multiple of 32 pixels.

    Args:
      row: column -> file.
      where: split and row, for errors.
      labels_from_1: labels are 1-6, and 0 is unknown.

    Raises:
      ValueError: a file is missing or unreadable, has another number of bands or another shape than
        the others, or holds values outside the documented range.
    """
    arrays = {}
    for column, (_, bands) in LAYERS.items():
        path = row[column]
        if not path.is_file():
            raise ValueError(f"{where}: {column} file {path} is missing")
        try:
            with rasterio.open(path) as file:
                if file.count != bands:
                    raise ValueError(f"{where}: {path} has {file.count} bands, expected {bands}")
                arrays[column] = file.read()
        except RasterioError as e:
            raise ValueError(f"{where}: {path} cannot be read: {e}") from e
    shapes = {column: a.shape[1:] for column, a in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{where}: layers differ in shape (y, x): {shapes} ({row['label']})")
    optical = [_reflectance(arrays[c], f"{where}: {row[c]}") for c in ("opt_cloudy", "opt_clear")]
    sar = [_decibel(arrays[c], f"{where}: {row[c]}") for c in ("sar_vv", "sar_vh")]
    label = _index(arrays["label"][0], f"{where}: {row['label']}", labels_from_1)
    height, width = label.shape
    pad = ((0, -height % MULTIPLE), (0, -width % MULTIPLE))
    return Patches(
        *(np.pad(a, ((0, 0), *pad)) for a in optical),
        np.pad(np.concatenate(sar), ((0, 0), *pad), constant_values=_SAR_NODATA),
        np.pad(label, pad, constant_values=IGNORE_INDEX),
    )


def _reflectance(a: np.ndarray, where: str) -> np.ndarray:
    if a.dtype.kind not in "iu":
        raise ValueError(f"{where} is {a.dtype}, expected integer reflectance x 1e4")
    return np.clip(a, 0, np.iinfo(np.uint16).max).astype(np.uint16)


def _decibel(a: np.ndarray, where: str) -> np.ndarray:
    if a.dtype == np.int16:
        return a
    if a.dtype.kind != "f":
        raise ValueError(f"{where} is {a.dtype}, expected dB as float or dB x 100 as int16")
    known = np.isfinite(a)
    if known.any() and (np.abs(a[known]) > 100).any():
        raise ValueError(f"{where} holds {a[known].min()} to {a[known].max()}, expected dB")
    return np.where(known, np.rint(100 * np.where(known, a, 0)), _SAR_NODATA).astype(np.int16)


def _index(label: np.ndarray, where: str, from_1: bool) -> np.ndarray:
    last, first, unknown = len(LULC6.classes) - 1 + from_1, int(from_1), 0 if from_1 else 255
    known = (label != unknown) & (label != IGNORE_INDEX)
    wrong = np.unique(label[known & ((label < first) | (label > last))])
    if wrong.size:
        raise ValueError(
            f"{where} holds labels {wrong[:5].tolist()}, expected {first}-{last} or {unknown}; "
            "labels that start at 1 need --labels-from-1"
        )
    return np.where(known, label - first, IGNORE_INDEX).astype(np.uint8)


def decode(
    root: str | Path, split: str, folder: str | Path, labels_from_1: bool = False
) -> Patches:
    """Reads and checks every file of a split and maps the decoded arrays into memory.

    Args:
      root: the data set.
      split: train, val or test.
      folder: where the decoded arrays go (about 0.85 MB per 128 x 128 patch); arrays that lie there
        already are taken if they were made from the same list of files of the same size and time.
      labels_from_1: labels are 1-6, and 0 is unknown.

    Raises:
      ValueError: see `read_split` and `read_patch`; or patches differ in size.
    """
    rows = read_split(root, split)
    folder = Path(folder) / split
    stamp = _fingerprint(rows, labels_from_1)
    done = folder / "decoded.json"
    if not (done.is_file() and json.loads(done.read_text()) == stamp):
        folder.mkdir(parents=True, exist_ok=True)
        done.unlink(missing_ok=True)
        arrays = None
        for number, row in enumerate(rows):
            where = f"split {split} row {number + 1}"
            patch = read_patch(row, where, labels_from_1)
            if arrays is None:
                arrays = [
                    np.lib.format.open_memmap(
                        folder / f"{name}.npy", "w+", a.dtype, (len(rows), *a.shape)
                    )
                    for name, a in zip(Patches._fields, patch, strict=True)
                ]
            for out, a in zip(arrays, patch, strict=True):
                if out.shape[1:] != a.shape:
                    raise ValueError(
                        f"{where}: patch of {patch.label.shape} pixels (padded), expected "
                        f"{arrays[3].shape[1:]} as in row 1 ({row['label']})"
                    )
                out[number] = a
        for out in arrays:
            out.flush()
        done.write_text(json.dumps(stamp))
    return Patches(*(np.load(folder / f"{n}.npy", mmap_mode="r") for n in Patches._fields))


def _fingerprint(rows: list[dict[str, Path]], labels_from_1: bool) -> dict:
    """Names, sizes and times of the files; a missing file shows up as size -1."""
    text = hashlib.sha256()
    for row in rows:
        for path in row.values():
            stat = path.stat() if path.is_file() else None
            size, time = (stat.st_size, stat.st_mtime_ns) if stat else (-1, -1)
            text.update(f"{path.resolve()} {size} {time}\n".encode())
    return {"files": text.hexdigest(), "patches": len(rows), "labels_from_1": labels_from_1}
