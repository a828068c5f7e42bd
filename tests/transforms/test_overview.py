"""The overview against one counted cell by cell; opened as GDAL's users do."""

import json
from datetime import date
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from made_products import layers, make_product
from rio_cogeo.cogeo import cog_validate

from model.legend import LULC6
from pipeline.cli import main
from tests.stac_validation import validate
from transforms import overview
from transforms.product import ProductGrid, ProductTile

DAY = date(2024, 6, 15)
CODES = np.array([0, 10, 30, 40, 50, 60, 80])
GRID = ProductGrid(tile_size=450)
# Four tiles around 3 E, 5 N, none of whose edges lies on a cell of 100 pixels; one is missing.
PLACES = {"a": (35731, 60233), "b": (36181, 60233), "c": (35731, 59783)}


def tile_at(name: str, left: int, top: int, size: int = 450) -> ProductTile:
    return ProductTile(name, GRID.geobox(left, top, size, size))


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """(y, x) class codes on the canvas: rows from 60300, columns from 35700."""
    rng = np.random.default_rng(5)
    canvas = np.zeros((1000, 1000), np.uint8)
    for left, top in PLACES.values():
        patches = rng.choice(CODES, (90, 90), p=[0.1, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1])
        rows, cols = slice(60300 - top, 60750 - top), slice(left - 35700, left - 35250)
        canvas[rows, cols] = patches.repeat(5, 0).repeat(5, 1)
    return canvas


@pytest.fixture(scope="module")
def folder(tmp_path_factory, truth):
    root = tmp_path_factory.mktemp("product")
    tiles = {}
    for name, (left, top) in PLACES.items():
        rows, cols = slice(60300 - top, 60750 - top), slice(left - 35700, left - 35250)
        tiles[tile_at(name, left, top)] = layers(truth[rows, cols], 80, -3)
    make_product(str(root), DAY, tiles)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overview, "WINDOW", 400)
        assert main(["overview", str(root)]) == 0
    return root / "product" / "overview"


def cell_by_cell(truth: np.ndarray, cell: int) -> np.ndarray:
    height, width = truth.shape[0] // cell, truth.shape[1] // cell
    out = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            part = truth[y * cell : (y + 1) * cell, x * cell : (x + 1) * cell]
            counts = np.bincount(part[part > 0], minlength=1)
            out[y, x] = counts.argmax() if counts.any() else 0
    return out


@pytest.mark.parametrize(("name", "cell"), [("lulc_100m.tif", 10), ("lulc_1km.tif", 100)])
def test_cells_hold_the_most_frequent_class_of_all_tiles(folder, truth, name, cell):
    assert cog_validate(folder / name, strict=True)[0]
    with rasterio.open(folder / name) as raster:
        found, transform = raster.read(1), raster.transform
        assert raster.colormap(1)[10] == (0, 100, 0, 255)
        assert raster.tags(1)["CLASS_80"] == "water"
    height, width = found.shape
    np.testing.assert_array_equal(found, cell_by_cell(truth[: height * cell, : width * cell], cell))
    assert not truth[height * cell :].any() and not truth[:, width * cell :].any()
    assert transform.to_gdal()[::3] == pytest.approx((35700 / 12000, 60300 / 12000), abs=1e-12)
    assert transform.a == pytest.approx(cell / 12000, rel=1e-12)


def test_shares_are_percent_of_the_cell(folder, truth):
    with rasterio.open(folder / "class_share_1km.tif") as raster:
        shares, names = raster.read(), raster.descriptions
    assert names == ("forest", "grassland", "cropland", "built-up", "barren", "water")
    expected = 100 * (truth[200:300, 200:300] == 10).mean()
    assert shares[0, 2, 2] == round(expected)
    nothing = cell_by_cell(truth, 100)[: shares.shape[1], : shares.shape[2]] == 0
    np.testing.assert_array_equal(shares[0] == 255, nothing)


def test_the_virtual_raster_shows_all_tiles_with_colours_and_names(folder, truth, tmp_path):
    with rasterio.open(folder / "lulc.vrt") as raster:
        height, width = raster.shape
        np.testing.assert_array_equal(raster.read(1), truth[:height, :width])
        assert (raster.crs.to_epsg(), raster.nodata) == (4326, 0)
        assert raster.transform.c == pytest.approx(35700 / 12000, abs=1e-12)
        assert raster.overviews(1) == [10, 100]
        # An overview is read where one asks for less: the most frequent class, not the nearest.
        small = raster.read(1, out_shape=(height // 10, width // 10))
        assert raster.colormap(1)[50] == (250, 0, 0, 255)
    np.testing.assert_array_equal(small, cell_by_cell(truth[:height, :width], 10))
    for source in (folder / "lulc.vrt", folder / "lulc_1km.tif"):
        # What GDAL itself knows of names, written out by GDAL.
        copy = tmp_path / f"{source.stem}.vrt"
        rasterio.shutil.copy(source, copy, driver="VRT")
        names = [e.text for e in ElementTree.parse(copy).iter("Category")]
        assert names[0] == "nodata" and names[50] == "built-up" and len(names) == 81
    with rasterio.open(folder / "optical_age.vrt") as raster:
        assert (raster.dtypes, raster.nodata) == (("int16",), -32768)
        assert set(np.unique(raster.read(1))) == {-32768, -3}


def test_the_collection_lists_the_overview_and_stays_valid(folder):
    document = json.loads((folder.parent / "collection.json").read_text())
    validate(document)
    hrefs = {asset["href"] for asset in document["assets"].values()}
    assert {"./overview/lulc_1km.tif", "./overview/lulc.vrt"} <= hrefs
    for href in hrefs:
        assert (folder.parent / href).exists()


def test_over_the_antimeridian_the_overview_is_one_piece(tmp_path):
    half = 180 * 12000
    tiles = {
        tile_at("S18E179", half - 450, -200_000): layers(np.full((450, 450), 10), 90),
        tile_at("S18W180", -half, -200_000): layers(np.full((450, 450), 80), 90),
    }
    make_product(str(tmp_path), DAY, tiles)
    assert main(["overview", str(tmp_path)]) == 0
    with rasterio.open(tmp_path / "product" / "overview" / "lulc_100m.tif") as raster:
        row = raster.read(1)[20]
        assert raster.bounds.left == pytest.approx(180 - 500 / 12000)
    assert row.tolist() == [0] * 5 + [10] * 45 + [80] * 45 + [0] * 5
    with rasterio.open(tmp_path / "product" / "overview" / "lulc.vrt") as raster:
        middle = raster.read(1)[200]
    assert (middle[50:500] == 10).all() and (middle[500:950] == 80).all()
    document = json.loads((tmp_path / "product" / "collection.json").read_text())
    ((west, _, east, _),) = document["extent"]["spatial"]["bbox"]
    assert (west, east) == pytest.approx((180 - 450 / 12000, -180 + 450 / 12000))
    validate(document)


def test_equal_counts_go_to_the_lowest_code():
    counts = overview.count_classes(np.uint8([[80, 10], [10, 80]]), [10, 80], 2)
    assert counts.tolist() == [[[2]], [[2]]]
    assert overview.most_frequent(counts, [10, 80]).tolist() == [[10]]
    assert {c.code for c in LULC6.classes} == set(CODES) - {0}
