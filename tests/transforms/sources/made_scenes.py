"""Small GeoTIFFs with STAC items, made for the tests of sources."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import rasterio
from pyproj import Transformer
from rasterio import Affine

from transforms.grid import GeoBox


def write_tif(path: Path, pixels: np.ndarray, geobox: GeoBox, **profile) -> None:
    """Pixels (band, y, x) as a tiled GeoTIFF."""
    pixels = pixels if pixels.ndim == 3 else pixels[None]
    defaults = {
        "driver": "GTiff",
        "crs": f"EPSG:{geobox.epsg}",
        "transform": Affine.from_gdal(*geobox.gdal_transform),
        "tiled": True,
        "blockxsize": 32,
        "blockysize": 32,
        "count": len(pixels),
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **(defaults | profile)) as dataset:
        dataset.write(pixels)


def footprint(geobox: GeoBox) -> list[float]:
    to_geographic = Transformer.from_crs(geobox.epsg, 4326, always_xy=True)
    return list(to_geographic.transform_bounds(*geobox.bounds))


def optical_item(name: str, day: str, box: GeoBox, **properties) -> dict:
    """STAC 1.0: one file of two 10 m bands, one 20 m band, SCL at 20 m."""
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "bbox": footprint(box),
        "geometry": None,
        "links": [],
        "properties": {
            "datetime": f"{day}T10:30:00Z",
            "constellation": "sentinel-2",
            "processing:level": "L2A",
            "eo:cloud_cover": 25.0,
            "proj:epsg": box.epsg,
        }
        | properties,
        "assets": {
            "ten": {
                "href": f"./{name}_10m.tif",
                "eo:bands": [
                    {"name": "B02", "common_name": "blue"},
                    {"name": "B03", "common_name": "green"},
                ],
                "raster:bands": [{"scale": 1e-4, "nodata": 0}, {"scale": 1e-4, "nodata": 0}],
            },
            "B05": {"href": f"./{name}_20m.tif", "type": "image/tiff; application=geotiff"},
            "scl": {"href": f"./{name}_scl.tif"},
        },
    }


def sar_item(name: str, day: str, box: GeoBox, **properties) -> dict:
    """STAC 1.1: one file per polarisation."""
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "bbox": footprint(box),
        "geometry": None,
        "links": [],
        "properties": {
            "datetime": f"{day}T17:00:00Z",
            "platform": "sentinel-1a",
            "sat:orbit_state": "ascending",
            "cloudlulc:backscatter": "sigma0",
            "proj:code": f"EPSG:{box.epsg}",
        }
        | properties,
        "assets": {
            key: {"href": f"{name}_{key}.tif", "bands": [{"name": key.upper(), "unit": "dB"}]}
            for key in ("vv", "vh")
        },
    }


BOX = GeoBox(32633, 500_000.0, 5_200_000.0, 10.0, 120, 100)
"""Where the made scenes lie, at 10 m."""


def write_scenes(folder: Path) -> Path:
    """Two optical scenes and two SAR scenes with random pixels and a hole; the folder."""
    random = np.random.default_rng(0)
    half = BOX._replace(resolution=20.0, width=BOX.width // 2, height=BOX.height // 2)
    for name, day in (("optical-a", "2024-06-10"), ("optical-b", "2024-06-15")):
        ten = random.integers(1, 9000, (2, *BOX.shape)).astype(np.uint16)
        ten[:, 40:50, 60:80] = 0
        write_tif(folder / f"{name}_10m.tif", ten, BOX, nodata=0)
        twenty = random.integers(1, 9000, half.shape).astype(np.uint16)
        twenty[20:25, 30:40] = 0
        write_tif(folder / f"{name}_20m.tif", twenty, half)
        write_tif(
            folder / f"{name}_scl.tif", random.integers(0, 12, half.shape).astype(np.uint8), half
        )
        save(folder / f"{name}.json", optical_item(name, day, BOX))
    for name, day in (("sar-a", "2024-06-09"), ("sar-b", "2024-06-15")):
        for key in ("vv", "vh"):
            decibel = random.normal(-12, 3, BOX.shape).astype(np.float32)
            decibel[:, :3] = np.nan
            write_tif(folder / f"{name}_{key}.tif", decibel, BOX)
        save(folder / f"{name}.json", sar_item(name, day, BOX))
    return folder


def save(path: Path, document: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
