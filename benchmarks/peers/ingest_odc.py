"""Peer of ingest: odc-stac and dask. Requires odc-stac 0.5.3, dask, zarr 3.1.6, numpy.

Usage: python benchmarks/peers/ingest_odc.py JOB.json, an output cube per line of standard input.

Every block is one lazy load onto its geobox; loads and writes of all blocks are one graph, so that
dask's threads read one block while another is written.
"""

from __future__ import annotations

import dask
import numpy as np
import odc.stac
import pystac
import xarray as xr
import zarr
from ingest_arrays import answer, write_block
from odc.geo.geobox import GeoBox


def main() -> None:
    # As odc-stac's documentation advises; here also what keeps GDAL from listing folders.
    odc.stac.configure_rio(cloud_defaults=True)
    answer(ingest)


def ingest(job: dict, cube: zarr.Group) -> None:
    optical, sar = (
        [pystac.Item.from_file(p) for p in job["scenes"][s]] for s in ("optical", "sar")
    )
    todo = []
    for block in job["blocks"]:
        where = {
            "geobox": GeoBox.from_bbox(
                block["bounds"], f"EPSG:{block['epsg']}", shape=tuple(block["shape"])
            ),
            "chunks": {"x": -1, "y": -1},
            "groupby": "solar_day",
            "resampling": {"*": "bilinear", "SCL": "nearest"},
        }
        seen = odc.stac.load(optical, bands=[*job["bands"]["optical"], "SCL"], **where)
        heard = odc.stac.load(sar, bands=job["bands"]["sar"], **where)
        todo.append(dask.delayed(_write)(cube, job, block["number"], seen, heard))
    with dask.config.set(scheduler="threads", num_workers=job["threads"]):
        dask.compute(*todo)


def _write(cube: zarr.Group, job: dict, number: int, seen: xr.Dataset, heard: xr.Dataset) -> None:
    optical = np.stack([seen[band].values[0] for band in job["bands"]["optical"]])
    sar = np.stack([heard[band].values[0] for band in job["bands"]["sar"]])
    write_block(cube, job, number, optical, seen["SCL"].values[0].astype(np.uint8), sar)


if __name__ == "__main__":
    main()
