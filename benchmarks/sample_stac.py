"""Writes one acquisition of the sample as GeoTIFFs and a STAC item."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from affine import Affine
from pyproj import Transformer

from model.inputs import SENTINEL2_L2A

STAC_VERSION = "1.1.0"
EXTENSION = "https://stac-extensions.github.io/{}/schema.json"
GEOTIFF = "image/tiff; application=geotiff"

# Names of the scene classification of Sentinel-2 level 2A, by code.
SCL_CLASSES = (
    "no_data saturated_or_defective dark_area cloud_shadow vegetation not_vegetated water "
    "unclassified cloud_medium_probability cloud_high_probability thin_cirrus snow"
).split()


class Picture(NamedTuple):
    """One GeoTIFF to be: pixels (band, y, x) in the units of the original."""

    bands: tuple[str, ...]
    pixels: np.ndarray
    crs: str  # "EPSG:32631"
    transform: Affine
    roles: tuple[str, ...] = ("data",)


@dataclass(frozen=True)
class Shot:
    """One acquisition of one sensor, with all that is known about it."""

    origin: str
    sensor: str  # "sentinel-1" or "sentinel-2"
    id: str
    level: str  # "L1C", "L2A" or "GRD"
    pictures: dict[str, Picture]
    properties: dict
    time: datetime | None = None  # UTC
    range: tuple[str, str] | None = None  # where no time is known
    collection: str = field(init=False)

    def __post_init__(self):
        name = f"{self.origin}-{self.sensor}-{self.level.lower()}"
        object.__setattr__(self, "collection", name)


def write_item(out: Path, shot: Shot) -> dict:
    """Writes a shot's files under OUT/ORIGIN/COLLECTION/ITEM and returns its STAC item."""
    folder = out / shot.origin / shot.collection / shot.id
    folder.mkdir(parents=True)
    assets = {}
    for key, picture in shot.pictures.items():
        path = folder / f"{key}.tif"
        write_geotiff(path, picture)
        assets[key] = asset(path, picture, shot.sensor)
    corners, bbox = footprint(next(iter(shot.pictures.values())))
    extensions = ["projection/v2.0.0", "raster/v2.0.0", "processing/v1.1.0"]
    extensions += ["sar/v1.0.0"] if shot.sensor == "sentinel-1" else ["eo/v2.0.0"]
    if any(name.startswith("sat:") for name in shot.properties):
        extensions.append("sat/v1.0.0")
    if "SCL" in shot.pictures:
        extensions.append("classification/v2.0.0")
    known = {"datetime": None if shot.time is None else f"{shot.time:%Y-%m-%dT%H:%M:%SZ}"}
    if shot.range:
        known |= {"start_datetime": shot.range[0], "end_datetime": shot.range[1]}
    item = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": sorted(EXTENSION.format(name) for name in extensions),
        "id": shot.id,
        "collection": shot.collection,
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "bbox": bbox,
        "properties": known
        | {"constellation": shot.sensor, "processing:level": shot.level}
        | sensor_properties(shot.sensor)
        | {"proj:code": next(iter(shot.pictures.values())).crs}
        | shot.properties,
        "links": [
            {"rel": "root", "href": "../../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        ],
        "assets": assets,
    }
    write_json(folder / f"{shot.id}.json", item)
    return item


def sensor_properties(sensor: str) -> dict:
    if sensor == "sentinel-2":
        return {"instruments": ["msi"]}
    return {
        "instruments": ["c-sar"],
        "sar:instrument_mode": "IW",
        "sar:frequency_band": "C",
        "sar:center_frequency": 5.405,
        "sar:polarizations": ["VV", "VH"],
        "sar:product_type": "GRD",
    }


def write_geotiff(path: Path, picture: Picture) -> None:
    """Pixels unchanged, deflate without loss; one strip per band, since the pictures are small."""
    count, height, width = picture.pixels.shape
    profile = {
        "driver": "GTiff",
        "dtype": picture.pixels.dtype.name,
        "count": count,
        "height": height,
        "width": width,
        "crs": picture.crs,
        "transform": picture.transform,
        "nodata": np.nan if picture.pixels.dtype.kind == "f" else 0,
        "interleave": "band",
        "blockysize": height,
        "compress": "deflate",
        "zlevel": 9,
        "predictor": 3 if picture.pixels.dtype.kind == "f" else 2,
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(picture.pixels)
        file.descriptions = picture.bands


def asset(path: Path, picture: Picture, sensor: str) -> dict:
    size = abs(picture.transform.a)
    left, bottom, right, top = bounds(picture)
    entry = {
        "href": f"./{path.name}",
        "type": GEOTIFF,
        "roles": list(picture.roles),
        "proj:code": picture.crs,
        "proj:shape": list(picture.pixels.shape[1:]),
        "proj:transform": list(picture.transform)[:6],
        "proj:bbox": [left, bottom, right, top],
        "bands": [band(name, picture.pixels.dtype, size, sensor) for name in picture.bands],
    }
    if picture.bands == ("SCL",):
        entry["classification:classes"] = [
            {"value": value, "name": name} for value, name in enumerate(SCL_CLASSES)
        ]
    return entry


def band(name: str, dtype: np.dtype, size: float, sensor: str) -> dict:
    """STAC `bands` entry: physical value = stored number * raster:scale + raster:offset."""
    entry = {
        "name": name,
        "data_type": dtype.name,
        "nodata": "nan" if dtype.kind == "f" else 0,
        "raster:spatial_resolution": size,
    }
    if name == "SCL":
        return entry
    if sensor == "sentinel-1":
        scale = 1.0 if dtype.kind == "f" else 1e-4
        return entry | {"unit": "dB", "raster:scale": scale, "raster:offset": 0.0}
    entry |= {"unit": "1", "raster:scale": 1e-4, "raster:offset": 0.0}
    known = {b.name: (b.common_name, b.wavelength) for b in SENTINEL2_L2A.bands}
    common_name, wavelength = (known | {"B10": ("cirrus", 1.375)})[name]
    return entry | {"eo:common_name": common_name, "eo:center_wavelength": wavelength}


def bounds(picture: Picture) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) in metres."""
    _, height, width = picture.pixels.shape
    left, top = picture.transform.c, picture.transform.f
    right, bottom = picture.transform * (width, height)
    return left, bottom, right, top


def footprint(picture: Picture) -> tuple[list[list[float]], list[float]]:
    """Counter-clockwise ring and bounding box in degrees, 1e-7 degree (1 cm)."""
    left, bottom, right, top = bounds(picture)
    ring = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
    to_degrees = Transformer.from_crs(picture.crs, "EPSG:4326", always_xy=True)
    corners = [[round(v, 7) for v in to_degrees.transform(x, y)] for x, y in ring]
    box = to_degrees.transform_bounds(left, bottom, right, top, densify_pts=21)
    return corners, [round(v, 7) for v in box]


def write_json(path: Path, document: dict | list) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n")
