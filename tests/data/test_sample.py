"""The shipped sample: valid STAC, and GeoTIFFs that are what their items say."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.warp import transform_geom

from tests.stac_validation import validate

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
WRITTEN_BY_HAND = {
    "demo.py",
    "README.md",
    "LICENSES/Apache-2.0.txt",
    "LICENSES/MIT-WorldCereal.txt",
}


def load(path: Path) -> dict:
    return json.loads(path.read_text())


def children(path: Path, rel: str) -> list[Path]:
    """Files that a STAC document links to."""
    links = load(path)["links"]
    return [(path.parent / link["href"]).resolve() for link in links if link["rel"] == rel]


COLLECTIONS = children(SAMPLE / "catalog.json", "child")
ITEMS = [item for collection in COLLECTIONS for item in children(collection, "item")]
ASSETS = [
    pytest.param(item, key, id=f"{item.stem}-{key}")
    for item in ITEMS
    for key in load(item)["assets"]
]


@pytest.mark.parametrize(
    "path", [SAMPLE / "catalog.json", *COLLECTIONS, *ITEMS], ids=lambda p: f"{p.parent.name}"
)
def test_is_valid_stac_and_its_links_lead_somewhere(path):
    document = load(path)
    validate(document)
    for link in document["links"]:
        assert (path.parent / link["href"]).is_file(), link


def test_every_item_names_the_collection_that_links_to_it():
    assert len(COLLECTIONS) == 6
    assert len(ITEMS) == 42
    for collection in COLLECTIONS:
        for item in children(collection, "item"):
            assert load(item)["collection"] == load(collection)["id"]


@pytest.mark.parametrize(("path", "key"), ASSETS)
def test_geotiff_is_what_its_item_says(path, key):
    item = load(path)
    asset = item["assets"][key]
    with rasterio.open(path.parent / asset["href"]) as file:
        assert file.crs.to_string() == asset["proj:code"]
        assert list(file.shape) == asset["proj:shape"]
        assert list(file.transform)[:6] == asset["proj:transform"]
        assert list(file.bounds) == asset["proj:bbox"]
        assert list(file.descriptions) == [band["name"] for band in asset["bands"]]
        assert list(file.dtypes) == [band["data_type"] for band in asset["bands"]]
        for band, nodata in zip(asset["bands"], file.nodatavals, strict=True):
            np.testing.assert_equal(nodata, float(band["nodata"]))
        for band, pixels in zip(asset["bands"], file.read(masked=True), strict=True):
            physical = pixels * band.get("raster:scale", 1) + band.get("raster:offset", 0)
            assert physical.count() > 0.99 * physical.size
            low, high = {"dB": (-45, 20), "1": (0, 2)}.get(band.get("unit"), (0, 11))
            assert low <= physical.min() and physical.max() <= high, band["name"]
        left, bottom, right, top = file.bounds
        ring = shapely.geometry.mapping(shapely.box(left, bottom, right, top))
        outline = shapely.geometry.shape(transform_geom(file.crs, "EPSG:4326", ring))
    footprint = shapely.geometry.shape(item["geometry"])
    assert footprint.buffer(1e-6).covers(outline)
    assert shapely.box(*item["bbox"]).buffer(1e-6).covers(footprint)


@pytest.mark.parametrize("path", ITEMS, ids=lambda p: p.stem)
def test_bands_are_complete_or_declared_missing(path):
    item = load(path)
    bands = [band["name"] for asset in item["assets"].values() for band in asset["bands"]]
    missing = item["properties"].get("cloudlulc:missing_bands", [])
    assert len(bands) == len(set(bands))
    assert not set(bands) & set(missing)
    if item["properties"]["constellation"] == "sentinel-1":
        assert bands == ["VV", "VH"]
    else:
        every = {f"B{n:02d}" for n in (*range(1, 10), 11, 12)} | {"B8A"}
        assert every <= {*bands, *missing}


@pytest.mark.parametrize("path", ITEMS, ids=lambda p: p.stem)
def test_nothing_is_known_of_an_undated_scene_but_its_range(path):
    properties = load(path)["properties"]
    if properties["datetime"] is None:
        assert properties["start_datetime"] < properties["end_datetime"]
        assert not any(name.startswith("sat:") for name in properties)
    else:
        assert "start_datetime" not in properties


def test_holds_nothing_but_what_is_listed_and_is_small():
    demo = load(SAMPLE / "demo.json")
    listed = {SAMPLE / "catalog.json", SAMPLE / "demo.json", *COLLECTIONS, *ITEMS}
    listed |= {SAMPLE / name for name in WRITTEN_BY_HAND} | {SAMPLE / r["region"] for r in demo}
    listed |= {
        path.parent / asset["href"] for path in ITEMS for asset in load(path)["assets"].values()
    }
    files = {path for path in SAMPLE.rglob("*") if path.is_file()}
    assert files == {path.resolve() for path in listed}
    assert sum(path.stat().st_size for path in files) < 12e6


def test_every_demo_run_has_an_optical_and_a_sar_scene_in_reach():
    for run in load(SAMPLE / "demo.json"):
        assert set(run) == {"name", "region", "date", "note"}
        target = date.fromisoformat(run["date"])
        region = shapely.geometry.shape(load(SAMPLE / run["region"])["geometry"])
        assert region.is_valid
        found = set()
        for path in ITEMS:
            item = load(path)
            known = item["properties"]
            start = known.get("start_datetime") or known["datetime"]
            end = known.get("end_datetime") or known["datetime"]
            days = [(date.fromisoformat(t[:10]) - target).days for t in (start, end)]
            if days[0] <= 2 and days[1] >= -2:
                if shapely.geometry.shape(item["geometry"]).buffer(1e-6).covers(region):
                    found.add(known["constellation"])
        assert found == {"sentinel-1", "sentinel-2"}, run["name"]
