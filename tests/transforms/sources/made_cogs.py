"""Scenes as STAC APIs have them: one COG per band, items in the dialects of the presets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rasterio import Affine
from rasterio.io import MemoryFile
from rasterio.shutil import copy

from tests.transforms.sources.made_scenes import footprint
from transforms.grid import GeoBox
from transforms.sources.presets import Catalog, Product

BOX = GeoBox(32633, 500_000.0, 5_200_000.0, 10.0, 240, 180)
"""Where the scenes lie, at 10 m."""

_ASSETS = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1",
    "B06": "rededge2", "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09",
    "B11": "swir16", "B12": "swir22", "SCL": "scl",
}  # fmt: skip
"""The names of Earth Search v1."""

_PIXELS = dict.fromkeys(_ASSETS, 20) | dict.fromkeys(("B02", "B03", "B04", "B08"), 10)
_PIXELS |= {"B01": 60, "B09": 60}


def write_cog(path: Path, pixels: np.ndarray, box: GeoBox, **profile) -> None:
    """Pixels (y, x) as a COG in blocks of 128 px."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            crs=f"EPSG:{box.epsg}",
            transform=Affine.from_gdal(*box.gdal_transform),
            count=1,
            height=pixels.shape[0],
            width=pixels.shape[1],
            dtype=pixels.dtype,
            **profile,
        ) as dataset:
            dataset.write(pixels, 1)
        copy(memory.name, path, driver="COG", blocksize=128, compress="DEFLATE")


def write_cogs(folder: Path) -> None:
    """Two optical scenes and two SAR scenes, each with a hole."""
    random = np.random.default_rng(5)
    for day in ("10", "15"):
        for band, size in _PIXELS.items():
            box = _at(size)
            if band == "SCL":
                pixels = random.integers(1, 12, box.shape).astype(np.uint8)
            else:
                pixels = random.integers(1, 12000, box.shape).astype(np.uint16)
                pixels[: 60 // size * 5, -60 // size * 5 :] = 0
            write_cog(folder / "cogs" / f"optical-{day}" / f"{band}.tif", pixels, box)
        for key in ("vv", "vh"):
            pixels = random.gamma(4, 0.02, BOX.shape).astype(np.float32)
            pixels[:, :7] = -32768
            write_cog(folder / "cogs" / f"sar-{day}" / f"{key}.tif", pixels, BOX, nodata=-32768)


def items(address: str) -> list[dict]:
    """Items of the scenes: optical ones as Earth Search v1 has them, SAR as Planetary Computer.

    Args:
      address: that the hrefs start with, in front of "/cogs/...".
    """
    return [
        *(optical_item(f"S2A_33TWM_202406{d}_0_L2A", d, address) for d in ("10", "15")),
        *(sar_item(f"S1A_IW_GRDH_202406{d}_rtc", d, address) for d in ("10", "15")),
    ]


def optical_item(name: str, day: str, address: str, **properties) -> dict:
    return _item(name, "sentinel-2-l2a") | {
        "properties": {
            "datetime": f"2024-06-{day}T10:30:00Z",
            "platform": "sentinel-2a",
            "constellation": "sentinel-2",
            "eo:cloud_cover": 25.0,
            "proj:epsg": BOX.epsg,
            "s2:processing_baseline": "05.11",
            "earthsearch:boa_offset_applied": True,
        }
        | properties,
        "assets": {
            key: {
                "href": f"{address}/cogs/optical-{day}/{band}.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "raster:bands": [
                    {"nodata": 0}
                    | ({} if band == "SCL" else {"scale": 1e-4, "offset": -0.1})
                ],
            }
            for band, key in _ASSETS.items()
        },
    }  # fmt: skip


def sar_item(name: str, day: str, address: str, keys=("vv", "vh"), **properties) -> dict:
    return _item(name, "sentinel-1-rtc") | {
        "properties": {
            "datetime": f"2024-06-{day}T17:00:00Z",
            "platform": "SENTINEL-1A",
            "constellation": "Sentinel-1",
            "sat:orbit_state": "ascending",
            "sar:product_type": "GRD",
            "sar:polarizations": [key.upper() for key in keys],
            "proj:code": f"EPSG:{BOX.epsg}",
        }
        | properties,
        "assets": {
            key: {
                "href": f"{address}/cogs/sar-{day}/{key}.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "raster:bands": [{"nodata": -32768, "data_type": "float32"}],
            }
            for key in keys
        },
    }


def catalog(url: str, name: str = "made", **fields) -> Catalog:
    """The configuration that fits the items."""
    return Catalog(
        name,
        url,
        optical=Product(("sentinel-2-l2a",), level="L2A", offset="baseline"),
        sar=Product(
            ("sentinel-1-rtc",), unit="linear", calibration="gamma0", terrain_corrected=True
        ),
        **fields,
    )


def _item(name: str, collection: str) -> dict:
    west, south, east, north = box = footprint(BOX)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "bbox": box,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "links": [],
    }


def _at(size: int) -> GeoBox:
    steps = size // 10
    return BOX._replace(
        resolution=float(size), width=BOX.width // steps, height=BOX.height // steps
    )
