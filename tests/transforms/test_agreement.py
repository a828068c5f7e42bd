"""Agreement with another map: against a computation pixel by pixel."""

from collections import Counter

import numpy as np
import pytest
import rasterio
import shapely
from made_products import DAY, DEGREE, geobox, make_product, patchwork
from pyproj import Geod, Transformer

from model.crosswalks import OTHER_MAPS
from model.legend import LULC6
from transforms import published
from transforms.agreement import Place, agreement, agreement_text, differences
from transforms.other_map import EXACT, WARPED, OtherRasters
from transforms.product import ProductTile
from transforms.published import open_product

BOX = geobox(3.0, 50.0, 150, 110)
TILE = ProductTile("N49E003", BOX)
NAMES = {c.code: c.name for c in LULC6.classes}
MIDDLE = 3.0 + 70.5 / DEGREE
WEST = Place("west", shapely.box(2.9, 49.9, MIDDLE, 50.1))


@pytest.fixture(scope="module")
def lulc():
    return patchwork(np.random.default_rng(3), *BOX.shape)["lulc"]


@pytest.fixture(scope="module")
def product(lulc, tmp_path_factory):
    return open_product(
        make_product(str(tmp_path_factory.mktemp("run")), DAY, {TILE: {"lulc": lulc}})
    )


def write(path, codes, epsg, x0, y0, step, nodata=0):
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=codes.shape[1],
        height=codes.shape[0],
        count=1,
        dtype="uint8",
        crs=f"EPSG:{epsg}",
        transform=rasterio.Affine(step, 0, x0, 0, -step, y0),
        nodata=nodata,
    ) as raster:
        raster.write(codes.astype(np.uint8), 1)
    return str(path)


def areas():
    """(y,) km2 of a pixel of each row, by pyproj's geodesic polygons."""
    geod, left, right = Geod(ellps="WGS84"), BOX.x0, BOX.x0 + BOX.resolution
    tops = BOX.y0 - BOX.resolution * np.arange(BOX.height)
    return [
        # Along parallels a geodesic bulges poleward: short pieces follow them.
        abs(
            geod.polygon_area_perimeter(
                [*np.linspace(left, right, 9), *np.linspace(right, left, 9)],
                [top] * 9 + [top - BOX.resolution] * 9,
            )[0]
        )
        / 1e6
        for top in tops
    ]


def centres():
    x = BOX.x0 + (np.arange(BOX.width) + 0.5) * BOX.resolution
    y = BOX.y0 - (np.arange(BOX.height) + 0.5) * BOX.resolution
    return np.meshgrid(x, y)


def by_hand(lulc, codes, table, here):
    """(our name, their name) -> km2, one pixel after the other."""
    km2, names = areas(), {c.index: c.name for c in LULC6.classes}
    pairs = Counter()
    for (row, col), code in np.ndenumerate(lulc):
        if code and here[row, col] and codes[row, col] in table:
            pairs[NAMES[code], names[table[codes[row, col]]]] += km2[row]
    return pairs


def check(figures, pairs):
    found = {
        (ours, theirs): km2
        for ours, row in figures["confusion_km2"].items()
        for theirs, km2 in row.items()
    }
    assert found == pytest.approx(dict(pairs), rel=1e-5, abs=2e-6)
    both = sum(km2 for (a, b), km2 in pairs.items() if a == b)
    assert figures["agreement_km2"] == pytest.approx(both, abs=2e-6)
    assert figures["agreement"] == pytest.approx(both / sum(pairs.values()), rel=1e-5)
    for name in {a for a, _ in pairs}:
        ours = sum(km2 for (a, _), km2 in pairs.items() if a == name)
        theirs = sum(km2 for (_, b), km2 in pairs.items() if b == name)
        row = figures["classes"][name]
        assert row["ours_km2"] == pytest.approx(ours, abs=2e-6)
        assert row["of_ours"] == pytest.approx(pairs[name, name] / ours, abs=1e-5)
        if theirs:
            assert row["of_theirs"] == pytest.approx(pairs[name, name] / theirs, abs=1e-5)


def test_worldcover_on_the_same_grid_in_two_tiles(product, lulc, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "BLOCK", 64)
    rng = np.random.default_rng(1)
    known = [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100]
    codes = rng.choice(known, BOX.shape).astype(np.uint8)
    codes[:, :5] = 0
    folder = tmp_path / "tiles"
    folder.mkdir()
    # One tile ends inside the product, one reaches beyond it.
    wide = np.full((BOX.height + 30, 100), 80)
    wide[20:-10, :90] = codes[:, 60:]
    step = BOX.resolution
    write(folder / "a.tif", codes[:, :60], 4326, BOX.x0, BOX.y0, step)
    write(folder / "b.tif", wide, 4326, BOX.x0 + 60 * step, BOX.y0 + 20 * step, step)
    other = OTHER_MAPS["worldcover"]
    with OtherRasters(str(folder), other.nodata) as rasters:
        document = agreement(product, other, rasters, [Place("all", None), WEST])
    assert document["matched_by"] == [EXACT]
    everywhere, west = document["places"]
    check(everywhere, by_hand(lulc, codes, other.crosswalk.table, np.ones(BOX.shape, bool)))
    check(west, by_hand(lulc, codes, other.crosswalk.table, centres()[0] < MIDDLE))
    lost = everywhere["without_counterpart_km2"]
    km2 = np.array(areas())[:, None]
    assert lost["mangroves"] == pytest.approx((km2 * ((codes == 95) & (lulc > 0))).sum(), abs=2e-6)
    assert set(lost) == {"snow and ice", "herbaceous wetland", "mangroves", "moss and lichen"}
    not_there = (km2 * ((codes == 0) & (lulc > 0))).sum()
    assert everywhere["not_in_other_map_km2"] == pytest.approx(not_there, abs=2e-6)
    total = everywhere["compared_km2"] + sum(lost.values()) + not_there
    assert everywhere["mapped_km2"] == pytest.approx(total, abs=1e-5)
    shrub = everywhere["confusion_by_their_class_km2"]["forest"]["shrubland"]
    here = (codes == 20) & (lulc == 10)
    assert shrub == pytest.approx((km2 * here).sum(), abs=2e-6)


def test_esri_in_utm_by_the_pixel_that_holds_the_centre(product, lulc, tmp_path):
    rng = np.random.default_rng(2)
    left, top = 499_990, 5_539_000
    codes = rng.choice([1, 2, 4, 5, 7, 8, 9, 10, 11], (130, 120)).astype(np.uint8)
    path = write(tmp_path / "31U.tif", codes, 32631, left, top, 10)
    x, y = Transformer.from_crs(4326, 32631, always_xy=True).transform(*centres())
    cols = np.floor((x - left) / 10).astype(int)
    rows = np.floor((top - y) / 10).astype(int)
    inside = (rows >= 0) & (rows < 130) & (cols >= 0) & (cols < 120)
    assert 0.5 < inside.mean() < 1
    ours = np.where(inside, codes[rows.clip(0, 129), cols.clip(0, 119)], 0)
    other = OTHER_MAPS["esri"]
    with OtherRasters(path, other.nodata) as rasters:
        document = agreement(product, other, rasters, [Place("all", None)])
    assert document["matched_by"] == [WARPED]
    check(
        document["places"][0],
        by_hand(lulc, ours, other.crosswalk.table, np.ones(BOX.shape, bool)),
    )


def test_dynamic_world_counts_water_though_its_code_is_0(product, lulc, tmp_path):
    codes = np.full(BOX.shape, 255)
    codes[lulc == 80] = 0
    step = BOX.resolution
    path = write(tmp_path / "dw.tif", codes, 4326, BOX.x0, BOX.y0, step, nodata=255)
    other = OTHER_MAPS["dynamicworld"]
    with OtherRasters(path, other.nodata) as rasters:
        figures = agreement(product, other, rasters, [Place("all", None)])["places"][0]
    assert figures["agreement"] == 1
    assert figures["compared_km2"] == figures["classes"]["water"]["both_km2"] > 0


def test_the_map_of_differences_says_what_each_map_says(product, lulc, tmp_path):
    codes = np.where(lulc == 30, 90, lulc)
    codes[lulc == 10] = 40
    codes[:, 100:] = 0
    path = write(tmp_path / "wc.tif", codes, 4326, BOX.x0, BOX.y0, BOX.resolution)
    written = {}

    def collect(tile, windows):
        (window,) = windows
        written[tile.name] = window.layers["differences"]

    other = OTHER_MAPS["worldcover"]
    with OtherRasters(path, other.nodata) as rasters:
        agreement(product, other, rasters, [Place("all", None)], collect)
    names = {c.code: c.name for c in differences().classes} | {0: "nodata"}
    (drawn,) = written.values()
    expected = {
        10: "here forest, there cropland",
        30: "there a class without counterpart",
        0: "nodata",
    }
    for (row, col), code in np.ndenumerate(lulc):
        wanted = expected.get(int(code), "agree")
        if col >= 100 and code:
            wanted = "not in the other map"
        assert names[drawn[row, col]] == wanted


def test_crosswalks_are_declared_whole():
    for other in OTHER_MAPS.values():
        assert set(other.crosswalk.table) | set(other.crosswalk.unmapped) == {
            *other.names,
            other.nodata,
        }
        assert other.nodata not in other.names
        assert set(other.crosswalk.table.values()) == {c.index for c in LULC6.classes}
    assert OTHER_MAPS["worldcover"].many_to_one == {"grassland": ["shrubland", "grassland"]}
    assert OTHER_MAPS["esri"].many_to_one == {"grassland": ["grass", "scrub", "rangeland"]}
    assert "mangroves" in OTHER_MAPS["worldcover"].without_counterpart


def test_the_table_says_what_was_lost(product, lulc, tmp_path):
    path = write(tmp_path / "wc.tif", lulc, 4326, BOX.x0, BOX.y0, BOX.resolution)
    other = OTHER_MAPS["worldcover"]
    with OtherRasters(path, other.nodata) as rasters:
        text = agreement_text(agreement(product, other, rasters, [Place("all", None)]))
    assert "shrubland, grassland -> grassland" in text
    assert "(100.0%)" in text
    assert "agreement is not accuracy" in text


def test_maps_of_other_places_and_other_products_are_refused(product, lulc, tmp_path):
    other = OTHER_MAPS["worldcover"]
    far = write(tmp_path / "far.tif", lulc, 4326, 40.0, BOX.y0, BOX.resolution)
    with (
        OtherRasters(far, other.nodata) as rasters,
        pytest.raises(ValueError, match="maps no pixel of the product"),
    ):
        agreement(product, other, rasters, [Place("all", None)])
    strange = write(tmp_path / "x.tif", lulc + 3, 4326, BOX.x0, BOX.y0, BOX.resolution)
    with (
        OtherRasters(strange, other.nodata) as rasters,
        pytest.raises(ValueError, match="the other map, tile N49E003 holds codes"),
    ):
        agreement(product, other, rasters, [Place("all", None)])
