"""Areas of pixels on the ellipsoid."""

from __future__ import annotations

import numpy as np
from pyproj import CRS, Geod, Proj, Transformer

from transforms.grid import GeoBox

WGS84 = Geod(ellps="WGS84")


def pixel_areas(geobox: GeoBox) -> np.ndarray:
    """Area of a pixel of each row on the WGS 84 ellipsoid.

    Exact for geographic CRSs; for projected ones the map's areal scale at the middle of each row
    is taken, which suits windows of a few thousand pixels.

    Returns:
      (y,) float64, square metres.
    """
    edges = geobox.y0 - geobox.resolution * np.arange(geobox.height + 1)
    crs = CRS.from_epsg(geobox.epsg)
    if crs.is_geographic:
        zones = _area_from_equator(np.radians(edges))
        return (zones[:-1] - zones[1:]) * np.radians(geobox.resolution)
    middle = geobox.x0 + geobox.resolution * geobox.width / 2
    rows = (edges[:-1] + edges[1:]) / 2
    to_geographic = Transformer.from_crs(crs, 4326, always_xy=True)
    lon, lat = to_geographic.transform(np.full(len(rows), middle), rows)
    return geobox.resolution**2 / Proj(crs).get_factors(lon, lat).areal_scale


def _area_from_equator(latitude: np.ndarray) -> np.ndarray:
    """Area between the equator and a latitude per radian of longitude, square metres.

    Snyder 1987, Map Projections, USGS Professional Paper 1395, equation 3-12 times a^2 / 2.
    """
    e, sine = np.sqrt(WGS84.es), np.sin(latitude)
    q = (1 - e**2) * (
        sine / (1 - (e * sine) ** 2) - np.log((1 - e * sine) / (1 + e * sine)) / (2 * e)
    )
    return WGS84.a**2 * q / 2
