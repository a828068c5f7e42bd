"""What both peers of `benchmarks.ingest` do between reading and the end: the chips of a block.

Written as a user of numpy and Zarr would who knows the archive: reflectance without its offset,
backscatter in dB, clouds by the scene classification. Nothing is looked for or checked.

A job is a JSON document: `bands` of both sensors, `scenes` (paths of the items), `blocks` (number
and geobox), `chips` (slices in a block), `threads`. The cubes exist already, metadata only.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np
import zarr


def answer(ingest: Callable[[dict, zarr.Group], None]) -> None:
    """Ingest into every cube that a line of standard input names; answer with the seconds taken."""
    with open(sys.argv[1]) as file:
        job = json.load(file)
    for line in sys.stdin:
        began = time.perf_counter()
        ingest(job, zarr.open_group(line.strip(), mode="r+", use_consolidated=False))
        print(json.dumps(time.perf_counter() - began), flush=True)


def write_block(
    cube: zarr.Group, job: dict, number: int, optical: np.ndarray, scl: np.ndarray, sar: np.ndarray
) -> None:
    """Write the chips of a block, one whole shard per array.

    Args:
      cube: of the tile.
      job: see above.
      number: of the block.
      optical: (band, y, x) uint16, DN, 0 nodata.
      scl: (y, x) uint8.
      sar: (band, y, x) float32, linear power, -32768 nodata.
    """
    reflectance = np.where(optical == 0, 0, np.maximum(optical, 1001) - 1000).astype(np.uint16)
    echo = sar > 0
    decibel = np.full(sar.shape, -32768, np.int16)
    decibel[echo] = np.rint(1000 * np.log10(sar[echo]))
    valid, heard = reflectance.any(axis=0), echo.any(axis=0)
    cloudy = valid & np.isin(scl, (8, 9, 10))
    quality = cloudy * np.uint8(1) + (valid & (scl == 3)) * np.uint8(2)
    quality += (valid & (scl == 11)) * np.uint8(4) + ~valid * np.uint8(8) + ~heard * np.uint8(16)
    cloud = np.where(cloudy, 100, np.where(valid & (scl != 0), 0, 255)).astype(np.uint8)

    slices = [(slice(*y), slice(*x)) for y, x in job["chips"]]
    where = slice(number * len(slices), (number + 1) * len(slices))
    planes = {"optical": reflectance, "sar": decibel, "cloud": cloud, "quality": quality}
    for name, plane in planes.items():
        cube[name][where] = np.stack([plane[..., y, x] for y, x in slices])
