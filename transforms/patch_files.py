"""Patches as files in CloudLULC-Set's layout, and the records and lists that name them."""

from __future__ import annotations

import csv
import io

import numpy as np

from model.dataset import CLOUD, COLUMNS, FOLDERS, SPLIT_IDS
from model.inputs import INPUTS
from model.legend import IGNORE_INDEX
from transforms.grid import GeoBox
from transforms.labelled_patches import Patch
from transforms.store import join, write_bytes


def write_patch(root: str, name: str, patch: Patch) -> dict[str, str]:
    """Write a patch's files; the cells of its row in a split's CSV, by column."""
    layers = {
        "sar_vh": (patch.sar[INPUTS.sar.names.index("VH")][None], INPUTS.sar.nodata),
        "sar_vv": (patch.sar[INPUTS.sar.names.index("VV")][None], INPUTS.sar.nodata),
        "opt_cloudy": (patch.optical, INPUTS.optical.nodata),
        "opt_clear": (patch.clear, INPUTS.optical.nodata),
        "label": (patch.label[None], IGNORE_INDEX),
        CLOUD: (patch.cloud[None].astype(np.uint8), None),
    }
    folders = FOLDERS | {CLOUD: CLOUD}
    cells = {}
    for column, (pixels, nodata) in layers.items():
        cells[column] = ""
        if pixels is not None:
            cells[column] = f"{folders[column]}/{name}.tif"
            write_bytes(join(root, cells[column]), _geotiff(pixels, patch.geobox, nodata))
    return cells


def _geotiff(pixels: np.ndarray, geobox: GeoBox, nodata: float | None) -> bytes:
    from rasterio import Affine
    from rasterio.io import MemoryFile

    x0, dx, _, y0, _, dy = geobox.gdal_transform
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            count=len(pixels),
            height=geobox.height,
            width=geobox.width,
            dtype=pixels.dtype,
            nodata=nodata,
            crs=f"EPSG:{geobox.epsg}",
            transform=Affine(dx, 0, x0, 0, dy, y0),
            compress="deflate",
            predictor=2,
        ) as file:
            file.write(pixels)
        return bytes(memory.getbuffer())


def write_split(root: str, split: str, rows: list[dict[str, str]]) -> None:
    """Write a split's CSV; rows hold all columns but `split_id`."""
    columns = (*COLUMNS, "place", CLOUD)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({"split_id": SPLIT_IDS[split], **row} for row in rows)
    write_bytes(join(root, "split", f"{split}.csv"), text.getvalue().encode())
