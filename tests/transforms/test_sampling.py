"""Strata of a product and samples drawn from it."""

from collections import Counter

import numpy as np
import pytest
import rasterio
from made_products import DAY, geobox, make_product, patchwork

from model.legend import LULC6
from transforms import published
from transforms.area import pixel_areas
from transforms.product import ProductTile
from transforms.published import open_product, read_blocks
from transforms.sampling import draw
from transforms.strata import CLOUD_REGIMES, cloud_regimes, count_strata, stratification

BOXES = {"N49E003": geobox(3.0, 50.0, 300, 200), "N50E003": geobox(3.0, 50.02, 300, 240)}


@pytest.fixture(scope="module")
def layers():
    rng = np.random.default_rng(3)
    return {name: patchwork(rng, *box.shape) for name, box in BOXES.items()}


@pytest.fixture(scope="module")
def product(layers, tmp_path_factory):
    root = make_product(
        str(tmp_path_factory.mktemp("run")),
        DAY,
        {ProductTile(n, BOXES[n]): layers[n] for n in BOXES},
    )
    return open_product(root)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks that leave parts at the edges; blocks change nothing but the order of ranks."""
    monkeypatch.setattr(published, "BLOCK", 128)


def sizes_of(strata, most=7):
    return np.minimum(most, strata.pixels)


def test_regimes_of_the_sky():
    cloud = np.array([[0, 19, 20, 79, 80, 100, 255, 255]], np.uint8)
    reliability = np.array([[9, 9, 9, 9, 0, 9, 0, 40]], np.uint8)
    regimes = [CLOUD_REGIMES[i] for i in cloud_regimes(cloud, reliability)[0]]
    assert regimes == [
        *["clear", "clear", "doubtful", "doubtful", "cloudy", "cloudy"],
        *["no optical", "unscreened"],
    ]


@pytest.mark.usefixtures("small_blocks")
def test_strata_hold_every_mapped_pixel_once_and_its_area(product, layers):
    strata = count_strata(product, stratification(product, by_cloud=True))
    expected, km2 = Counter(), Counter()
    names = {c.code: c.name for c in LULC6.classes}
    for name, box in BOXES.items():
        rows_km2 = pixel_areas(box) / 1e6
        regimes = cloud_regimes(layers[name]["cloud"], layers[name]["reliability"])
        for (row, col), code in np.ndenumerate(layers[name]["lulc"]):
            if code:
                key = f"{names[code]}/{CLOUD_REGIMES[regimes[row, col]]}"
                expected[key] += 1
                km2[key] += rows_km2[row]
    assert dict(zip(strata.names, strata.pixels.tolist(), strict=True)) == dict(expected)
    assert dict(zip(strata.names, strata.km2, strict=True)) == pytest.approx(dict(km2))
    classes = count_strata(product, stratification(product, by_cloud=False))
    assert classes.pixels.sum() == strata.pixels.sum()
    assert set(classes.names) <= set(names.values())


@pytest.mark.usefixtures("small_blocks")
def test_rows_say_what_lies_at_their_place(product, layers):
    how = stratification(product, by_cloud=True)
    strata = count_strata(product, how)
    rows = draw(product, how, strata, sizes_of(strata), seed=1)
    assert Counter(row["stratum"] for row in rows) == {
        name: size for name, size in zip(strata.names, sizes_of(strata), strict=True)
    }
    assert len({(row["x"], row["y"]) for row in rows}) == len(rows)
    codes = {c.name: c.code for c in LULC6.classes}
    for row in rows:
        with rasterio.open(
            next(t for t in product.tiles if t.name == row["tile"]).layers["lulc"]
        ) as raster:
            at = raster.index(row["x"], row["y"])
        here = {name: int(pixels[at]) for name, pixels in layers[row["tile"]].items()}
        assert codes[row["map_class"]] == here["lulc"]
        assert row["confidence"] == here["confidence"]
        assert row["cloud"] == (None if here["cloud"] == 255 else here["cloud"])
        assert row["optical_age"] == (None if here["cloud"] == 255 else -2)
        h = strata.names.index(row["stratum"])
        assert row["inclusion_probability"] == sizes_of(strata)[h] / strata.pixels[h]
        box = BOXES[row["tile"]]
        assert row["pixel_m2"] == pytest.approx(pixel_areas(box)[at[0]], abs=1e-4)


def test_the_seed_decides_and_the_order_tells_nothing(product):
    how = stratification(product, by_cloud=True)
    strata = count_strata(product, how)
    first, again, other = (draw(product, how, strata, sizes_of(strata), s) for s in (1, 1, 2))
    assert first == again
    assert {(r["x"], r["y"]) for r in first} != {(r["x"], r["y"]) for r in other}
    assert [row["sample_id"] for row in first] == sorted(row["sample_id"] for row in first)
    neighbours = sum(a["stratum"] == b["stratum"] for a, b in zip(first, first[1:], strict=False))
    assert neighbours < len(first) / 4


def test_every_pixel_of_a_stratum_has_the_same_chance(product, layers):
    how = stratification(product, by_cloud=False)
    strata = count_strata(product, how)
    sizes = np.where(np.array(strata.names) == "grassland", 400, 2)
    rows = [r for seed in range(12) for r in draw(product, how, strata, sizes, seed)]
    drawn = [r for r in rows if r["map_class"] == "grassland"]
    pixels = {name: layers[name]["lulc"] == 30 for name in BOXES}
    total = sum(p.sum() for p in pixels.values())
    # By tile and half of the tile: counts as the pixels there, to 4 standard errors.
    for name, mask in pixels.items():
        middle = BOXES[name].x0 + 150 / 12_000
        for part, here in ((mask[:, :150], True), (mask[:, 150:], False)):
            expected = len(drawn) * part.sum() / total
            found = sum(r["tile"] == name and (r["x"] < middle) == here for r in drawn)
            assert abs(found - expected) < 4 * np.sqrt(expected)


def test_only_blocks_with_a_sample_are_read_again(product, monkeypatch):
    monkeypatch.setattr(published, "BLOCK", 64)
    how = stratification(product, by_cloud=False)
    strata = count_strata(product, how)
    read = []

    def watched(tile, layers, only=None):
        for number, window in read_blocks(tile, layers, only):
            read.append((tile.name, number))
            yield number, window

    monkeypatch.setattr("transforms.sampling.read_blocks", watched)
    rows = draw(product, how, strata, np.full(len(strata.names), 2), seed=0)
    assert len(read) == len(set(read)) <= len(rows) < len(strata.by_block)


def test_a_projected_product_has_both_coordinates(tmp_path):
    box = geobox(500_000, 5_540_000, 100, 80, epsg=32631)
    root = make_product(
        str(tmp_path),
        DAY,
        {ProductTile("E00N00", box): patchwork(np.random.default_rng(0), 80, 100)},
    )
    product = open_product(root)
    how = stratification(product, by_cloud=False)
    strata = count_strata(product, how)
    for row in draw(product, how, strata, np.minimum(3, strata.pixels), seed=0):
        assert row["crs"] == "EPSG:32631"
        assert 500_000 < row["x"] < 501_000
        assert (row["lon"], row["lat"]) == pytest.approx((3.007, 50.0), abs=0.02)


def test_strata_by_cloud_need_the_layers(tmp_path):
    pixels = patchwork(np.random.default_rng(0), 60, 60)
    root = make_product(
        str(tmp_path),
        DAY,
        {ProductTile("N50E003", geobox(3, 50, 60, 60)): {"lulc": pixels["lulc"]}},
    )
    product = open_product(root)
    with pytest.raises(ValueError, match="no layer cloud, reliability.*--strata class"):
        stratification(product, by_cloud=True)
    assert count_strata(product, stratification(product, by_cloud=False)).pixels.sum() > 0


def test_a_product_that_is_none_is_named(tmp_path):
    with pytest.raises(ValueError, match="expected the folder of a run or of a product"):
        open_product(str(tmp_path))
