"""The offline validator finds what it has to find."""

import pytest

from tests.stac_validation import validate

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
RASTER = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
EO = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"


@pytest.fixture
def item():
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [PROJECTION, RASTER, EO],
        "id": "scene",
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "bbox": [1, 2, 1, 2],
        "properties": {"datetime": "2024-06-15T10:00:00Z", "eo:cloud_cover": 12.5},
        "links": [],
        "assets": {
            "optical": {
                "href": "./optical.tif",
                "proj:code": "EPSG:32631",
                "proj:shape": [4, 4],
                "bands": [{"name": "B02", "raster:scale": 1e-4, "eo:common_name": "blue"}],
            }
        },
    }


def test_accepts_a_valid_item(item):
    validate(item)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("stac_version", lambda i: i.update(stac_version="1.0.0")),
        ("type", lambda i: i.update(type="Thing")),
        ("datetime", lambda i: i["properties"].pop("datetime")),
        ("start_datetime", lambda i: i["properties"].update(datetime=None)),
        ("no schema", lambda i: i["stac_extensions"].append("https://example.org/x/schema.json")),
        ("not declared", lambda i: i["properties"].update({"sar:product_type": "GRD"})),
        ("not declared", lambda i: i["stac_extensions"].remove(RASTER)),
        ("proj:code", lambda i: i["assets"]["optical"].update({"proj:code": 32631})),
        ("proj:shape", lambda i: i["assets"]["optical"].update({"proj:shape": [4]})),
        ("raster:scale", lambda i: i["assets"]["optical"]["bands"][0].update({"raster:scale": ""})),
        ("raster:", lambda i: i["assets"]["optical"].update({"raster:bands": [{"scale": 1}]})),
        ("eo:common_name", lambda i: i["assets"]["optical"].update({"eo:common_name": "pink"})),
        ("eo:cloud_cover", lambda i: i["properties"].update({"eo:cloud_cover": 101})),
    ],
)
def test_rejects(item, message, change):
    change(item)
    with pytest.raises(AssertionError, match=message):
        validate(item)


def test_validates_collections(item):
    collection = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": "scenes",
        "description": "scenes",
        "license": "CC-BY-4.0",
        "extent": {
            "spatial": {"bbox": [[1, 2, 3, 4]]},
            "temporal": {"interval": [["2024-01-01T00:00:00Z", None]]},
        },
        "links": [],
    }
    validate(collection)
    with pytest.raises(AssertionError, match="license"):
        validate({k: v for k, v in collection.items() if k != "license"})
    with pytest.raises(AssertionError, match="raster:"):
        assets = {"lulc": {"type": "image/tiff", "raster:offset": "0"}}
        validate(collection | {"stac_extensions": [RASTER], "item_assets": assets})
