import json

import fsspec
import pytest
import shapely

from pipeline.region import load_region, shipped_regions


def geojson(tmp_path, document):
    path = tmp_path / "region.geojson"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


SQUARE = {"type": "Polygon", "coordinates": [[[5, 50], [6, 50], [6, 51], [5, 51], [5, 50]]]}


def test_box():
    assert load_region("-17,13,-13,14").geometry.equals(shapely.box(-17, 13, -13, 14))


def test_box_over_the_antimeridian_is_cut_in_two():
    geometry = load_region("179,-17,-179,-16").geometry
    assert geometry.equals(
        shapely.union(shapely.box(179, -17, 180, -16), shapely.box(-180, -17, -179, -16))
    )


@pytest.mark.parametrize(
    "wrap", [lambda g: g, lambda g: {"type": "Feature", "properties": {"name": "A"}, "geometry": g}]
)
def test_geojson(tmp_path, wrap):
    assert load_region(geojson(tmp_path, wrap(SQUARE))).geometry.area == 1


def test_geojson_in_a_store():
    with fsspec.open("memory://regions/bono east.geojson", "w") as file:
        json.dump(SQUARE, file)
    region = load_region("memory://regions/bono east.geojson")
    assert (region.name, region.geometry.area) == ("bono east", 1)
    with pytest.raises(ValueError, match="there is no file memory://regions/none.geojson"):
        load_region("memory://regions/none.geojson")


def test_feature_collection_is_the_union(tmp_path):
    other = json.loads(json.dumps(SQUARE).replace("5,", "7,").replace("[6,", "[8,"))
    collection = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {}, "geometry": g} for g in (SQUARE, other)],
    }
    assert load_region(geojson(tmp_path, collection)).geometry.area == 2


def test_files_as_windows_programs_write_them(tmp_path):
    path = tmp_path / "region.geojson"
    path.write_text("\ufeff" + json.dumps(SQUARE), encoding="utf-8")
    assert load_region(str(path)).geometry.area == 1


def test_features_without_geometry_are_left_out(tmp_path):
    empty = {"type": "Feature", "properties": {}, "geometry": None}
    whole = {"type": "Feature", "properties": {}, "geometry": SQUARE}
    collection = {"type": "FeatureCollection", "features": [empty, whole]}
    assert load_region(geojson(tmp_path, collection)).geometry.area == 1


def test_shipped_countries():
    assert {"ghana", "gambia", "indonesia"} <= set(shipped_regions())
    assert load_region("Ghana").geometry.contains(shapely.Point(-1.0, 7.5))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Ghna", "did you mean ghana"),
        ("g" * 5000, "expected a GeoJSON file"),
        ("../regions/ghana", "a shipped country"),
        ("nowhere.geojson", "there is no file"),
        ("1,2,3", "four numbers"),
        ("5,51,6,50", "no area"),
        ("5,80,6,85", "cut the polygon there"),
        ("190,0,10,1", "longitudes from -180 to 180"),
        ("10,0,-200,1", "longitudes from -180 to 180"),
        ("1e400,0,10,1", "longitudes from -180 to 180"),
    ],
)
def test_unknown_regions_are_named(text, says):
    with pytest.raises(ValueError, match=says):
        load_region(text)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "not a GeoJSON file"),
        ([1], "expected a GeoJSON object"),
        ({"type": "Point", "coordinates": [5, 50]}, "got Point, expected polygons"),
        (
            {"type": "Polygon", "coordinates": [[[179, 0], [-179, 0], [-179, 1], [179, 0]]]},
            "cut the polygon at the antimeridian",
        ),
        (
            {"type": "Polygon", "coordinates": [[[5e5, 5e6], [6e5, 5e6], [6e5, 6e6], [5e5, 5e6]]]},
            "are no degrees",
        ),
        (SQUARE | {"crs": {"properties": None}, "coordinates": []}, "not a valid|expected a poly"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}, "invalid"),
        (
            {"type": "Polygon", "coordinates": [[[179, 0], [181, 0], [181, 1], [179, 0]]]},
            "RFC 7946",
        ),
        ({"type": "Polygon", "coordinates": "x"}, "not a valid GeoJSON geometry"),
        ({"type": "FeatureCollection", "features": []}, "expected a polygon"),
        (
            SQUARE | {"crs": {"properties": {"name": "EPSG:32631"}}},
            "expected longitude and latitude",
        ),
    ],
)
def test_unusable_geojson_is_refused(tmp_path, document, says):
    with pytest.raises(ValueError, match=says):
        load_region(geojson(tmp_path, document))
