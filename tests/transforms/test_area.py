import numpy as np
import pytest
from pyproj import Geod

from transforms.area import pixel_areas
from transforms.grid import GeoBox


@pytest.mark.parametrize("top", [0.01, 50.0, -33.0, 80.0])
def test_geographic_pixels_have_the_area_of_their_polygon(top):
    box = GeoBox(4326, 10.0, top, 0.01, 4, 3)
    for row, area in enumerate(pixel_areas(box)):
        north, south = top - 0.01 * row, top - 0.01 * (row + 1)
        # Along a parallel a geodesic bulges: many short pieces follow it.
        lon = np.linspace(10.0, 10.01, 200)
        ring = np.r_[lon, lon[::-1]], np.r_[np.full(200, south), np.full(200, north)]
        expected, _ = Geod(ellps="WGS84").polygon_area_perimeter(*ring)
        assert area == pytest.approx(expected, rel=1e-6)


def test_the_earth_has_its_area():
    box = GeoBox(4326, -180.0, 90.0, 1.0, 360, 180)
    assert pixel_areas(box).sum() * 360 == pytest.approx(510_065_621.724e6, rel=1e-9)


def test_utm_pixels_shrink_at_the_central_meridian():
    # Scale 0.9996 there: a map square of 100 m2 covers 100 / 0.9996^2 m2.
    area = pixel_areas(GeoBox(32631, 499_990.0, 5_500_000.0, 10.0, 2, 1))
    assert area[0] == pytest.approx(100 / 0.9996**2, rel=1e-7)


def test_equal_area_pixels_keep_theirs():
    areas = pixel_areas(GeoBox(6933, 0.0, 5_000_000.0, 10.0, 3, 2))
    assert areas == pytest.approx([100, 100], rel=1e-6)
