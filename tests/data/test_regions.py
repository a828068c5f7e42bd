"""The shipped regions: valid polygons, cut at the antimeridian, named by their file."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

REGIONS = Path(__file__).parents[2] / "data" / "regions"
FILES = sorted(REGIONS.glob("*.geojson"))


def geometry(path: Path):
    return shapely.from_geojson(json.dumps(json.loads(path.read_text())["geometry"]))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_is_a_valid_rfc_7946_polygon_with_its_origin(path):
    feature = json.loads(path.read_text())
    assert feature["type"] == "Feature"
    assert set(feature["properties"]) == {"name", "iso_numeric", "source", "licence"}
    shape = geometry(path)
    assert shape.geom_type in ("Polygon", "MultiPolygon")
    assert shape.is_valid and not shape.is_empty
    west, south, east, north = shape.bounds
    assert -180 <= west < east <= 180 and -90 <= south < north <= 90
    for part in shapely.get_parts(shape):
        assert part.exterior.is_ccw
        ring = np.array(part.exterior.coords)
        off_pole = np.abs(ring[:-1, 1]) < 90
        assert np.abs(np.diff(ring[:, 0]))[off_pole].max() < 180


def test_countries_lie_where_they_should():
    places = {
        "ghana": (-0.19, 5.6),
        "gambia": (-16.4, 13.25),
        "nigeria": (7.4, 9.06),
        "belgium": (4.35, 50.85),
        "indonesia": (106.85, -6.25),
        "fiji": (178.0, -17.8),
        "africa": (21.0, 7.0),
        "antarctica": (0.0, -89.0),
        "russia": (-178.0, 67.0),
    }
    for name, place in places.items():
        assert geometry(REGIONS / f"{name}.geojson").contains(shapely.Point(place)), name
    assert not geometry(REGIONS / "fiji.geojson").contains(shapely.Point(0, -17.8))


def test_africa_covers_its_countries_and_nothing_of_its_neighbours():
    africa = geometry(REGIONS / "africa.geojson")
    for name in ("ghana", "south-africa", "lesotho", "madagascar", "somaliland", "cabo-verde"):
        country = geometry(REGIONS / f"{name}.geojson")
        assert country.difference(africa).area < 1e-3 * country.area, name
    for name in ("spain", "israel", "yemen"):
        country = geometry(REGIONS / f"{name}.geojson")
        assert country.intersection(africa).area < 1e-3 * country.area, name


def test_all_countries_are_there_and_small():
    assert len(FILES) == 242
    assert sum(path.stat().st_size for path in FILES) < 4e6
