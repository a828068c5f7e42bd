"""Peer of ingest: a loop of rasterio and Zarr. Requires rasterio 1.4.4, zarr 3.1.6, numpy.

Usage: python benchmarks/peers/ingest_gdal.py JOB.json, an output cube per line of standard input.

Every file is opened once, and every block is a window of it: as it is where pixels have 10 m, by
GDAL's bilinear resampling where they are larger.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import rasterio
import zarr
from ingest_arrays import answer, write_block
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.windows import from_bounds

NEAREST = ("SCL",)


def ingest(job: dict, cube: zarr.Group) -> None:
    bands = job["bands"]["optical"], job["bands"]["sar"]
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), ExitStack() as stack:
        files = {}
        for (path,) in job["scenes"].values():
            assets = json.loads(Path(path).read_text())["assets"]
            for band, asset in assets.items():
                href = Path(path).parent / asset["href"]
                files[band] = stack.enter_context(rasterio.open(href))
        for block in job["blocks"]:
            optical, sar = (np.stack([_read(files, b, block) for b in names]) for names in bands)
            write_block(cube, job, block["number"], optical, _read(files, "SCL", block), sar)


def _read(files: dict[str, DatasetReader], band: str, block: dict) -> np.ndarray:
    file = files[band]
    return file.read(
        1,
        window=from_bounds(*block["bounds"], file.transform),
        out_shape=tuple(block["shape"]),
        resampling=Resampling.nearest if band in NEAREST else Resampling.bilinear,
    )


if __name__ == "__main__":
    answer(ingest)
