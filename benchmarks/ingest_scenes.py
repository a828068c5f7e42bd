"""A catalogue of COGs for `benchmarks.ingest`: Sentinel-2 L2A and Sentinel-1 RTC.

One COG per band in blocks of 512 px, DEFLATE with a predictor, overviews; bands of 10, 20 and 60 m
on their own grids; items with proj: fields. Ground, noise and clouds are made from a seed.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from rasterio import Affine
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from scipy.ndimage import uniform_filter, zoom

from model.inputs import INPUTS
from transforms.grid import GeoBox
from transforms.zones import geographic_bounds

SIZE = 3000  # px of 10 m to a side: 30 km
MARGIN = 570  # px of 10 m from the scene's corner to the first block, so that no blocks line up
OFFSET = 1000  # DN, since processing baseline 04.00

_TILES = {"blocksize": 512, "compress": "DEFLATE", "predictor": "YES"}
_PASSES = (("2024-06-05", 0.6), ("2024-06-13", 0.35), ("2024-06-25", 0.1))  # day, cloud
_SAR_DAYS = ("2024-06-12", "2024-06-24")
_SHOWN = 1  # the optical pass, and the first of SAR, that lie next to the target date


def write_scenes(folder: Path, block: GeoBox, seed: int) -> list[Path]:
    """Write scenes that show a block of the grid and those to its east and south; their items.

    Passes that are candidates and not chosen have items of their own and share the files.
    """
    edge = MARGIN * block.resolution
    # As granules of Sentinel-2 do: edges on multiples of 60 m.
    x0, y0 = ((v // 60) * 60.0 for v in (block.x0 - edge, block.y0 + edge))
    box = GeoBox(block.epsg, x0, y0, 10.0, SIZE, SIZE)
    random = np.random.default_rng(seed)
    ground = zoom(random.normal(size=(SIZE // 30, SIZE // 30)), 30, order=1).astype(np.float32)
    ground += uniform_filter(random.normal(size=box.shape).astype(np.float32), 5) * 4
    cloud = zoom(random.normal(size=(SIZE // 200, SIZE // 200)), 200, order=3)
    cloud = cloud > np.quantile(cloud, 1 - _PASSES[_SHOWN][1])
    cogs = folder / "cogs"
    cogs.mkdir(parents=True)
    for number, band in enumerate(INPUTS.optical.bands):
        step = band.resolution // 10
        light = 1500 + 120 * number + 350 * ground + 5500 * cloud
        light = light.reshape(SIZE // step, step, SIZE // step, step).mean(axis=(1, 3))
        light += random.normal(0, 20, light.shape)
        pixels = np.clip(np.rint(light), 50, 15000).astype(np.uint16) + np.uint16(OFFSET)
        _write_cog(cogs / f"{band.name}.tif", pixels, box, band.resolution, nodata=0)
    scl = np.where(cloud, 9, 4).reshape(SIZE // 2, 2, SIZE // 2, 2)[:, 0, :, 0].astype(np.uint8)
    _write_cog(cogs / "SCL.tif", scl, box, 20, nodata=0)
    for name, level in (("VV", 0.08), ("VH", 0.02)):
        speckle = random.gamma(4.4, 1 / 4.4, box.shape).astype(np.float32)
        _write_cog(cogs / f"{name}.tif", level * np.exp(0.4 * ground) * speckle, box, 10, -32768)
    items = [_optical(box, day, share) for day, share in _PASSES]
    items += [_sar(box, day) for day in _SAR_DAYS]
    paths = [folder / f"{item['id']}.json" for item in items]
    for path, item in zip(paths, items, strict=True):
        path.write_text(json.dumps(item, indent=1))
    return paths


def _write_cog(path: Path, pixels: np.ndarray, box: GeoBox, size: int, nodata: float) -> None:
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            crs=f"EPSG:{box.epsg}",
            transform=Affine(size, 0, box.x0, 0, -size, box.y0),
            count=1,
            height=pixels.shape[0],
            width=pixels.shape[1],
            dtype=pixels.dtype,
            nodata=nodata,
        ) as dataset:
            dataset.write(pixels, 1)
        copy(memory.name, path, driver="COG", **_TILES)


def _optical(box: GeoBox, day: str, cloud: float) -> dict:
    sizes = {band.name: band.resolution for band in INPUTS.optical.bands} | {"SCL": 20}
    assets = {
        name: _asset(box, name, size, {"nodata": 0, "data_type": "uint16"}
                     | ({} if name == "SCL" else {"scale": 1e-4, "offset": -OFFSET * 1e-4}))
        for name, size in sizes.items()
    }  # fmt: skip
    properties = {
        "datetime": f"{day}T10:30:00Z",
        "constellation": "sentinel-2",
        "eo:cloud_cover": 100 * cloud,
        "s2:processing_baseline": "05.10",
        "processing:level": "L2A",
    }
    return _item(box, f"S2A_{day}_L2A", "sentinel-2-l2a", properties, assets)


def _sar(box: GeoBox, day: str) -> dict:
    of_band = {"nodata": -32768, "data_type": "float32", "unit": "linear"}
    assets = {name: _asset(box, name, 10, of_band) for name in INPUTS.sar.names}
    properties = {
        "datetime": f"{day}T17:00:00Z",
        "constellation": "sentinel-1",
        "sat:orbit_state": "ascending",
        "cloudlulc:backscatter": "gamma0",
    }
    return _item(box, f"S1A_{day}_rtc", "sentinel-1-rtc", properties, assets)


def _asset(box: GeoBox, name: str, size: int, of_band: dict) -> dict:
    side = SIZE * 10 // size
    return {
        "href": f"./cogs/{name}.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "proj:shape": [side, side],
        "proj:transform": [size, 0, box.x0, 0, -size, box.y0],
        "eo:bands": [{"name": name}],
        "raster:bands": [of_band],
    }


def _item(box: GeoBox, name: str, collection: str, properties: dict, assets: dict) -> dict:
    west, south, east, north = geographic_bounds(box.epsg, box.bounds)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    extensions = ("eo/v1.1.0", "projection/v1.1.0", "raster/v1.1.0")
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            f"https://stac-extensions.github.io/{extension}/schema.json" for extension in extensions
        ],
        "id": name,
        "collection": collection,
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "links": [],
        "properties": properties | {"proj:epsg": box.epsg},
        "assets": assets,
    }
