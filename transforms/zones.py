"""UTM zones, north and south of the equator: +33 is 33N, -33 is 33S."""

from __future__ import annotations

from functools import lru_cache

import shapely
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

SOUTH_LIMIT, NORTH_LIMIT = -80.0, 84.0
"""Latitudes between which UTM zones are defined, degrees."""


def zone_name(zone: int) -> str:
    """+33 -> "33N", -33 -> "33S"."""
    return f"{abs(zone):02d}{'N' if zone > 0 else 'S'}"


def zone_epsg(zone: int) -> int:
    """EPSG code of a UTM zone on WGS 84: +33 -> 32633, -33 -> 32733."""
    return (32600 if zone > 0 else 32700) + abs(zone)


def zone_extent(zone: int) -> tuple[float, float, float, float]:
    """(west, south, east, north) in degrees that a zone answers for: plain 6-degree bands."""
    west = -180.0 + 6 * (abs(zone) - 1)
    return (west, 0.0, west + 6, NORTH_LIMIT) if zone > 0 else (west, SOUTH_LIMIT, west + 6, 0.0)


def zones_touched(region: BaseGeometry) -> list[int]:
    """UTM zones that share area with a region in EPSG:4326, in order.

    Raises:
      ValueError: the region reaches beyond the latitudes or longitudes that UTM zones cover.
    """
    west, south, east, north = region.bounds
    if south < SOUTH_LIMIT or north > NORTH_LIMIT:
        raise ValueError(
            f"region: latitudes {south:g} to {north:g} reach beyond the UTM zones; expected "
            f"{SOUTH_LIMIT:g} to {NORTH_LIMIT:g} degrees; cut the region there"
        )
    if west < -180 or east > 180:
        raise ValueError(f"region: longitudes {west:g} to {east:g}, expected -180 to 180 degrees")
    every = [sign * number for sign in (-1, 1) for number in range(1, 61)]
    return sorted(z for z in every if not _part(region, z).is_empty)


def _part(region: BaseGeometry, zone: int) -> BaseGeometry:
    extent = shapely.box(*zone_extent(zone))
    if not extent.intersects(region):
        return shapely.Polygon()
    part = region.intersection(extent)
    # A region that only touches a zone's border has no area in it.
    return part if part.area > 0 else shapely.Polygon()


@lru_cache(maxsize=64)
def part_in_zone(region_wkb: bytes, zone: int) -> BaseGeometry:
    """What of a region in EPSG:4326 lies in a zone, in that zone's metres."""
    part = shapely.segmentize(_part(shapely.from_wkb(region_wkb), zone), 0.05)
    to_utm = Transformer.from_crs(4326, zone_epsg(zone), always_xy=True)
    return shapely.transform(part, to_utm.transform, interleaved=False)


def geographic_bounds(
    epsg: int, bounds: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """(west, south, east, north) in degrees around projected (left, bottom, right, top).

    West is greater than east where the box crosses the antimeridian.
    """
    to_geographic = Transformer.from_crs(epsg, 4326, always_xy=True)
    return to_geographic.transform_bounds(*bounds, densify_pts=21)
