"""The product of a real place, opened and checked as its users do."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (gives xarray its .rio)
import xarray
from PIL import Image
from planet import micro_checkpoint
from rio_cogeo.cogeo import cog_validate

from model.legend import LULC6
from pipeline.cli import main
from tests.stac_validation import validate
from transforms.layers import LAYERS

SAMPLE = Path(__file__).parent.parent / "data" / "sample"
PLACE = next(
    run for run in json.loads((SAMPLE / "demo.json").read_text()) if run["name"] == "nigeria-cloudy"
)


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    out = tmp_path_factory.mktemp("nigeria")
    checkpoint = micro_checkpoint(tmp_path_factory.mktemp("weights") / "micro.safetensors")
    code = main(
        [
            "run",
            f"--region={SAMPLE / PLACE['region']}",
            f"--date={PLACE['date']}",
            f"--source=files:{SAMPLE / 'catalog.json'}",
            f"--checkpoint={checkpoint}",
            f"--out={out}",
            "--chip-size=256",
            "--threads=1",
        ]
    )
    assert code == 0
    return out / "product"


@pytest.fixture(scope="module")
def tile(product):
    (folder,) = [path for path in product.iterdir() if path.is_dir()]
    return folder


def test_every_layer_is_a_cog_with_its_georeference(tile):
    paths = sorted(tile.glob("*.tif"))
    assert {p.stem.split("_", 1)[1] for p in paths} == set(LAYERS)
    for path in paths:
        valid, errors, warnings = cog_validate(path, strict=True)
        assert valid, (path.name, errors, warnings)
        layer = LAYERS[path.stem.split("_", 1)[1]]
        with rasterio.open(path) as raster:
            assert raster.crs.to_epsg() == 4326
            assert raster.transform.a == pytest.approx(1 / 12000, rel=1e-12)
            assert (raster.transform.c * 12000) % 1 == pytest.approx(0, abs=1e-6)
            assert (raster.dtypes[0], raster.nodata) == (layer.dtype, layer.nodata)


def test_gdal_shows_colours_and_class_names_without_a_style_file(tile):
    with rasterio.open(next(tile.glob("*_lulc.tif"))) as raster:
        colors, tags = raster.colormap(1), raster.tags(1)
        codes = set(np.unique(raster.read(1)))
    for c in LULC6.classes:
        assert colors[c.code] == (*c.color, 255)
        assert tags[f"CLASS_{c.code}"] == c.name
    assert len(codes - {0}) >= 2
    assert codes <= {0} | {c.code for c in LULC6.classes}


def test_xarray_opens_the_zarr_with_its_crs_and_the_same_pixels(tile):
    dataset = xarray.open_zarr(next(tile.glob("*.zarr")))
    assert dataset.rio.crs.to_epsg() == 4326
    assert set(LAYERS) <= set(dataset.data_vars)
    for name in LAYERS:
        with rasterio.open(next(tile.glob(f"*_{name}.tif"))) as raster:
            np.testing.assert_array_equal(dataset[name].values, raster.read(1))
            left, top = raster.transform.c, raster.transform.f
    assert dataset.x.values[0] == pytest.approx(left + 0.5 / 12000, abs=1e-9)
    assert dataset.y.values[0] == pytest.approx(top - 0.5 / 12000, abs=1e-9)


def test_item_and_collection_are_valid_and_name_their_inputs(product, tile):
    collection = json.loads((product / "collection.json").read_text())
    item = json.loads(next(tile.glob("*.json")).read_text())
    validate(collection)
    validate(item)
    sources = [link for link in item["links"] if link["rel"] == "derived_from"]
    assert len(sources) == 2
    for link in sources:
        assert json.loads((tile / link["href"]).read_text())["id"] == link["title"]
    for asset in item["assets"].values():
        assert (tile / asset["href"]).exists()
    assert [link["href"] for link in collection["links"] if link["rel"] == "item"] == [
        f"./{tile.name}/{tile.name}.json"
    ]
    properties = item["properties"]
    assert len(properties["cloudlulc:checkpoint_sha256"]) == 64
    assert sum(properties["cloudlulc:class_area_km2"].values()) == pytest.approx(2.56**2, rel=0.01)


def test_the_evidence_says_what_is_known_and_no_more(tile):
    with rasterio.open(next(tile.glob("*_cloud.tif"))) as raster:
        cloud = raster.read(1)
    seen = cloud != 255
    # 44.5 % by s2cloudless on the scene's own grid; here at 10 m, warped.
    assert (cloud[seen] >= 40).mean() == pytest.approx(0.445, abs=0.08)
    for name in ("optical_age", "sar_age"):
        with rasterio.open(next(tile.glob(f"*_{name}.tif"))) as raster:
            assert (raster.read(1) == -32768).all(), "the scenes carry no date"


def test_the_quicklook_is_a_picture(tile):
    with Image.open(next(tile.glob("*.png"))) as picture:
        assert picture.width > 600
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
