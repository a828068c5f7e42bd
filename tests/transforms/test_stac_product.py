import json
from datetime import UTC, date, datetime

import pystac
import pytest
import shapely

from model.legend import LULC6
from tests.stac_validation import validate
from transforms import store
from transforms.layers import LAYERS
from transforms.product import ProductGrid, collection_url, item_url, product_tiles
from transforms.scene import SENTINEL1, SENTINEL2, Scene
from transforms.stac_product import ProductRun, attribution, product_collection, product_item

REGION = shapely.box(5.99, -0.01, 6.01, 0.01)
RUN = ProductRun(
    id="gulf-2018-02-04",
    region="the Gulf",
    target_date=date(2018, 2, 4),
    legend=LULC6,
    layers=tuple(LAYERS.values()),
    checkpoint="cloudlulc-base",
    checkpoint_digest="0123456789abcdef" * 4,
    version="0.1.0",
)
FOOTPRINT = (5.5, -1.0, 6.5, 1.0)


def scene(name, sensor, start, end=None, link=""):
    time = None if end else start
    return Scene(name, sensor, time, start, end or start, FOOTPRINT, link=link)


@pytest.fixture
def scenes(tmp_path):
    return [
        scene("S2A_x", SENTINEL2, datetime(2018, 2, 4, 10, tzinfo=UTC), link="https://a.b/S2A_x"),
        scene(
            "S1A_x", SENTINEL1, datetime(2017, 12, 31, tzinfo=UTC), link=f"{tmp_path}/in/s1.json"
        ),
        scene("S1A_y", SENTINEL1, datetime(2018, 2, 1, tzinfo=UTC)),
    ]


@pytest.mark.parametrize("grid", [ProductGrid(), ProductGrid(3857, 10.0, 1000)])
def test_items_and_collection_are_valid_stac(grid, scenes, tmp_path):
    root = str(tmp_path / "out")
    tiles = product_tiles(REGION, grid)
    assert len(tiles) >= 2
    for tile in tiles:
        validate(product_item(root, tile, RUN, scenes))
        validate(product_item(root, tile, RUN, [], datetime(2026, 11, 22, 9, tzinfo=UTC)))
    validate(product_collection(root, RUN, tiles, scenes))


def test_item_says_where_it_is_and_what_it_was_made_from(scenes, tmp_path):
    root = str(tmp_path / "out")
    tile = product_tiles(REGION, ProductGrid())[1]
    item = product_item(root, tile, RUN, scenes)
    assert item["id"] == "N00E006"
    assert item["bbox"] == [6.0, 0.0, 6.01, 0.01]
    assert item["properties"]["proj:shape"] == [120, 120]
    assert item["properties"]["proj:transform"][2::3] == [6.0, 0.01]
    assert item["properties"]["cloudlulc:checkpoint_sha256"] == RUN.checkpoint_digest
    assert item["properties"]["processing:software"] == {"cloudlulc": "0.1.0"}
    assert "1 Sentinel-2 and 2 Sentinel-1 scenes" in item["properties"]["processing:lineage"]
    assert "Copernicus Sentinel data 2017-2018." in item["properties"]["description"]
    inputs = {k["title"]: k["href"] for k in item["links"] if k["rel"] == "derived_from"}
    assert inputs == {
        "S2A_x": "https://a.b/S2A_x",
        "S1A_x": "../../../in/s1.json",
        "S1A_y": "urn:scene:S1A_y",
    }
    classes = {c["value"]: c for c in item["assets"]["lulc"]["classification:classes"]}
    assert classes[10] == {
        "value": 10,
        "name": "forest",
        "title": "Forest",
        "color_hint": "006400",
    }
    assert classes[0]["nodata"] is True
    assert item["assets"]["sar_age"]["bands"][0]["nodata"] == -32768
    assert item["assets"]["cloud"]["href"] == "./N00E006_cloud.tif"


def test_the_order_of_scenes_and_tiles_does_not_matter(scenes, tmp_path):
    root = str(tmp_path)
    tiles = product_tiles(REGION, ProductGrid())
    item = product_item(root, tiles[0], RUN, scenes)
    assert json.dumps(item) == json.dumps(product_item(root, tiles[0], RUN, scenes[::-1]))
    collection = product_collection(root, RUN, tiles, scenes)
    again = product_collection(root, RUN, tiles[::-1], scenes[::-1])
    assert json.dumps(collection) == json.dumps(again)
    assert "created" not in item["properties"]


def test_pystac_walks_from_the_collection_to_the_items(scenes, tmp_path):
    root = str(tmp_path)
    tiles = product_tiles(REGION, ProductGrid())
    for tile in tiles:
        store.write_json(item_url(root, tile.name), product_item(root, tile, RUN, scenes))
    store.write_json(collection_url(root), product_collection(root, RUN, tiles, scenes))
    collection = pystac.Collection.from_file(collection_url(root))
    items = list(collection.get_items())
    assert [item.id for item in items] == ["N00E003", "N00E006", "S03E003", "S03E006"]
    assert collection.extent.spatial.bboxes == [[5.99, -0.01, 6.01, 0.01]]
    href = items[0].assets["lulc"].get_absolute_href()
    assert href == f"{root}/product/N00E003/N00E003_lulc.tif"
    assert items[0].get_collection().id == RUN.id


def test_attribution_of_undated_scenes_is_their_range():
    undated = scene(
        "a", SENTINEL2, datetime(2015, 6, 27, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)
    )
    assert attribution([undated]) == "Contains modified Copernicus Sentinel data 2015-2020."
    assert attribution([]) == ""
