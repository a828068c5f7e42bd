"""Earth Engine's collections: rows of a search become scenes, and how their bands are sampled."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from math import isfinite

from model.inputs import INPUTS
from transforms.grid import GeoBox
from transforms.scene import SENTINEL1, SENTINEL2, Asset, Bounds, Scene
from transforms.zones import zone_epsg

OPTICAL_COLLECTIONS = {
    "L2A": "COPERNICUS/S2_SR_HARMONIZED",
    "L1C": "COPERNICUS/S2_HARMONIZED",
}
SAR_COLLECTION = "COPERNICUS/S1_GRD"
CLOUD_COLLECTION = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"

# The properties in a row of a search. The first two are never null: a row without them is dropped.
COLUMNS = ("system:index", "system:time_start", "system:footprint")
OPTICAL_COLUMNS = (
    *COLUMNS,
    "PRODUCT_ID",
    "MGRS_TILE",
    "CLOUDY_PIXEL_PERCENTAGE",
    "SENSING_ORBIT_DIRECTION",
)
SAR_COLUMNS = (*COLUMNS, "orbitProperties_pass")
REQUIRED = 2

_SAMPLED_AT_10M = {b.name for b in INPUTS.optical.bands if b.resolution == 10}
_SAMPLED_AT_10M.add("CLOUD_PROBABILITY")


def optical_scenes(
    rows: Iterable[list], screened: set[str], level: str, score: str
) -> Iterator[Scene]:
    """Sentinel-2 scenes.

    Args:
      rows: values of `OPTICAL_COLUMNS`.
      screened: `system:index` of the images that Cloud Score+ has, too.
      level: "L2A" or "L1C".
      score: the band of Cloud Score+.

    Raises:
      ValueError: a row has no usable footprint.
    """
    collection = OPTICAL_COLLECTIONS[level]
    for index, milliseconds, footprint, product, tile, cloudy, orbit in rows:
        # The product's own name is what other archives call the scene, baseline included; before
        # December 2016 one product held many tiles.
        name = product or index
        tile = tile or index.rpartition("_T")[2]
        scene_id = name if f"_T{tile}" in name else f"{name}_T{tile}"
        assets = list(_optical_assets(f"{collection}/{index}", level))
        if index in screened:
            assets.append(
                Asset("CLOUD_PROBABILITY", f"{CLOUD_COLLECTION}/{index}#{score}", nodata=255.0)
            )
        time = _moment(milliseconds)
        yield Scene(
            id=scene_id,
            sensor=SENTINEL2,
            time=time,
            start=time,
            end=time,
            footprint=bounds_of(footprint, index),
            cloud=None if cloudy is None else min(max(cloudy / 100, 0.0), 1.0),
            orbit=(orbit or "").lower(),
            level=level,
            assets=tuple(assets),
        )


def sar_scenes(rows: Iterable[list]) -> Iterator[Scene]:
    """Sentinel-1 scenes of rows of `SAR_COLUMNS`: sigma0, terrain-corrected, in dB.

    Raises:
      ValueError: a row has no usable footprint.
    """
    for index, milliseconds, footprint, orbit in rows:
        time = _moment(milliseconds)
        yield Scene(
            id=index,
            sensor=SENTINEL1,
            time=time,
            start=time,
            end=time,
            footprint=bounds_of(footprint, index),
            orbit=(orbit or "").lower(),
            level="sigma0",
            unit="dB",
            assets=tuple(
                Asset(band, f"{SAR_COLLECTION}/{index}#{band}") for band in INPUTS.sar.names
            ),
        )


def _optical_assets(image: str, level: str) -> Iterator[Asset]:
    names = [*INPUTS.optical.names] + (["B10"] if level == "L1C" else [])
    for band in names:
        # Harmonised collections have the offset of baseline 04.00 taken off.
        yield Asset(band, f"{image}#{re.sub('^B0', 'B', band)}", scale=1e-4, nodata=0.0)
    if level == "L2A":
        yield Asset("SCL", f"{image}#SCL", nodata=0.0)


def _moment(milliseconds: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def bounds_of(footprint: dict | None, name: str) -> Bounds:
    """(west, south, east, north) of a GeoJSON geometry; west > east across the antimeridian.

    Raises:
      ValueError: there are no finite coordinates.
    """
    points = list(_points((footprint or {}).get("coordinates") or []))
    if not points or not all(isfinite(v) for point in points for v in point):
        raise ValueError(f"scene {name}: its footprint is {footprint}, expected coordinates")
    # A ring around the antimeridian jumps by 360 degrees: count from its first point.
    first = points[0][0]
    along = [first + (x - first + 180) % 360 - 180 for x, _ in points]
    up = [y for _, y in points]
    west, east = min(along), max(along)
    return (
        west + 360 if west < -180 else west,
        min(up),
        east - 360 if east > 180 else east,
        max(up),
    )


def _points(coordinates: list) -> Iterator[tuple[float, float]]:
    if coordinates and isinstance(coordinates[0], int | float):
        yield float(coordinates[0]), float(coordinates[1])
        return
    for part in coordinates:
        yield from _points(part)


def is_interpolated(scene: Scene, band: str, geobox: GeoBox) -> bool:
    """Whether a band is resampled bilinearly on the geobox, instead of by the nearest pixel.

    Sentinel-2's 10 m bands are taken as they are where the geobox lies on their grid, multiples of
    10 m in the UTM zone of their tile. Other pixels have to be interpolated, classes never. The
    grid of a Sentinel-1 image is its own: interpolation gives back its pixels where they coincide.
    """
    if band == "SCL":
        return False
    if band not in _SAMPLED_AT_10M:
        return True
    on_grid = geobox.resolution == 10 and geobox.x0 % 10 == 0 and geobox.y0 % 10 == 0
    return not on_grid or geobox.epsg != _tile_epsg(scene)


def _tile_epsg(scene: Scene) -> int:
    """EPSG code of the UTM zone that a Sentinel-2 scene's MGRS tile is stored in.

    Raises:
      ValueError: the scene's id holds no tile.
    """
    found = re.search(r"_T(\d\d)([C-X])[A-Z]{2}(?:_|$)", scene.id)
    if not found:
        raise ValueError(f"scene {scene.id}: expected the MGRS tile in its id, such as _T33UUP")
    # Latitude bands are lettered from C in the south; N begins at the equator.
    return zone_epsg(int(found[1]) * (1 if found[2] >= "N" else -1))
