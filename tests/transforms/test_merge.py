"""Products of several dates as one: the rule settles every pixel, tiles without news are linked."""

import json
from datetime import date

import numpy as np
import pytest
import rasterio
from made_products import layers, make_product

from pipeline.cli import main
from tests.stac_validation import validate
from transforms.merge import BEST_EVIDENCE, NEWEST, settle
from transforms.product import ProductGrid, ProductTile

GRID = ProductGrid()
WEST = ProductTile("N03E000", GRID.geobox(0, 60000, 300, 200))
EAST = ProductTile("N03E003", GRID.geobox(36000, 60000, 100, 100))
JUNE, JULY = date(2024, 6, 15), date(2024, 7, 15)
BOTH, OLD, NEW = slice(0, 100), slice(100, 200), slice(200, 300)


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """West: June shows the first two thirds, July the first and the last. East: no news."""
    folder = tmp_path_factory.mktemp("products")
    june, july = np.full((200, 300), 10), np.full((200, 300), 40)
    june[:, NEW], july[:, OLD] = 0, 0
    confidence = np.full(july.shape, 90)
    confidence[:50] = 30
    east = layers(np.full((100, 100), 80), 95)
    make_product(str(folder / "june"), JUNE, {WEST: layers(june, 60, -2), EAST: east})
    make_product(
        str(folder / "july"),
        JULY,
        {WEST: layers(july, confidence, 4), EAST: east},
        {EAST.name: [f"S2_{JUNE}"]},
    )
    return folder


def merged(products, rule) -> dict[str, np.ndarray]:
    arguments = [str(products / "july"), str(products / "june"), f"--out={products / rule}"]
    assert main(["merge", *arguments, f"--rule={rule}"]) == 0
    found = {}
    for name in ("lulc", "confidence", "optical_age", "date"):
        path = products / rule / "product" / WEST.name / f"{WEST.name}_{name}.tif"
        with rasterio.open(path) as raster:
            found[name] = raster.read(1)
    return found


def test_newest_takes_what_the_newest_product_shows(products):
    found = merged(products, NEWEST)
    assert (found["lulc"][:, BOTH] == 40).all() and (found["lulc"][:, NEW] == 40).all()
    assert (found["lulc"][:, OLD] == 10).all()
    np.testing.assert_array_equal(found["date"] == 20240615, found["lulc"] == 10)
    np.testing.assert_array_equal(found["date"] == 20240715, found["lulc"] == 40)
    # All evidence of a pixel is of the product that decided.
    np.testing.assert_array_equal(found["optical_age"], np.where(found["lulc"] == 10, -2, 4))


def test_best_evidence_takes_the_more_confident(products):
    found = merged(products, BEST_EVIDENCE)
    assert (found["lulc"][:50, BOTH] == 10).all() and (found["lulc"][50:, BOTH] == 40).all()
    assert (found["confidence"][:50, BOTH] == 60).all()
    assert (found["lulc"][:, OLD] == 10).all() and (found["lulc"][:, NEW] == 40).all()


def test_equal_evidence_is_settled_by_age():
    older = {"lulc": np.uint8([[10, 0]]), "confidence": np.uint8([[70, 255]])}
    newer = {"lulc": np.uint8([[40, 0]]), "confidence": np.uint8([[70, 255]])}
    found = settle([older, newer], [JUNE, JULY], BEST_EVIDENCE)
    assert found["lulc"].tolist() == [[40, 0]] and found["date"].tolist() == [[20240715, 0]]


def test_a_tile_without_news_is_linked_and_a_second_call_touches_no_file(products, capsys):
    merged(products, NEWEST)
    out = products / NEWEST / "product"
    for source in (products / "june" / "product" / EAST.name).rglob("*"):
        link = out / EAST.name / source.relative_to(products / "june" / "product" / EAST.name)
        if source.is_file() and source.name != f"{EAST.name}.json":
            assert link.samefile(source)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    content = {p: p.read_bytes() for p in before}
    capsys.readouterr()
    merged(products, NEWEST)
    assert "0 tile(s) merged, 0 tile(s) linked, 2 tile(s) kept" in capsys.readouterr().err
    assert content == {p: p.read_bytes() for p in before}
    before.pop(out / "collection.json")
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_only_tiles_with_news_are_made_again(products, tmp_path, capsys):
    out = f"--out={tmp_path}"
    main(["merge", str(products / "june"), str(products / "july"), out])
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "product" / EAST.name).rglob("*.tif")}
    august = layers(np.full((200, 300), 50), 99)
    newest = make_product(str(tmp_path / "august"), date(2024, 8, 15), {WEST: august})
    capsys.readouterr()
    main(["merge", str(products / "june"), str(products / "july"), newest, out])
    assert "1 tile(s) merged, 0 tile(s) linked, 1 tile(s) kept" in capsys.readouterr().err
    collection = json.loads((tmp_path / "product" / "collection.json").read_text())
    for path in (tmp_path / "product").glob("*/*.json"):
        assert json.loads(path.read_text())["collection"] == collection["id"]
    assert before and before == {p: p.stat().st_mtime_ns for p in before}
    with rasterio.open(tmp_path / "product" / WEST.name / f"{WEST.name}_lulc.tif") as raster:
        assert (raster.read(1) == 50).all()


def test_stac_is_valid_and_says_the_rule_and_the_dates(products):
    merged(products, NEWEST)
    folder = products / NEWEST / "product"
    collection = json.loads((folder / "collection.json").read_text())
    validate(collection)
    assert collection["cloudlulc:rule"] == NEWEST and collection["version"] == "2024-07-15"
    for name in (WEST.name, EAST.name):
        item = json.loads((folder / name / f"{name}.json").read_text())
        validate(item)
        assert item["collection"] == collection["id"]
        for asset in item["assets"].values():
            assert (folder / name / asset["href"]).exists() or asset["type"] == "image/png"
    west = json.loads((folder / WEST.name / f"{WEST.name}.json").read_text())["properties"]
    assert west["cloudlulc:dates"] == ["2024-06-15", "2024-07-15"]
    areas = west["cloudlulc:class_area_km2"]
    assert areas["cropland"] == pytest.approx(2 * areas["forest"], rel=1e-9)


def test_what_cannot_be_merged_is_refused(products, tmp_path, capsys):
    june, out = str(products / "june"), f"--out={tmp_path / 'out'}"
    assert main(["merge", june, out]) == 2
    assert "two or more" in capsys.readouterr().err
    tile = {WEST: {"lulc": np.full((200, 300), 10, np.uint8)}}
    bare = [
        make_product(str(tmp_path / day.isoformat()), day, tile) for day in (JULY, date(2024, 8, 1))
    ]
    assert main(["merge", june, bare[0], out]) == 2
    assert "different layers" in capsys.readouterr().err
    assert main(["merge", *bare, out, "--rule=best-evidence"]) == 2
    assert "no layer confidence" in capsys.readouterr().err
    other = make_product(str(tmp_path / "w"), JULY, tile, checkpoint="cd" * 32)
    assert main(["merge", june, other, out]) == 2
    assert "different weights" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_merged_product_is_merged_again_with_the_dates_of_its_pixels(products, tmp_path):
    merged(products, NEWEST)
    august = np.full((200, 300), 50)
    august[50:] = 0
    newest = make_product(str(tmp_path / "august"), date(2024, 8, 15), {WEST: layers(august, 99)})
    both = [str(products / NEWEST), newest]
    assert main(["merge", *both, f"--out={tmp_path / 'merged'}"]) == 0
    tile = tmp_path / "merged" / "product" / WEST.name
    with rasterio.open(tile / f"{WEST.name}_date.tif") as raster:
        days = raster.read(1)
    assert (days[:50] == 20240815).all()
    assert (days[50:, OLD] == 20240615).all() and (days[50:, BOTH] == 20240715).all()
    item = json.loads((tile / f"{WEST.name}.json").read_text())
    assert item["properties"]["cloudlulc:dates"] == ["2024-06-15", "2024-07-15", "2024-08-15"]
    # Change counts only what was seen again.
    assert main(["change", both[0], str(tmp_path / "merged"), f"--out={tmp_path / 'c'}"]) == 0
    with rasterio.open(tmp_path / "c" / "product" / WEST.name / f"{WEST.name}_change.tif") as found:
        change = found.read(1)
    assert (change[50:] == 0).all() and (change[10, OLD] == 15).all()
