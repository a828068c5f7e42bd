"""CloudLULC-Set's folder layout: which files make a sample, and a split as arrays or one by one.

    SAR_S1/VH, SAR_S1/VV         one band each
    Opt_S2_cloudy, Opt_S2_clear  12 bands B01 ... B8A, B09, B11, B12
    Label                        one band
    cloud                        optional: one band, 1 cloud or shadow and 0 clear, for the cloudy
                                 image of the same name
    split/{train,val,test}.csv   split_id, sar_vh, sar_vv, opt_cloudy, opt_clear, label: paths below
                                 the root or in the folder of their kind, with or without .tif;
                                 a file without header has these columns in this order

An `opt_clear` may be empty: there is no clear image. Further columns are allowed; `place` groups
samples that show one place, and `cloud` names masks. See `model.patch` for the files' values.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from model.patch import Patches, Row, Sample, read_patch, read_sample

SPLIT_IDS = {"train": 1, "val": 2, "test": 3}
FOLDERS = {  # column of the CSV -> folder
    "sar_vh": "SAR_S1/VH",
    "sar_vv": "SAR_S1/VV",
    "opt_cloudy": "Opt_S2_cloudy",
    "opt_clear": "Opt_S2_clear",
    "label": "Label",
}
COLUMNS = ("split_id", *FOLDERS)
CLOUD = "cloud"  # folder and column of the masks
_NAMED = 10  # faults that an error names at most
_READERS = 4  # patches that are checked at a time


def read_split(root: str | Path, split: str) -> list[Row]:
    """Rows of a split's CSV.

    Raises:
      ValueError: the CSV is missing or empty, lacks a column, or holds another split's rows.
    """
    root = Path(root)
    path = root / "split" / f"{split}.csv"
    if split not in SPLIT_IDS:
        raise ValueError(f"split: got {split!r}, expected one of {list(SPLIT_IDS)}")
    if not path.is_file():
        raise ValueError(f"data set {root}: {path} is missing; expected CloudLULC-Set's layout")
    rows = [
        _row(root, split, number, cells, path) for number, cells in enumerate(_table(path), start=1)
    ]
    if not rows:
        raise ValueError(f"{path}: no rows")
    return _named_apart(rows)


def _table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV by column."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = [[cell.strip() for cell in line] for line in csv.reader(file) if any(line)]
    if not lines:
        return []
    header = [cell.lower() for cell in lines[0]]
    if not set(header) & set(COLUMNS):
        if len(header) != len(COLUMNS):
            raise ValueError(
                f"{path}: {len(header)} columns without a header, expected {', '.join(COLUMNS)}"
            )
        header, lines = list(COLUMNS), [[], *lines]
    if lacking := set(COLUMNS) - set(header):
        raise ValueError(f"{path}: columns {sorted(lacking)} are missing")
    for number, line in enumerate(lines[1:], start=1):
        if len(line) != len(header):
            raise ValueError(
                f"{path} row {number}: {len(line)} columns, expected {len(header)}: "
                f"{', '.join(header)}"
            )
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def _row(root: Path, split: str, number: int, cells: dict[str, str], path: Path) -> Row:
    if cells["split_id"].lower() not in (str(SPLIT_IDS[split]), split):
        raise ValueError(
            f"{path} row {number}: got split_id {cells['split_id']!r}, expected "
            f"{SPLIT_IDS[split]} ({split})"
        )
    files = {}
    for column, folder in FOLDERS.items():
        if cells[column]:
            files[column] = _file(root, folder, cells[column])
        elif column != "opt_clear":
            raise ValueError(f"{path} row {number}: {column} is empty, expected a file")
    masks = root / CLOUD
    if cells.get(CLOUD):
        files[CLOUD] = _file(root, CLOUD, cells[CLOUD])
    elif masks.is_dir():
        names = [files[column].name for column in ("opt_cloudy", "label")]
        files[CLOUD] = next((p for n in names if (p := masks / n).is_file()), masks / names[0])
    name = files["label"].stem
    return Row(name, cells.get("place") or name, f"split {split} row {number}", files)


def _file(root: Path, folder: str, name: str) -> Path:
    """The file that a cell means: below the root or its folder, with or without extension."""
    name = name.replace("\\", "/")
    places = [root / folder / name] if "/" not in name else [root / name, root / folder / name]
    for path in places:
        for extension in ("", ".tif", ".tiff", ".TIF"):
            if (whole := path.with_name(path.name + extension)).is_file():
                return whole
    return places[0]


def _named_apart(rows: list[Row]) -> list[Row]:
    """Rows whose names are unique: where several share a label, by their cloudy image, or row."""
    for other in (
        lambda row: row.files["opt_cloudy"].stem,
        lambda row: f"{row.name} ({row.where.rpartition(' ')[2]})",
    ):
        count = Counter(row.name for row in rows)
        rows = [row if count[row.name] == 1 else row._replace(name=other(row)) for row in rows]
    return rows


def read_samples(
    root: str | Path, split: str = "test", labels_from_1: bool = False
) -> Iterator[Sample]:
    """The samples of a split, one by one, in the order of its rows; see `check`.

    Raises:
      ValueError: see `read_split` and `read_sample`.
    """
    return (read_sample(row, labels_from_1) for row in read_split(root, split))


def check(rows: Sequence[Row], labels_from_1: bool = False, keep: int = 0) -> dict[str, Sample]:
    """Reads every file of a split, so that what is wrong shows before the work begins.

    Args:
      rows: of the split.
      labels_from_1: labels are 1-6, and 0 is unknown.
      keep: bytes of samples that are kept for those who need them next.

    Returns:
      The first samples, by name, as many as fit.

    Raises:
      ValueError: files are corrupt or foreign; each is named with its row.
    """
    kept, faults = {}, []
    with ThreadPoolExecutor(_READERS) as pool:
        for read in pool.map(lambda row: _sample_or_fault(row, labels_from_1), rows):
            if isinstance(read, str):
                faults.append(read)
                continue
            keep -= sum(part.nbytes for part in read if isinstance(part, np.ndarray))
            if keep >= 0:
                kept[read.name] = read
    _raise(faults)
    return kept


def _sample_or_fault(row: Row, labels_from_1: bool) -> Sample | str:
    try:
        return read_sample(row, labels_from_1)
    except ValueError as error:
        return str(error)


def _raise(faults: list[str]) -> None:
    if faults:
        more = [f"... and {len(faults) - _NAMED} more rows"] if len(faults) > _NAMED else []
        raise ValueError("\n".join([*faults[:_NAMED], *more]))


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
      ValueError: see `read_split` and `read_patch`; or patches differ in size. All that is wrong
        is named.
    """
    rows = read_split(root, split)
    folder = Path(folder) / split
    stamp = fingerprint(rows, labels_from_1)
    done = folder / "decoded.json"
    if not (done.is_file() and json.loads(done.read_text()) == stamp):
        folder.mkdir(parents=True, exist_ok=True)
        done.unlink(missing_ok=True)
        arrays, faults = None, []
        for number, row in enumerate(rows):
            try:
                patch = read_patch(row, labels_from_1)
            except ValueError as error:
                faults.append(str(error))
                continue
            if arrays is None:
                arrays = [
                    np.lib.format.open_memmap(
                        folder / f"{name}.npy", "w+", a.dtype, (len(rows), *a.shape)
                    )
                    for name, a in zip(Patches._fields, patch, strict=True)
                ]
            if arrays[3].shape[1:] != patch.label.shape:
                faults.append(
                    f"{row.where}: patch of {patch.label.shape} pixels (padded), expected "
                    f"{arrays[3].shape[1:]} as in the rows before ({row.files['label']})"
                )
                continue
            for out, a in zip(arrays, patch, strict=True):
                out[number] = a
        _raise(faults)
        for out in arrays:
            out.flush()
        done.write_text(json.dumps(stamp))
    return Patches(*(np.load(folder / f"{n}.npy", mmap_mode="r") for n in Patches._fields))


def fingerprint(rows: Sequence[Row], labels_from_1: bool) -> dict:
    """Names, sizes and times of the files; a missing file shows up as size -1."""
    text = hashlib.sha256()
    for row in rows:
        for path in row.files.values():
            stat = path.stat() if path.is_file() else None
            size, time = (stat.st_size, stat.st_mtime_ns) if stat else (-1, -1)
            text.update(f"{path.resolve()} {size} {time}\n".encode())
    return {"files": text.hexdigest(), "patches": len(rows), "labels_from_1": labels_from_1}
