"""Change between dated products: pixels, areas, tiles without news, and what is refused."""

import csv
import json
from datetime import date

import numpy as np
import pytest
import rasterio
from made_products import layers, make_product
from pyproj import Geod
from rio_cogeo.cogeo import cog_validate

from model.legend import LULC6, Legend
from pipeline.cli import main
from tests.stac_validation import validate
from transforms.change import change_legend, change_of
from transforms.product import ProductGrid, ProductTile

GRID = ProductGrid()
WEST = ProductTile("N03E000", GRID.geobox(0, 60000, 600, 300))
EAST = ProductTile("N03E003", GRID.geobox(36000, 60000, 500, 300))
JUNE, JULY = date(2024, 6, 15), date(2024, 7, 15)


def forest_and_water() -> np.ndarray:
    lulc = np.full((300, 600), 10)
    lulc[:, 300:] = 80
    lulc[:10] = 0
    return lulc


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """June, and July: built-up in the forest, half of it unsure; the eastern tile has no news."""
    folder = tmp_path_factory.mktemp("products")
    june, east = forest_and_water(), layers(np.full((300, 500), 40), 90)
    july = june.copy()
    july[100:200, 100:200] = 50
    july[:, 590:] = 0
    confidence = np.full(july.shape, 80)
    confidence[100:200, 150:200] = 40
    make_product(str(folder / "june"), JUNE, {WEST: layers(june, 70), EAST: east})
    scenes = {EAST.name: [f"S2_{JUNE}"]}
    make_product(str(folder / "july"), JULY, {WEST: layers(july, confidence), EAST: east}, scenes)
    return folder


@pytest.fixture(scope="module")
def change(products):
    assert main(["change", str(products / "june"), str(products / "july"), *out(products)]) == 0
    return products / "change" / "product"


def out(products) -> list[str]:
    return [f"--out={products / 'change'}"]


def test_pixels_say_from_which_class_to_which(change):
    path = change / WEST.name / f"{WEST.name}_change.tif"
    assert cog_validate(path, strict=True)[0]
    with rasterio.open(path) as raster:
        found, tags, colors = raster.read(1), raster.tags(1), raster.colormap(1)
    expected = np.full((300, 600), 11)
    expected[:, 300:] = 88
    expected[100:200, 100:150] = 15
    expected[100:200, 150:200] = 1
    expected[:10], expected[:, 590:] = 0, 0
    np.testing.assert_array_equal(found, expected)
    assert tags["CLASS_15"] == "forest to built-up" and tags["CLASS_88"] == "water, as before"
    built_up = next(c for c in LULC6.classes if c.name == "built-up")
    assert colors[15] == (*built_up.color, 255)
    with rasterio.open(path.with_name(f"{WEST.name}_change_confidence.tif")) as raster:
        assert set(np.unique(raster.read(1))) == {40, 70, 255}


def test_table_holds_areas_on_the_ellipsoid(change):
    rows = list(csv.DictReader((change / "change.csv").open()))
    built = next(row for row in rows if (row["from"], row["to"]) == ("forest", "built-up"))
    assert (built["value"], built["from_code"], built["to_code"]) == ("15", "10", "50")
    left, top, step = WEST.geobox.x0, WEST.geobox.y0, WEST.geobox.resolution
    lon = [left + 100 * step, left + 150 * step] * 2
    lat = [top - 100 * step, top - 100 * step, top - 200 * step, top - 200 * step]
    ring = [0, 2, 3, 1]
    truth = Geod(ellps="WGS84").polygon_area_perimeter(
        [lon[i] for i in ring], [lat[i] for i in ring]
    )[0]
    assert float(built["km2"]) == pytest.approx(abs(truth) / 1e6, rel=1e-4)
    assert rows[-1]["from"] == "not confident" and float(rows[-1]["km2"]) > 0


def test_stac_is_valid_and_names_the_tiles_without_news(change):
    collection = json.loads((change / "collection.json").read_text())
    validate(collection)
    assert collection["cloudlulc:tiles_without_news"] == [EAST.name]
    assert sorted(path.name for path in change.iterdir() if path.is_dir()) == [WEST.name]
    item = json.loads((change / WEST.name / f"{WEST.name}.json").read_text())
    validate(item)
    assert item["properties"]["cloudlulc:dates"] == ["2024-06-15", "2024-07-15"]
    assert item["properties"]["attribution"] == "Contains modified Copernicus Sentinel data 2024."
    assert {link["title"] for link in item["links"] if link["rel"] == "derived_from"} == {
        "S2_2024-06-15",
        "S2_2024-07-15",
    }
    for asset in item["assets"].values():
        assert (change / WEST.name / asset["href"]).exists()


def test_a_second_call_touches_nothing_but_the_collection(products, change, capsys):
    before = {path: path.stat().st_mtime_ns for path in change.rglob("*_*.tif*")}
    assert main(["change", str(products / "june"), str(products / "july"), *out(products)]) == 0
    assert "1 tile(s) kept" in capsys.readouterr().err
    assert before and before == {path: path.stat().st_mtime_ns for path in before}
    # Another threshold is another change.
    other = [*out(products), "--confidence=30"]
    assert main(["change", str(products / "june"), str(products / "july"), *other]) == 0
    with rasterio.open(change / WEST.name / f"{WEST.name}_change.tif") as raster:
        assert (raster.read(1)[100:200, 100:200] == 15).all()
    assert main(["change", str(products / "june"), str(products / "july"), *out(products)]) == 0


def test_what_cannot_be_compared_is_refused(products, tmp_path, capsys):
    june = str(products / "june")

    def refused(new: str, *words: str):
        assert main(["change", june, new, f"--out={tmp_path / 'out'}"]) == 2
        error = capsys.readouterr().err
        assert all(word in error for word in words), error
        assert not (tmp_path / "out").exists()

    tile = {WEST: layers(forest_and_water(), 80)}
    other = make_product(str(tmp_path / "weights"), JULY, tile, checkpoint="cd" * 32)
    refused(other, "different weights")
    fewer = Legend("five", LULC6.classes[:5])
    refused(make_product(str(tmp_path / "legend"), JULY, tile, legend=fewer), "different legends")
    coarse = ProductTile(WEST.name, ProductGrid(resolution=1 / 6000).geobox(0, 30000, 600, 300))
    refused(make_product(str(tmp_path / "grid"), JULY, {coarse: tile[WEST]}), "different grids")
    moved = ProductTile(WEST.name, GRID.geobox(10, 60000, 600, 300))
    refused(make_product(str(tmp_path / "moved"), JULY, {moved: tile[WEST]}), "same region")
    refused(june, "both of 2024-06-15")
    earlier = make_product(str(tmp_path / "earlier"), date(2024, 5, 1), tile)
    refused(earlier, "the earlier product first")
    bare = {WEST: {"lulc": np.full((300, 600), 10, np.uint8)}}
    refused(make_product(str(tmp_path / "bare"), JULY, bare), "no layer confidence")
    refused(str(tmp_path / "nothing"), "neither")


def test_legend_of_change_needs_codes_of_two_digits():
    assert len(change_legend(LULC6).classes) == 1 + 6 * 6
    odd = LULC6.classes[0]._replace(code=95)
    with pytest.raises(ValueError, match="95"):
        change_legend(Legend("odd", (odd, *LULC6.classes[1:])))


def test_a_pixel_that_one_date_does_not_show_is_nodata():
    older = {"lulc": np.uint8([[0, 10, 10]]), "confidence": np.uint8([[255, 90, 90]])}
    newer = {"lulc": np.uint8([[10, 0, 40]]), "confidence": np.uint8([[90, 255, 60]])}
    found = change_of(older, newer, 60)
    assert found["change"].tolist() == [[0, 0, 14]]
    assert found["change_confidence"].tolist() == [[255, 255, 60]]
