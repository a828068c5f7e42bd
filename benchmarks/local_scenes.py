"""One Sentinel-2 and one Sentinel-1 scene of a made planet as COGs with STAC items, on local disk.

As users have them: a file a band in its native 10, 20 or 60 m, DEFLATE, blocks of 512 px,
Sentinel-2 with the offset of its processing baseline, Sentinel-1 terrain-corrected, in dB. Files
are named as toolkits expect: as ESA names bands, and as the Alaska Satellite Facility does.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
import shapely
from pyproj import Transformer

from model.inputs import INPUTS
from transforms.grid import BlockKey, GeoBox, Grid
from transforms.period import Period
from transforms.scene import SENTINEL1, SENTINEL2, Scene
from transforms.sources.synthetic import SyntheticSource

DAY = date(2024, 6, 17)  # both sensors pass within a day of it
OFFSET = 1000  # DN, of Sentinel-2's processing baselines from 04.00 on
MARGIN = (
    600.0  # m of the scenes around the area: its windows are not aligned with the files' blocks
)

FIRST = BlockKey(31, 5, 60, 2, 2)
"""The area's upper left block."""


def area(grid: Grid, blocks: int) -> GeoBox:
    """What so many blocks a side answer for, from `FIRST` on."""
    box, side = grid.core_geobox(FIRST), blocks * grid.block_core_size
    return box._replace(width=side, height=side)


def write_region(path: Path, box: GeoBox, inset: float) -> None:
    """A GeoJSON polygon of the box less `inset` m a side, whose edges are straight in its CRS."""
    left, bottom, right, top = box.bounds
    inner = shapely.box(left + inset, bottom + inset, right - inset, top - inset)
    to_degrees = Transformer.from_crs(box.epsg, 4326, always_xy=True)
    ring = shapely.transform(
        shapely.segmentize(inner, 500.0), to_degrees.transform, interleaved=False
    )
    path.write_text(shapely.to_geojson(ring))


def write_scenes(folder: Path, grid: Grid, blocks: int, seed: int, cloud: float) -> None:
    """Scenes that show `area(grid, blocks)` with its halo, and `items.json` beside them."""
    folder.mkdir(parents=True)
    box = _around(area(grid, blocks), grid.halo * grid.resolution + MARGIN)
    source = SyntheticSource(seed, cloud)
    scenes = source.search(_degrees(box), Period.around(DAY, 6, 6))
    nearest = [
        min((s for s in scenes if s.sensor == sensor), key=lambda s: abs(s.start.date() - DAY))
        for sensor in (SENTINEL2, SENTINEL1)
    ]
    west, south, east, north = _degrees(box)
    everywhere = west - 1, south - 1, east + 1, north + 1  # the planet's own scenes may end here
    items = [
        _write_scene(folder, source, scene._replace(footprint=everywhere), box) for scene in nearest
    ]
    collection = {"type": "FeatureCollection", "features": items}
    (folder / "items.json").write_text(json.dumps(collection, indent=1))


def _write_scene(folder: Path, source: SyntheticSource, scene: Scene, box: GeoBox) -> dict:
    optical = scene.sensor == SENTINEL2
    spec = INPUTS.optical if optical else INPUTS.sar
    sizes = {band.name: band.resolution for band in spec.bands} | ({"SCL": 20} if optical else {})
    stamp = f"{scene.time:%Y%m%dT%H%M%S}"
    name = f"T31UES_{stamp}" if optical else f"S1A_IW_{stamp}_DVP_RTC10_G_gduned_0001"
    assets = {}
    for band, size in sizes.items():
        at = box._replace(
            resolution=float(size),
            width=box.width * 10 // size,
            height=box.height * 10 // size,
        )
        pixels = source.read(scene, at, (band,)).pixels[0]
        if optical and band != "SCL":
            pixels = pixels + np.uint16(OFFSET)
        path = folder / f"{name}_{band}.tif"
        _write_cog(path, pixels, at)
        fields = {"scale": 1e-4, "offset": -OFFSET * 1e-4, "nodata": 0}
        fields = fields if optical else {"unit": "dB", "nodata": "nan"}
        assets[band] = {
            "href": f"./{path.name}",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "raster:bands": [{"nodata": 0} if band == "SCL" else fields],
        }
    said = {"constellation": scene.sensor, "proj:epsg": box.epsg}
    said |= (
        {"processing:level": "L2A", "s2:processing_baseline": "05.11", "eo:cloud_cover": 30.0}
        if optical
        else {"cloudlulc:backscatter": "gamma0", "sat:orbit_state": scene.orbit}
    )
    west, south, east, north = _degrees(box)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "links": [],
        "properties": {"datetime": f"{scene.time:%Y-%m-%dT%H:%M:%SZ}"} | said,
        "assets": assets,
    }


def _write_cog(path: Path, pixels: np.ndarray, box: GeoBox) -> None:
    plain = path.with_suffix(".plain.tif")
    profile = {"driver": "GTiff", "count": 1, "dtype": pixels.dtype, "crs": f"EPSG:{box.epsg}"}
    profile |= {"width": box.width, "height": box.height}
    profile |= {"transform": rasterio.Affine.from_gdal(*box.gdal_transform)}
    profile |= {"nodata": np.nan if pixels.dtype.kind == "f" else 0}
    with rasterio.open(plain, "w", **profile) as file:
        file.write(pixels, 1)
    rasterio.shutil.copy(
        plain,
        path,
        driver="COG",
        compress="DEFLATE",
        predictor="YES",
        blocksize=512,
        num_threads="ALL_CPUS",
    )
    plain.unlink()


def _around(box: GeoBox, margin: float) -> GeoBox:
    """The box and a margin, m, outward to multiples of 60 m, as Sentinel-2's tiles lie."""
    left, bottom, right, top = box.bounds
    left, bottom = ((v - margin) // 60 * 60 for v in (left, bottom))
    right, top = (-(-(v + margin) // 60) * 60 for v in (right, top))
    size = int((right - left) / 10), int((top - bottom) / 10)
    return GeoBox(box.epsg, left, top, 10.0, *size)


def _degrees(box: GeoBox) -> tuple[float, float, float, float]:
    to_degrees = Transformer.from_crs(box.epsg, 4326, always_xy=True)
    return to_degrees.transform_bounds(*box.bounds, densify_pts=21)
