"""The files source: catalogues of every shape, exact windows, and errors that name the culprit."""

from __future__ import annotations

import json
import shutil
from datetime import date

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from rasterio.windows import Window

from tests.servers.cog_server import CogServer, Faults, serving
from tests.transforms.sources.made_scenes import (
    BOX,
    optical_item,
    sar_item,
    save,
    write_scenes,
    write_tif,
)
from transforms.grid import GeoBox
from transforms.period import Period
from transforms.scene import SourceUnavailable, overlap
from transforms.sources.files import FilesSource
from transforms.sources.patience import Patience

HERE = frozenset({"127.0.0.1"})  # the servers of tests are not on the internet
WORLD = (-180.0, -90.0, 180.0, 90.0)
JUNE = Period(date(2024, 6, 1), date(2024, 7, 1))


def only_scene(folder, item, **files):
    """The scene of a folder with one item and these files: name -> (pixels, geobox)."""
    save(folder / "item.json", item)
    for name, (pixels, box) in files.items():
        write_tif(folder / f"{name}.tif", pixels, box)
    source = FilesSource(str(folder))
    return source, source.search(WORLD, JUNE)[0]


def one_band(band, href, **fields):
    return optical_item("one", "2024-06-10", BOX) | {"assets": {band: {"href": href, **fields}}}


class TestCatalogues:
    def test_folder_collection_catalog_and_item_hold_the_same_scenes(self, tmp_path):
        write_scenes(tmp_path)
        names = sorted(p.name for p in tmp_path.glob("*.json"))
        items = [json.loads((tmp_path / name).read_text()) for name in names]
        folder = FilesSource(str(tmp_path)).search(WORLD, JUNE)
        assert [s.id for s in folder] == ["sar-a", "optical-a", "optical-b", "sar-b"]

        save(tmp_path / "more" / "all.json", {"type": "FeatureCollection", "features": items})
        shutil.move(tmp_path / "more" / "all.json", tmp_path.parent / "all.json")
        for item in items:
            for asset in item["assets"].values():
                asset["href"] = str(tmp_path / asset["href"])
        together = {"type": "FeatureCollection", "features": items}
        save(tmp_path.parent / "all.json", together)
        collected = FilesSource(str(tmp_path.parent / "all.json")).search(WORLD, JUNE)
        assert [s._replace(link="") for s in collected] == [s._replace(link="") for s in folder]

        links = [{"rel": "item", "href": f"../{tmp_path.name}/{name}"} for name in names]
        save(tmp_path.parent / "sub" / "collection.json", {"type": "Collection", "links": links})
        root = [{"rel": "child", "href": "sub/collection.json"}, {"rel": "root", "href": "x.json"}]
        save(tmp_path.parent / "catalog.json", {"type": "Catalog", "links": root})
        assert FilesSource(str(tmp_path.parent / "catalog.json")).search(WORLD, JUNE) == folder

        single = FilesSource(f"file://{tmp_path}/sar-a.json").search(WORLD, JUNE)
        assert single == [folder[0]]

    def test_relative_catalogues_give_relative_links(self, tmp_path, monkeypatch):
        write_scenes(tmp_path / "here")
        monkeypatch.chdir(tmp_path)
        source = FilesSource("here")
        scene = source.search(WORLD, JUNE)[0]
        assert scene.link == "here/sar-a.json" and scene.assets[0].href == "here/sar-a_vv.tif"
        source.check_scene(scene)

    def test_bounds_and_the_antimeridian(self, tmp_path):
        fiji = optical_item("fiji", "2024-06-10", BOX) | {"bbox": [179.2, -17.0, -179.6, -16.0]}
        save(tmp_path / "a.json", fiji)
        save(tmp_path / "b.json", optical_item("austria", "2024-06-10", BOX))
        source = FilesSource(str(tmp_path))

        def found(*bounds):
            return [s.id for s in source.search(bounds, JUNE)]

        assert found(179.5, -16.5, 179.8, -16.2) == ["fiji"]
        assert found(-179.9, -16.5, -179.7, -16.2) == ["fiji"]
        assert found(179.9, -16.5, -179.9, -16.2) == ["fiji"]
        assert found(178.0, -16.5, 179.0, -16.2) == found(-179.0, -16.5, 0.0, -16.2) == []
        assert found(14.9, 46.0, 15.1, 47.0) == ["austria"]
        assert not overlap((10, 0, 11, 1), (170, 0, -170, 1))

    def test_undated_scenes_are_found_by_their_range(self, tmp_path):
        item = optical_item("undated", "2024-06-10", BOX, datetime=None)
        item["properties"] |= {
            "start_datetime": "2024-06-20T00:00:00Z",
            "end_datetime": "2024-07-03T23:59:59Z",
        }
        save(tmp_path / "item.json", item)
        source = FilesSource(str(tmp_path))
        (scene,) = source.search(WORLD, JUNE)
        assert scene.time is None and scene.start.day == 20 and scene.end.day == 3
        assert source.search(WORLD, Period(date(2024, 7, 3), date(2024, 7, 4))) == [scene]
        assert source.search(WORLD, Period(date(2024, 7, 4), date(2024, 8, 1))) == []
        assert source.search(WORLD, Period(date(2024, 6, 1), date(2024, 6, 20))) == []


class TestItems:
    def test_stac_1_0_with_two_band_lists(self, scenes_folder):
        scene = next(s for s in FilesSource(str(scenes_folder)).search(WORLD, JUNE) if s.cloud)
        assert (scene.cloud, scene.level, scene.bands) == (
            0.25,
            "L2A",
            ("B02", "B03", "B05", "SCL"),
        )
        assert [scene.asset(b).index for b in ("B02", "B03", "B05")] == [1, 2, 1]
        assert scene.asset("B03").scale == 1e-4 and scene.asset("SCL").scale == 1.0
        assert scene.asset("B05").nodata == 0  # by the product's definition

    def test_stac_1_1_bands_units_and_level(self, scenes_folder):
        scene = FilesSource(str(scenes_folder)).search(WORLD, JUNE)[0]
        assert (scene.unit, scene.level, scene.orbit) == ("dB", "sigma0", "ascending")
        assert scene.bands == ("VV", "VH")

    @pytest.mark.parametrize(
        ("key", "fields", "band"),
        [
            ("blue", {}, "B02"),
            ("B2", {}, "B02"),
            ("b02", {}, "B02"),
            ("B02_10m", {}, "B02"),
            ("nir08-jp2", {}, "B8A"),
            ("rededge1", {"eo:bands": [{"name": "rededge1", "common_name": "rededge"}]}, "B05"),
            ("data", {"bands": [{"name": "x", "eo:common_name": "swir22"}]}, "B12"),
            ("CLDPRB", {}, "CLOUD_PROBABILITY"),
            ("MSK_CLDPRB_20m", {}, "CLOUD_PROBABILITY"),
            ("cloud", {"raster:bands": [{"nodata": 0}]}, "CLOUD_PROBABILITY"),
        ],
    )
    def test_band_names(self, tmp_path, key, fields, band):
        _, scene = only_scene(tmp_path, one_band(key, "x.tif", **fields))
        assert scene.bands == (band,)
        assert scene.assets[0].nodata == (None if band == "CLOUD_PROBABILITY" else 0)

    def test_pictures_are_no_bands_and_the_finest_geotiff_wins(self, tmp_path):
        item = one_band("B04_20m", "20.tif")
        item["assets"] |= {
            "visual": {"href": "tci.tif", "eo:bands": [{"name": "B04"}]},
            "B04_10m": {"href": "10.tif"},
            "red-jp2": {"href": "red.jp2", "type": "image/jp2"},
            "thumbnail": {"href": "B04.png", "roles": ["thumbnail"]},
        }
        _, scene = only_scene(tmp_path, item)
        assert [a.href for a in scene.assets] == [str(tmp_path / "10.tif")]

    @pytest.mark.parametrize(
        ("properties", "offset"),
        [
            ({}, 0.0),
            ({"s2:processing_baseline": "03.01"}, 0.0),
            ({"s2:processing_baseline": "05.10"}, -0.1),
            ({"s2:product_uri": "S2A_MSIL2A_20240610T103021_N0510_R108_T33TWN.SAFE"}, -0.1),
            ({"s2:processing_baseline": "05.10", "earthsearch:boa_offset_applied": True}, 0.0),
        ],
    )
    def test_baseline_offset(self, tmp_path, properties, offset):
        item = optical_item("one", "2024-06-10", BOX, **properties)
        _, scene = only_scene(tmp_path, item)
        assert {scene.asset(b).offset for b in ("B02", "B05")} == {offset}
        assert scene.asset("SCL").offset == 0

    def test_declared_missing_bands(self, tmp_path):
        item = optical_item("one", "2024-06-10", BOX)
        item["properties"]["cloudlulc:missing_bands"] = ["B01", "nir09"]
        _, scene = only_scene(tmp_path, item)
        assert scene.missing == ("B01", "B09")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"constellation": "landsat"}, "unknown sensor"),
            ({"datetime": None}, "start_datetime"),
            ({"datetime": "2024-06-10T10:30:00"}, "expected UTC"),
            ({"eo:cloud_cover": 250}, "percent"),
            ({"eo:cloud_cover": "low"}, "percent"),
            ({"cloudlulc:missing_bands": ["B05"]}, "declared missing"),
            ({"cloudlulc:missing_bands": ["B77"]}, "B77"),
        ],
    )
    def test_unusable_optical_items(self, tmp_path, change, words):
        save(tmp_path / "item.json", optical_item("culprit", "2024-06-10", BOX, **change))
        with pytest.raises(ValueError, match=f"'culprit'.*{words}"):
            FilesSource(str(tmp_path)).search(WORLD, JUNE)

    @pytest.mark.parametrize("box", [None, [1, 2, 3], [0, 10, 5, "north"], [0, 10, 5, 200]])
    def test_items_without_a_usable_bbox(self, tmp_path, box):
        item = optical_item("culprit", "2024-06-10", BOX) | {"bbox": box}
        save(tmp_path / "item.json", item)
        with pytest.raises(ValueError, match="'culprit'.*bbox"):
            FilesSource(str(tmp_path)).search(WORLD, JUNE)

    def test_backscatter_without_a_unit(self, tmp_path):
        item = sar_item("culprit", "2024-06-10", BOX)
        del item["assets"]["vv"]["bands"][0]["unit"], item["assets"]["vh"]["bands"][0]["unit"]
        save(tmp_path / "item.json", item)
        with pytest.raises(ValueError, match="'culprit'.*unit.*'dB' or 'linear'"):
            FilesSource(str(tmp_path)).search(WORLD, JUNE)
        item["collection"] = "sentinel-1-rtc"
        del item["properties"]["cloudlulc:backscatter"]
        save(tmp_path / "item.json", item)
        (scene,) = FilesSource(str(tmp_path)).search(WORLD, JUNE)
        assert (scene.unit, scene.level) == ("linear", "gamma0")

    def test_two_items_of_one_id(self, tmp_path):
        for name in ("a", "b"):
            save(tmp_path / f"{name}.json", optical_item("twin", "2024-06-10", BOX))
        with pytest.raises(ValueError, match="two items.*'twin'.*a.json.*b.json"):
            FilesSource(str(tmp_path)).search(WORLD, JUNE)

    @pytest.mark.parametrize(
        ("text", "words"),
        [("{", "not JSON"), ('{"type": "Dataset"}', "Dataset"), (None, "no such|no file")],
    )
    def test_what_is_no_catalogue(self, tmp_path, text, words):
        path = tmp_path / "catalog.json"
        if text:
            path.write_text(text)
        with pytest.raises(ValueError, match=words):
            FilesSource(str(path)).search(WORLD, JUNE)

    def test_a_link_to_nothing(self, tmp_path):
        links = [{"rel": "item", "href": "gone.json"}]
        save(tmp_path / "catalog.json", {"type": "Catalog", "links": links})
        with pytest.raises(ValueError, match="gone.json"):
            FilesSource(str(tmp_path / "catalog.json")).search(WORLD, JUNE)


class TestWindows:
    def test_on_the_grid_pixels_are_the_stored_ones(self, scenes_folder):
        source = FilesSource(str(scenes_folder))
        scene = next(s for s in source.search(WORLD, JUNE) if s.id == "optical-a")
        box = BOX._replace(x0=BOX.x0 + 170, y0=BOX.y0 - 130, width=70, height=60)
        raster = source.read(scene, box, ("B03", "B02"))
        with rasterio.open(scenes_folder / "optical-a_10m.tif") as dataset:
            expected = dataset.read([2, 1], window=Window(17, 13, 70, 60))
        assert raster.pixels.tobytes() == expected.tobytes()
        assert raster.pixels.dtype == np.uint16 and raster.nodata == 0

    def test_beyond_the_edge_there_is_nodata(self, scenes_folder):
        source = FilesSource(str(scenes_folder))
        scene = source.search(WORLD, JUNE)[0]
        box = BOX._replace(x0=BOX.x0 - 50, y0=BOX.y0 + 70)
        pixels = source.read(scene, box, ("VV",)).pixels[0]
        with rasterio.open(scenes_folder / "sar-a_vv.tif") as dataset:
            stored = dataset.read(1)
        np.testing.assert_array_equal(pixels[7:, 5:], stored[:-7, :-5])
        assert np.isnan(pixels[:7]).all() and np.isnan(pixels[:, :5]).all()

    def test_twenty_metres_to_ten_is_bilinear(self, tmp_path):
        half = BOX._replace(resolution=20.0, width=40, height=30)
        rows, cols = np.mgrid[:30, :40]
        plane = (1000 + 40 * rows + 8 * cols).astype(np.uint16)
        source, scene = only_scene(tmp_path, one_band("B05", "ramp.tif"), ramp=(plane, half))
        inner = BOX._replace(x0=BOX.x0 + 40, y0=BOX.y0 - 40, width=60, height=40)
        pixels = source.read(scene, inner, ("B05",)).pixels[0]
        # A plane is reproduced exactly: at the 10 m centres, a quarter pixel off those of 20 m.
        y, x = np.mgrid[:40, :60]
        expected = 1000 + 40 * (2 + (y - 0.5) / 2) + 8 * (2 + (x - 0.5) / 2)
        np.testing.assert_array_equal(pixels, np.rint(expected))

    def test_bilinear_of_rough_pixels_equals_a_plain_loop(self, scenes_folder):
        source = FilesSource(str(scenes_folder))
        scene = source.search(WORLD, JUNE)[0]
        box = BOX._replace(x0=BOX.x0 + 103, y0=BOX.y0 - 6, width=9, height=8)
        pixels = source.read(scene, box, ("VV",)).pixels[0]
        with rasterio.open(scenes_folder / "sar-a_vv.tif") as dataset:
            stored = dataset.read(1).astype(float)
        for y in range(8):
            for x in range(9):
                row, col = 0.6 + y, 10.3 + x  # of the window's upper left corner, px
                if np.isnan(stored[round(row), int(col + 0.5)]):
                    assert np.isnan(pixels[y, x])
                    continue
                r, c = int(row), int(col)
                total = weight = 0.0
                for dr, wr in ((0, 1 - (row - r)), (1, row - r)):
                    for dc, wc in ((0, 1 - (col - c)), (1, col - c)):
                        if not np.isnan(stored[r + dr, c + dc]):
                            total += wr * wc * stored[r + dr, c + dc]
                            weight += wr * wc
                assert pixels[y, x] == pytest.approx(total / weight, rel=1e-6)

    def test_holes_neither_bleed_nor_grow(self, scenes_folder):
        source = FilesSource(str(scenes_folder))
        scene = next(s for s in source.search(WORLD, JUNE) if s.id == "optical-a")
        pixels = source.read(scene, BOX, ("B05",)).pixels[0]
        with rasterio.open(scenes_folder / "optical-a_20m.tif") as dataset:
            stored = dataset.read(1)
        hole = np.zeros(BOX.shape, bool)
        hole[40:50, 60:80] = True
        np.testing.assert_array_equal(pixels == 0, hole)
        rim = pixels[39, 60:80]
        assert rim.min() >= stored[19, 29:41].min()  # no zero was averaged in

    def test_scl_takes_the_nearest_and_is_never_averaged(self, scenes_folder):
        source = FilesSource(str(scenes_folder))
        scene = next(s for s in source.search(WORLD, JUNE) if s.id == "optical-a")
        raster = source.read(scene, BOX, ("SCL",))
        with rasterio.open(scenes_folder / "optical-a_scl.tif") as dataset:
            stored = dataset.read(1)
        np.testing.assert_array_equal(raster.pixels[0], stored.repeat(2, 0).repeat(2, 1))
        assert raster.pixels.dtype == np.uint8

    def test_another_zone_shows_the_same_place(self, tmp_path):
        wide = BOX._replace(width=400, height=400)
        rows, cols = np.mgrid[:400, :400]
        plane = (3000 + 5.0 * rows + 3.0 * cols).astype(np.float32)
        item = sar_item("ramp", "2024-06-10", wide)
        source, scene = only_scene(tmp_path, item, ramp_vv=(plane, wide), ramp_vh=(plane, wide))
        to_next = Transformer.from_crs(32633, 32632, always_xy=True)
        x0, y0 = (round(v, -1) for v in to_next.transform(BOX.x0 + 1500, BOX.y0 - 1500))
        box = GeoBox(32632, x0, y0, 10.0, 50, 40)
        pixels = source.read(scene, box, ("VV",)).pixels[0]
        y, x = np.mgrid[:40, :50]
        east, north = Transformer.from_crs(32632, 32633, always_xy=True).transform(
            x0 + 10 * (x + 0.5), y0 - 10 * (y + 0.5)
        )
        expected = 3000 + 5 * ((BOX.y0 - north) / 10 - 0.5) + 3 * ((east - BOX.x0) / 10 - 0.5)
        np.testing.assert_allclose(pixels, expected, atol=1e-3)

    def test_cloud_probability_beside_reflectance(self, tmp_path):
        item = one_band("B02", "blue.tif")
        item["assets"]["cloud"] = {"href": "cloud.tif", "bands": [{"nodata": 255}]}
        cloud = np.zeros(BOX.shape, np.uint8)
        cloud[5:8] = 255
        blue = np.full(BOX.shape, 500, np.uint16)
        source, scene = only_scene(tmp_path, item, blue=(blue, BOX), cloud=(cloud, BOX))
        both = source.read(scene, BOX, ("B02", "CLOUD_PROBABILITY"))
        # An unknown probability does not become 0 % although reflectance's nodata is 0.
        assert both.nodata == 0 and (both.pixels[1] == cloud).all()
        alone = source.read(scene, BOX._replace(x0=BOX.x0 - 10), ("CLOUD_PROBABILITY",))
        assert alone.nodata == 255 and (alone.pixels[0, :, 0] == 255).all()
        assert (alone.pixels[0, 8:, 1:] == 0).all()


class TestFiles:
    def check(self, folder, **files):
        source, scene = only_scene(folder, one_band("B02", "b.tif"), **files)
        source.check_scene(scene, bands=("B02",))

    def test_good_files_pass(self, scenes_folder):
        source = FilesSource(str(scenes_folder))
        for scene in source.search(WORLD, JUNE):
            source.check_scene(scene, bands=scene.bands)

    def test_a_scene_is_checked_once_however_many_tiles_it_lies_in(self, tmp_path):
        pixels = np.full(BOX.shape, 500, np.uint16)
        source, scene = only_scene(tmp_path, one_band("B02", "B02.tif"), B02=(pixels, BOX))
        opened = []
        source.check_scene = lambda found: opened.append(found.id)
        for _ in range(3):
            source.check(WORLD, JUNE)
        assert opened == [scene.id]

    def test_a_missing_band(self, scenes_folder):
        source = FilesSource(str(scenes_folder))
        scene = next(s for s in source.search(WORLD, JUNE) if s.id == "optical-a")
        with pytest.raises(ValueError, match="optical-a.*B01.*B12.*cloudlulc:missing_bands"):
            source.check_scene(scene)

    def test_a_missing_file(self, tmp_path):
        source, scene = only_scene(tmp_path, one_band("B02", "gone.tif"))
        with pytest.raises(ValueError, match="one, band B02: .*gone.tif cannot be opened"):
            source.check_scene(scene, bands=("B02",))
        with pytest.raises(SourceUnavailable, match="one, band B02: .*gone.tif cannot be read"):
            source.read(scene, BOX, ("B02",))

    @pytest.mark.parametrize("share", [0.5, 0.95])
    def test_a_truncated_file(self, tmp_path, share):
        pixels = np.random.default_rng(0).integers(1, 9000, BOX.shape).astype(np.uint16)
        source, scene = only_scene(tmp_path, one_band("B02", "b.tif"), b=(pixels, BOX))
        path = tmp_path / "b.tif"
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        with pytest.raises(ValueError, match="one, band B02: .*b.tif is truncated"):
            source.check_scene(scene, bands=("B02",))
        with pytest.raises(SourceUnavailable, match="one, band B02: .*b.tif cannot be read"):
            source.read(scene, BOX, ("B02",))

    @pytest.mark.parametrize("interleave", ["band", "pixel"])
    def test_a_truncated_file_of_two_bands(self, tmp_path, interleave):
        pixels = np.random.default_rng(0).integers(1, 9000, (2, *BOX.shape)).astype(np.uint16)
        item = one_band("data", "b.tif", bands=[{"name": "B08"}, {"name": "B02"}])
        source, scene = only_scene(tmp_path, item)
        path = tmp_path / "b.tif"
        write_tif(path, pixels, BOX, interleave=interleave, compress="deflate")
        source.check_scene(scene, bands=("B02",))
        path.write_bytes(path.read_bytes()[:-50])
        with pytest.raises(ValueError, match="band B02: .*b.tif is truncated"):
            source.check_scene(scene._replace(assets=(scene.asset("B02"),)), bands=("B02",))

    def test_what_is_no_geotiff(self, tmp_path):
        source, scene = only_scene(tmp_path, one_band("B02", "b.tif"))
        (tmp_path / "b.tif").write_text("<Error>no such key</Error>")
        with pytest.raises(ValueError, match="one, band B02: .*b.tif cannot be opened"):
            source.check_scene(scene, bands=("B02",))

    def test_a_file_without_crs(self, tmp_path):
        source, scene = only_scene(tmp_path, one_band("B02", "b.tif"))
        write_tif(tmp_path / "b.tif", np.ones(BOX.shape, np.uint16), BOX, crs=None)
        with pytest.raises(ValueError, match="one, band B02: .*b.tif has no CRS"):
            source.check_scene(scene, bands=("B02",))
        with pytest.raises(ValueError, match="one, band B02: .*b.tif has no CRS"):
            source.read(scene, BOX, ("B02",))

    def test_another_crs_than_declared(self, tmp_path):
        with pytest.raises(ValueError, match="EPSG:32632, but its item says EPSG:32633"):
            self.check(tmp_path, b=(np.ones(BOX.shape, np.uint16), BOX._replace(epsg=32632)))

    def test_a_rotated_file(self, tmp_path):
        source, scene = only_scene(tmp_path, one_band("B02", "b.tif"))
        turned = rasterio.Affine(10, 1, BOX.x0, 1, -10, BOX.y0)
        write_tif(tmp_path / "b.tif", np.ones(BOX.shape, np.uint16), BOX, transform=turned)
        with pytest.raises(ValueError, match="north-up"):
            source.check_scene(scene, bands=("B02",))

    def test_a_band_number_that_the_file_has_not(self, tmp_path):
        bands = [{"name": "B08"}, {"name": "B02"}]
        item = one_band("data", "b.tif", bands=bands)
        source, scene = only_scene(tmp_path, item, b=(np.ones(BOX.shape, np.uint16), BOX))
        with pytest.raises(ValueError, match="has 1 bands, the item wants number 2"):
            source.check_scene(scene, bands=("B02",))

    def test_integer_backscatter_without_nodata(self, tmp_path):
        item = sar_item("one", "2024-06-10", BOX)
        plane = np.full(BOX.shape, -1200, np.int16), BOX
        source, scene = only_scene(tmp_path, item, one_vv=plane, one_vh=plane)
        with pytest.raises(ValueError, match="int16 with nodata None.*raster:bands"):
            source.check_scene(scene)

    def test_an_unknown_kind_of_address(self, tmp_path):
        with pytest.raises(ValueError, match="ftp://"):
            only_scene(tmp_path, one_band("B02", "ftp://host/b.tif"))


class TestRemote:
    """Files behind https or in buckets get patience; local ones are read once."""

    @pytest.fixture
    def pixels(self):
        return np.random.default_rng(2).integers(1, 9000, BOX.shape).astype(np.uint16)

    def test_a_server_that_fails_and_comes_back_gives_the_same_pixels(self, tmp_path, pixels):
        write_tif(tmp_path / "B02.tif", pixels, BOX)
        waits = []
        faults = Faults("", (503, "drop"), 0.5, seed=1)
        with serving(CogServer(tmp_path).answer) as back, serving(faults.answer) as front:
            faults.target = back
            save(tmp_path / "item.json", one_band("B02", f"{front}/B02.tif"))
            patience = Patience(sleep=waits.append)
            source = FilesSource(str(tmp_path / "item.json"), patience, HERE)
            raster = source.read(source.search(WORLD, JUNE)[0], BOX, ("B02",))
        np.testing.assert_array_equal(raster.pixels[0], pixels)
        assert waits and faults.seen[503] + faults.seen["drop"] >= len(waits)

    def test_one_that_stays_down_is_named_after_all_attempts(self, tmp_path):
        waits = []
        with serving(lambda handler, body: (503, {}, b"")) as url:
            save(tmp_path / "item.json", one_band("B02", f"{url}/B02.tif"))
            source = FilesSource(str(tmp_path / "item.json"), Patience(sleep=waits.append), HERE)
            scene = source.search(WORLD, JUNE)[0]
            with pytest.raises(SourceUnavailable, match="one, band B02.*503.*after 6 attempts"):
                source.read(scene, BOX, ("B02",))
        assert len(waits) == 5

    def test_a_local_file_is_read_once(self, tmp_path):
        waits = []
        save(tmp_path / "item.json", one_band("B02", "gone.tif"))
        source = FilesSource(str(tmp_path / "item.json"), Patience(sleep=waits.append))
        with pytest.raises(SourceUnavailable, match="gone.tif"):
            source.read(source.search(WORLD, JUNE)[0], BOX, ("B02",))
        assert not waits
