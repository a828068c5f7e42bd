"""Small data sets in CloudLULC-Set's layout."""

import csv
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

FOLDERS = {
    "sar_vh": "SAR_S1/VH",
    "sar_vv": "SAR_S1/VV",
    "opt_cloudy": "Opt_S2_cloudy",
    "opt_clear": "Opt_S2_clear",
    "label": "Label",
}


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(array), height=array.shape[1], width=array.shape[2],
        dtype=array.dtype, crs="EPSG:32633", transform=from_origin(500000, 5000000, 10, 10),
    ) as file:  # fmt: skip
        file.write(array)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def make_set(
    root: Path, covers: tuple[float, ...], size=(32, 32), masks=True, split=("test", 3)
) -> Path:
    """A data set with one patch p0, p1, ... a cover: its upper rows are under cloud."""
    rng = np.random.default_rng(0)
    rows = []
    for i, cover in enumerate(covers):
        clear = rng.integers(300, 3000, (12, *size)).astype(np.uint16)
        clouded = np.zeros(size, bool)
        clouded[: round(cover * size[0])] = True
        label = rng.integers(0, 6, (1, *size)).astype(np.uint8)
        label[0, :, 0] = 255
        arrays = {
            "sar_vh": rng.normal(-18, 2, (1, *size)).astype(np.float32),
            "sar_vv": rng.normal(-11, 2, (1, *size)).astype(np.float32),
            "opt_cloudy": np.where(clouded, np.uint16(8000), clear),
            "opt_clear": clear,
            "label": label,
        }
        for column, folder in FOLDERS.items():
            write(root / folder / f"p{i}.tif", arrays[column])
        if masks:
            write(root / "cloud" / f"p{i}.tif", clouded[None].astype(np.uint8))
        rows.append({"split_id": split[1], **dict.fromkeys(FOLDERS, f"p{i}.tif")})
    path = root / "split" / f"{split[0]}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root
