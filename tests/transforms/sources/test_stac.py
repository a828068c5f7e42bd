"""The STAC source against a real API server, a web server of COGs, and what goes wrong there."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.servers.cog_server import Faults, serving
from tests.servers.gcs import gcs_emulator
from tests.servers.stac_api import stac_api
from tests.transforms.sources.made_cogs import BOX, catalog, items, optical_item, sar_item
from tests.transforms.sources.made_scenes import footprint
from transforms.grid import GeoBox
from transforms.period import Period
from transforms.scene import SENTINEL1, SENTINEL2, SourceUnavailable
from transforms.sources import open_source
from transforms.sources.assets import declared_crs
from transforms.sources.granules import newest, scene_of
from transforms.sources.patience import Patience
from transforms.sources.presets import PRESETS, Product, open_catalog, parse_catalog
from transforms.sources.stac import StacSource, open_stac, utc_now

BOUNDS = tuple(footprint(BOX))
JUNE = Period(date(2024, 6, 1), date(2024, 7, 1))
INNER = BOX._replace(x0=BOX.x0 + 200, y0=BOX.y0 - 150, width=150, height=120)
FIXTURES = Path(__file__).parents[2] / "fixtures" / "stac"
ROOT = Path(__file__).parents[3]

OPTICAL = PRESETS["earth-search"]
PLANETARY = PRESETS["planetary-computer"]


def at_once(seconds: float) -> None:
    """Waits that a test need not wait for."""


def unvaried() -> float:
    return 0.0


HASTY = Patience(sleep=at_once, jitter=unvaried)


def source(url: str, fallback=None, timeout=30.0, patience=HASTY, now=None, **fields) -> StacSource:
    clock = {"now": now} if now else {}
    return StacSource(
        catalog(url, **fields), fallback=fallback, patience=patience, timeout=timeout, **clock
    )


def fixture(name: str) -> dict:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def offsets(scene) -> set[float]:
    return {a.offset for a in scene.assets if a.band.startswith("B")}


@contextmanager
def api_of(documents: list[dict], folder: Path, **fields) -> Iterator[StacSource]:
    with stac_api(documents, folder) as url:
        yield source(url, **fields)


class TestDialects:
    """Real items of public APIs."""

    def test_earth_search_has_cogs_and_the_offset_is_off(self):
        for name in ("05.09", "05.11"):
            item = fixture(f"earth-search-v1_sentinel-2-l2a_{name}")
            scene = scene_of(item, "here", OPTICAL, OPTICAL.optical)
            assert offsets(scene) == {0.0} and scene.level == "L2A"
            assert all(a.href.startswith("https://sentinel-cogs.") for a in scene.assets)
            # The cloud probability lies where requests cost the reader.
            assert "SCL" in scene.bands and "CLOUD_PROBABILITY" not in scene.bands
            assert len(scene.bands) == 13

    def test_earth_search_declares_an_offset_for_old_baselines_too(self):
        item = fixture("earth-search-v1_sentinel-2-l2a_05.09")
        item["properties"] |= {"earthsearch:boa_offset_applied": False}
        assert offsets(scene_of(item, "", OPTICAL, OPTICAL.optical)) == {-0.1}
        item["assets"]["blue"]["raster:bands"][0]["offset"] = -0.1
        item["properties"] |= {"s2:processing_baseline": "02.14"}
        assert offsets(scene_of(item, "", OPTICAL, OPTICAL.optical)) == {0.0}

    def test_collection_1_keeps_the_offset(self):
        preset = PRESETS["earth-search-c1"]
        item = fixture("earth-search-v1_sentinel-2-c1-l2a_05.11")
        scene = scene_of(item, "", preset, preset.optical)
        assert offsets(scene) == {-0.1} and "CLOUD_PROBABILITY" in scene.bands

    @pytest.mark.parametrize(("baseline", "offset"), [("02.12", 0.0), ("04.00", -0.1)])
    def test_planetary_computer_goes_by_the_baseline(self, baseline, offset):
        item = fixture("planetary-computer_sentinel-2-l2a_02.12")
        item["properties"]["s2:processing_baseline"] = baseline
        scene = scene_of(item, "", PLANETARY, PLANETARY.optical)
        assert offsets(scene) == {offset} and len(scene.bands) == 13
        assert all(a.scale == 1e-4 and a.nodata == 0 for a in scene.assets if a.band[0] == "B")

    def test_old_apis_and_the_stactools_are_understood(self):
        old = replace(OPTICAL, optical=replace(OPTICAL.optical, offset="declared"))
        scene = scene_of(fixture("earth-search-v0_sentinel-s2-l2a-cogs"), "", old, old.optical)
        assert offsets(scene) == {0.0}
        scene = scene_of(fixture("stactools_sentinel2-l2a"), "", old, old.optical)
        assert scene.time.year == 2019 and {"B02", "B8A", "SCL"} <= set(scene.bands)

    def test_terrain_corrected_backscatter_is_linear_gamma0(self):
        scene = scene_of(fixture("stactools_sentinel1-rtc-aws"), "", PLANETARY, PLANETARY.sar)
        assert (scene.unit, scene.level, scene.bands) == ("linear", "gamma0", ("VV", "VH"))
        scene = scene_of(sar_item("x", "10", "http://h.org"), "", PLANETARY, PLANETARY.sar)
        assert (scene.unit, scene.level) == ("linear", "gamma0")
        assert {a.nodata for a in scene.assets} == {-32768.0}

    @pytest.mark.parametrize(
        ("name", "reasons"),
        [
            ("earth-search-v1_sentinel-1-grd_HH", ["raw GRD", "ground control", "polarised HH"]),
            ("stactools_sentinel-1-grd_VV-VH", ["raw GRD", "not terrain-corrected"]),
        ],
    )
    def test_raw_grd_is_refused_with_the_reason(self, name, reasons):
        raw = Product(("sentinel-1-grd",), unit="linear")
        api = replace(PLANETARY, sar=raw)
        with pytest.raises(ValueError) as error:
            scene_of(fixture(name), "", api, raw)
        assert all(reason in str(error.value) for reason in reasons)

    def test_jp2_for_others_and_items_without_assets_are_refused(self):
        with pytest.raises(ValueError, match="no asset"):
            scene_of(fixture("earth-search-v1_without-assets"), "", OPTICAL, OPTICAL.optical)
        with pytest.raises(ValueError, match="no asset"):
            scene_of(fixture("earth-search-v1_sentinel-2-l1c_05.11"), "", OPTICAL, OPTICAL.optical)
        cdse = PRESETS["cdse"]
        l1c = scene_of(fixture("earth-search-v1_sentinel-2-l1c_05.11"), "", cdse, cdse.optical)
        assert all(a.href.startswith("s3://") for a in l1c.assets)

    def test_proj_code_says_what_proj_epsg_says(self):
        item = fixture("earth-search-v1_sentinel-2-l2a_05.11")
        renamed = copy.deepcopy(item)
        renamed["properties"]["proj:code"] = f"EPSG:{renamed['properties'].pop('proj:epsg')}"
        assert declared_crs(item, "") == declared_crs(renamed, "") and declared_crs(item, "")
        scenes = [scene_of(i, "", OPTICAL, OPTICAL.optical) for i in (item, renamed)]
        assert scenes[0] == scenes[1]

    def test_a_footprint_cut_at_the_antimeridian_is_narrow(self):
        item = optical_item("x", "10", "http://h.org")
        parts = [[[[179.2, 1], [180, 1], [180, 2], [179.2, 1]]],
                 [[[-180, 1], [-179.6, 1], [-180, 2], [-180, 1]]]]  # fmt: skip
        item |= {"bbox": [-180, 1, 180, 2]}
        item |= {"geometry": {"type": "MultiPolygon", "coordinates": parts}}
        scene = scene_of(item, "", OPTICAL, OPTICAL.optical)
        assert scene.footprint == (179.2, 1, -179.6, 2)


class TestGranules:
    NAME = "S2A_MSIL2A_20240610T103021_N{}_R108_T33TWM_{}"

    def item(self, baseline, generated, strip="20240610T103021", **properties):
        name = self.NAME.format(baseline, generated)
        strip = f"S2A_OPER_MSI_L2A_DS_2APS_{generated}_S{strip}_N{baseline[:2]}.{baseline[2:]}"
        return {"id": name, "properties": {"s2:product_uri": name, "s2:datastrip_id": strip}}

    def test_the_newest_baseline_of_a_granule_is_kept(self):
        old, new = self.item("0400", "20240610T1"), self.item("0511", "20250101T1")
        other_tile = self.item("0400", "20240610T1")
        other_tile["properties"]["s2:product_uri"] = other_tile["id"].replace("T33TWM", "T33TWN")
        stranger = {"id": "mine", "properties": {}}
        assert newest([old, other_tile, new, stranger]) == [other_tile, new, stranger]

    def test_parts_of_a_datatake_are_all_kept(self):
        parts = [self.item("0511", "20240610T1"), self.item("0511", "20240610T2")]
        strips = [self.item("0400", "20240610T1"), self.item("0511", "20240611T1", "20240610T1045")]
        assert newest(parts) == parts and newest(strips) == strips


class TestConfiguration:
    TOML = """
        url = "https://stac.example.org/v1"
        signing = "planetary-computer"
        signing_url = "https://stac.example.org/token"
        signed_host = "example.org"
        [optical]
        collections = ["s2"]
        assets = {B02 = "azul", B03 = "verde"}
        scale = 2e-4
        offset = -0.2
        [sar]
        collections = ["s1"]
        unit = "dB"
        calibration = "sigma0"
        terrain_corrected = true
    """

    def test_toml_and_json_describe_any_api(self, tmp_path):
        import tomllib

        (tmp_path / "a.toml").write_text(self.TOML)
        (tmp_path / "a.json").write_text(json.dumps(tomllib.loads(self.TOML)))
        first, second = (open_catalog(str(tmp_path / f"a.{kind}")) for kind in ("toml", "json"))
        assert replace(first, name="") == replace(second, name="")
        assert first.optical.assets == (("B02", "azul"), ("B03", "verde"))
        assert first.optical.offset == -0.2 and first.sar.terrain_corrected
        assert open_source(f"stac:{tmp_path / 'a.toml'},sar=planetary-computer").sar == PLANETARY

    def test_named_assets_with_their_numbers(self):
        product = Product(
            ("s2",),
            assets=tuple((b, f"x-{b}") for b in scene_bands()),
            scale=2e-4,
            offset=-0.2,
            nodata=9,
        )
        api = replace(OPTICAL, optical=product)
        item = optical_item("x", "10", "http://h.org", **{"earthsearch:boa_offset_applied": False})
        named = zip(scene_bands(), list(item["assets"].values()), strict=True)
        item["assets"] = {f"x-{band}": asset for band, asset in named} | {"blue": {"href": "no"}}
        scene = scene_of(item, "", api, product)
        assert scene.bands == scene_bands()
        values = {a[3:] for a in scene.assets if a.band != "SCL"}
        assert values == {(2e-4, -0.2, 9)} and scene.asset("SCL").scale == 1.0

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"url": "ftp://x"}, "url"),
            ({"colour": 1}, "unknown.*colour"),
            ({"signing": "magic"}, "signing is 'magic'"),
            ({"signing": "s3-keys"}, "s3_endpoint"),
            ({"page": "many"}, "page"),
            ({"optical": {"collections": "s2"}}, "optical.collections"),
            ({"optical": {"collections": ["s2"], "assets": {"B99": "x"}}}, "B99"),
            ({"optical": {"collections": ["s2"], "offset": "guess"}}, "offset is 'guess'"),
            ({"sar": {"collections": ["s1"], "unit": "watt"}}, "unit is 'watt'"),
            ({"optical": []}, "optical"),
        ],
    )
    def test_wrong_configurations_are_named(self, change, message):
        good = {"url": "https://x", "optical": {"collections": ["s2"]}}
        parse_catalog(good, "f.toml")
        with pytest.raises(ValueError, match=message):
            parse_catalog(good | change, "f.toml")
        with pytest.raises(ValueError, match="optical, sar, or both"):
            parse_catalog({"url": "https://x"}, "f.toml")

    def test_unknown_presets_files_and_options_are_named(self, tmp_path):
        with pytest.raises(ValueError, match="earth-search.*planetary-computer.*cdse"):
            open_stac("earthsearch")
        with pytest.raises(ValueError, match="no file"):
            open_stac(str(tmp_path / "none.toml"))
        (tmp_path / "bad.json").write_text("{")
        with pytest.raises(ValueError, match="expected TOML or JSON"):
            open_stac(str(tmp_path / "bad.json"))
        with pytest.raises(ValueError, match="colour"):
            open_stac("cdse,colour=red")


def scene_bands() -> tuple[str, ...]:
    names = "B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12 SCL"
    return tuple(names.split())


class TestSearch:
    def test_pages_are_followed(self, api):
        whole = source(api.url).search(BOUNDS, JUNE)
        assert len(whole) == 4 and {s.sensor for s in whole} == {SENTINEL1, SENTINEL2}
        assert source(api.url, page=1).search(BOUNDS, JUNE) == whole
        assert all(s.link.startswith(f"{api.url}/collections/") for s in whole)

    def test_the_antimeridian(self, tmp_path):
        def moved(name, west, east):
            ring = [[west, 1], [east, 1], [east, 2], [west, 2], [west, 1]]
            item = optical_item(name, "10", "http://h.org") | {"bbox": [west, 1, east, 2]}
            return item | {"geometry": {"type": "Polygon", "coordinates": [ring]}}

        found = [moved("east", 179, 179.9), moved("west", -179.9, -179), moved("far", 100, 101)]
        found.append(sar_item("s1", "10", "http://h.org"))
        with api_of(found, tmp_path) as stac:
            names = [s.id for s in stac.search((179.5, 0, -179.5, 3), JUNE)]
        assert names == ["east", "west"]

    def test_a_granule_that_was_processed_again_is_found_once(self, tmp_path):
        name = "S2A_MSIL2A_20240610T103021_N{0}_R108_T33TWM_20240610T140000"
        versions = [
            optical_item(name.format(b.replace(".", "")), "10", "http://h.org",
                         **{"s2:processing_baseline": b})
            for b in ("04.00", "05.11")
        ]  # fmt: skip
        with api_of([*versions, sar_item("s1", "10", "http://h.org")], tmp_path) as stac:
            assert [s.id for s in stac.search(BOUNDS, JUNE)] == [versions[1]["id"], "s1"]

    def test_scenes_of_no_use_are_listed_not_fatal(self, tmp_path, caplog):
        bad = [
            sar_item("polar", "12", "http://h.org", keys=("hh", "hv")),
            optical_item("bandless", "12", "http://h.org"),
        ]
        del bad[1]["assets"]["nir"]
        with api_of(items("http://h.org") + bad, tmp_path) as stac:
            assert len(stac.search(BOUNDS, JUNE)) == 4
        assert set(stac.refused) == {"polar", "bandless"}
        assert "polarised HH, HV" in stac.refused["polar"]
        assert "B08" in stac.refused["bandless"]
        assert "2 of 6 scenes are of no use" in caplog.text and "polar" in caplog.text

    def test_nothing_but_scenes_of_no_use_is_an_error(self, tmp_path):
        bad = [sar_item("polar", "12", "http://h.org", keys=("hh",)), *items("http://h.org")[:1]]
        bad[1]["assets"] = {}
        with api_of(bad, tmp_path) as stac:
            with pytest.raises(ValueError, match="2 of 2 scenes.*polar"):
                stac.search(BOUNDS, JUNE)
            assert stac.search(BOUNDS, Period(date(2020, 1, 1), date(2020, 2, 1))) == []

    def test_a_catalogue_without_sar_says_why(self, api, caplog):
        optical_only = replace(catalog(api.url), sar=None, lacks="raw GRD, add sar=...")
        stac = StacSource(optical_only, patience=HASTY)
        assert {s.sensor for s in stac.search(BOUNDS, JUNE)} == {SENTINEL2}
        assert "sentinel-1: raw GRD, add sar=" in caplog.text
        both = StacSource(optical_only, sar=catalog(api.url, "other"), patience=HASTY)
        assert {s.sensor for s in both.search(BOUNDS, JUNE)} == {SENTINEL1, SENTINEL2}


class TestCheck:
    def test_the_api_answers_and_has_the_collections(self, api):
        source(api.url).check(BOUNDS, JUNE)
        absent = replace(catalog(api.url), optical=Product(("sentinel-9",)))
        with pytest.raises(ValueError, match="sentinel-9"):
            StacSource(absent, patience=HASTY).check(BOUNDS, JUNE)

    def test_a_web_page_is_not_an_api(self, cogs):
        with pytest.raises(ValueError, match="made, landing page"):
            source(cogs.url).check(BOUNDS, JUNE)
        (cogs.server.folder / "other").write_text('{"title": "some other API"}')
        with pytest.raises(ValueError, match="is not the landing page of a STAC API"):
            source(f"{cogs.url}/other").check(BOUNDS, JUNE)

    def test_keys_that_are_needed_are_named(self, api, monkeypatch):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        cdse = replace(PRESETS["cdse"], url=api.url)
        with pytest.raises(ValueError, match="cdse needs keys.*AWS_ACCESS_KEY_ID.*s3keysmanager"):
            StacSource(cdse, patience=HASTY).check(BOUNDS, JUNE)


class TestFallback:
    def test_it_is_asked_when_the_first_is_down(self, api, caplog):
        stac = source("http://127.0.0.1:9", name="first", fallback=catalog(api.url, "second"))
        scenes = stac.search(BOUNDS, JUNE)
        assert len(scenes) == 4 and all(s.link.startswith(api.url) for s in scenes)
        assert "first is down, second is asked instead" in caplog.text
        stac.check(BOUNDS, JUNE)

    def test_without_one_the_search_fails_after_its_attempts(self):
        waits = []
        patience = Patience(attempts=4, sleep=waits.append, jitter=lambda: 0.5)
        with pytest.raises(SourceUnavailable, match="first"):
            source("http://127.0.0.1:9", name="first", patience=patience).search(BOUNDS, JUNE)
        assert waits == [0.375, 0.75, 1.5]


def read_all(stac: StacSource, scenes) -> dict:
    return {s.id: stac.read(s, INNER, s.bands) for s in scenes}


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[k].pixels, second[k].pixels, equal_nan=first[k].pixels.dtype == "f4")
        for k in first
    )


class TestReading:
    def test_pixels_on_the_grid_are_the_file_s_bytes(self, api):
        stac = source(api.url)
        scene = next(s for s in stac.search(BOUNDS, JUNE) if s.sensor == SENTINEL2)
        raster = stac.read(scene, INNER, ("B02", "B08"))
        for plane, band in zip(raster.pixels, raster.bands, strict=True):
            with rasterio.open(api.cogs.server.folder / "cogs/optical-10" / f"{band}.tif") as file:
                expected = file.read(1)[15 : 15 + 120, 20 : 20 + 150]
            assert plane.tobytes() == expected.tobytes() and plane.dtype == expected.dtype

    def test_a_file_that_is_gone_is_not_asked_for_again(self, api):
        stac = source(api.url)
        scene = stac.search(BOUNDS, JUNE)[0]
        gone = scene._replace(assets=(scene.assets[1]._replace(href=f"{api.cogs.url}/no.tif"),))
        before = api.cogs.server.requests[404]
        with pytest.raises(SourceUnavailable, match=f"{scene.id}, band B02.*no.tif.*404"):
            stac.read(gone, INNER, ("B02",))
        assert api.cogs.server.requests[404] - before <= 2

    def test_raw_grd_that_slipped_through_is_named(self, api, tmp_path):
        folder = api.cogs.server.folder
        points = [rasterio.control.GroundControlPoint(r, c, 15 + c / 999, 47) for r, c in
                  ((0, 0), (0, 9), (9, 0))]  # fmt: skip
        with rasterio.open(folder / "raw.tif", "w", driver="GTiff", width=9, height=9, count=1,
                           dtype="float32", gcps=points, crs="EPSG:4326") as file:  # fmt: skip
            file.write(np.ones((1, 9, 9), "f4"))
        stac = source(api.url)
        scene = next(s for s in stac.search(BOUNDS, JUNE) if s.sensor == SENTINEL1)
        raw = scene._replace(assets=(scene.assets[0]._replace(href=f"{api.cogs.url}/raw.tif"),))
        with pytest.raises(ValueError, match="ground control points.*terrain-corrected"):
            stac.read(raw, INNER, ("VV",))


@pytest.fixture
def signed(api) -> Iterator[StacSource]:
    """A source whose files need tokens."""
    server = api.cogs.server
    server.needs, server.issued = "token", {}
    yield source(
        api.url,
        signing="planetary-computer",
        signing_url=f"{api.cogs.url}/token",
        signed_host="127.0.0.1",
        now=server.now,
    )
    server.needs, server.life = "", timedelta(minutes=45)


class TestSigning:
    def test_one_token_serves_until_shortly_before_it_dies(self, signed, api):
        server = api.cogs.server
        scenes = signed.search(BOUNDS, JUNE)
        first = read_all(signed, scenes)
        assert len(server.issued) == 1
        server.time += timedelta(minutes=39)
        assert same(first, read_all(signed, scenes)) and len(server.issued) == 1
        server.time += timedelta(minutes=2)
        assert same(first, read_all(signed, scenes)) and len(server.issued) == 2
        assert server.requests[403] == 0

    def test_a_token_that_died_early_is_replaced_on_403(self, signed, api):
        server = api.cogs.server
        first, second, *_ = signed.search(BOUNDS, JUNE)
        signed.read(first, INNER, ("VV",) if first.sensor == SENTINEL1 else ("B02",))
        server.issued = dict.fromkeys(server.issued, server.time)  # withdrawn
        got = read_all(signed, [second])
        assert len(server.issued) == 2 and server.requests[403] >= 1
        server.needs = ""
        assert same(got, read_all(source(api.url), [second]))
        server.requests.clear()

    def test_without_signature_or_service_the_scene_is_named(self, signed, api):
        scene = signed.search(BOUNDS, JUNE)[0]
        # An address that no test has read: GDAL keeps what it read when no token was needed.
        unread = at(scene, ".tif", ".tif?unread")
        with pytest.raises(SourceUnavailable, match=f"{scene.id}, band B01.*403"):
            source(api.url).read(unread, INNER, ("B01",))
        down = replace(signed.catalog, signing_url="http://127.0.0.1:9/token")
        with pytest.raises(SourceUnavailable, match=f"{scene.id}, band B01.*cannot be signed"):
            StacSource(down, patience=HASTY).read(scene, INNER, ("B01",))

    def test_tokens_appear_nowhere(self, signed, api, caplog, capfd):
        caplog.set_level(logging.DEBUG)
        with rasterio.Env(CPL_DEBUG=True):
            scenes = signed.search(BOUNDS, JUNE)
            read_all(signed, scenes)
            faults = Faults(api.cogs.url, (500,), 1.0)
            with serving(faults.answer) as spoiled:
                moved = at(scenes[0], api.cogs.url, spoiled)
                with pytest.raises(SourceUnavailable, match=scenes[0].id) as error:
                    signed.read(moved, INNER, ("B02",))
        assert faults.seen[500] >= 6 and api.cogs.server.issued
        signed.now = utc_now  # the test's clock is the server
        told = "".join(traceback.format_exception(error.value)) + caplog.text
        told += repr(scenes) + str(pickle.dumps([signed, scenes, error.value]))
        told += "".join(capfd.readouterr())
        assert "secret" not in told


def at(scene, old: str, new: str):
    return scene._replace(
        assets=tuple(a._replace(href=a.href.replace(old, new)) for a in scene.assets)
    )


class TestHostileService:
    KINDS = (429, 500, 503, "drop", "truncate")

    @pytest.mark.parametrize("seed", range(3))
    def test_one_failure_in_five_changes_no_byte(self, signed, api, tmp_path, seed):
        calm = signed.search(BOUNDS, JUNE)
        expected = read_all(signed, calm)
        catalogue = Faults("", self.KINDS, 0.2, seed)
        tokens = Faults(api.cogs.url, self.KINDS, 0.2, seed)
        files = Faults(api.cogs.url, (*self.KINDS, 403), 0.2, seed)
        with (
            serving(catalogue.answer) as front,
            serving(tokens.answer) as token_front,
            serving(files.answer) as file_front,
            stac_api(items(file_front), tmp_path, public=front) as back,
        ):
            catalogue.target = back
            stac = source(
                front,
                page=1,
                signing="planetary-computer",
                signing_url=f"{token_front}/token",
                signed_host="127.0.0.1",
                now=api.cogs.server.now,
            )
            stac.check(BOUNDS, JUNE)
            scenes = stac.search(BOUNDS, JUNE)
            got = read_all(stac, scenes)
        assert [at(s, file_front, api.cogs.url)._replace(link="") for s in scenes] == [
            s._replace(link="") for s in calm
        ]
        assert same(got, expected)
        spoiled = sum(files.seen.values()) - files.seen[""]
        assert spoiled >= 5 and files.seen[""] > 20

    def test_answers_that_do_not_come_are_waited_for_only_so_long(self, api):
        stac = source(api.url, timeout=0.3)
        scene = stac.search(BOUNDS, JUNE)[0]
        faults = Faults(api.cogs.url, ("hang",), 0.15, seed=3)
        with serving(faults.answer) as front:
            raster = stac.read(at(scene, api.cogs.url, front), INNER, scene.bands)
            faults.released.set()
        assert faults.seen["hang"] >= 2
        assert same({"": raster}, {"": stac.read(scene, INNER, scene.bands)})

    def test_a_service_that_stays_down_is_named_after_all_attempts(self, api):
        scene = source(api.url).search(BOUNDS, JUNE)[0]
        waits = []
        stac = source(api.url, patience=Patience(sleep=waits.append, jitter=unvaried))
        faults = Faults(api.cogs.url, (503,), 1.0)
        with serving(faults.answer) as front:
            with pytest.raises(SourceUnavailable, match=f"{scene.id}, band B01.*503"):
                stac.read(at(scene, api.cogs.url, front), INNER, scene.bands)
            assert waits == [0.25, 0.5, 1, 2, 4]
            faults.share = 0.0  # it comes back: failures are not remembered
            raster = stac.read(at(scene, api.cogs.url, front), INNER, scene.bands)
        assert same({"": raster}, {"": stac.read(scene, INNER, scene.bands)})


class TestKeys:
    def test_s3_assets_are_read_with_the_user_s_keys(self, api, monkeypatch):
        plain = source(api.url).search(BOUNDS, JUNE)[0]
        scene = at(plain, f"{api.cogs.url}/", "s3://")
        host = api.cogs.url.removeprefix("http://")
        stac = source(api.url, signing="s3-keys", s3_endpoint=host, s3_https=False)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "quiet")
        with pytest.raises(ValueError, match="made needs keys.*AWS_ACCESS_KEY_ID here"):
            stac.read(scene, INNER, ("B02",))
        with pytest.raises(ValueError, match="no s3_endpoint"):
            source(api.url).read(scene, INNER, ("B02",))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "MYKEY")
        expected = source(api.url).read(plain, INNER, ("B02", "B05"))
        monkeypatch.setattr(api.cogs.server, "needs", "MYKEY")
        got = stac.read(scene, INNER, ("B02", "B05"))
        assert same({"": got}, {"": expected})
        monkeypatch.setattr(api.cogs.server, "needs", "ANOTHER")
        with pytest.raises(SourceUnavailable, match="403|denied"):
            stac.read(at(scene, "optical-10", "optical-15"), INNER, ("B02",))


GCS_SCRIPT = """
import sys
from datetime import date
from transforms.grid import GeoBox
from transforms.period import Period
from transforms.sources.files import FilesSource
source = FilesSource("gs://imagery/items")
period = Period(date(2024, 6, 1), date(2024, 7, 1))
scenes = source.search((-180, -90, 180, 90), period)
assert [s.id for s in scenes] == sys.argv[2:], scenes
for scene in scenes:
    source.check_scene(scene)
raster = source.read(scenes[0], GeoBox(*map(float, sys.argv[1].split(",")))._replace(
    epsg=32633, width=150, height=120), ("B02", "SCL"))
print(raster.pixels[0].tobytes().hex())
"""


def test_catalogue_and_cogs_in_a_bucket(cogs, tmp_path):
    """On a real emulator of Google Cloud Storage, in a process that knows no other."""
    bucket = tmp_path / "data" / "imagery"
    names = []
    for item in items("gs://imagery")[:2]:
        (bucket / "items").mkdir(parents=True, exist_ok=True)
        (bucket / "items" / f"{item['id']}.json").write_text(json.dumps(item))
        names.append(item["id"])
    shutil.copytree(cogs.server.folder / "cogs", bucket / "cogs")
    with gcs_emulator(tmp_path / "data") as url:
        result = subprocess.run(
            [sys.executable, "-c", GCS_SCRIPT, ",".join(map(str, INNER)), *names],
            cwd=ROOT,
            env=os.environ
            | {
                "STORAGE_EMULATOR_HOST": url,
                "CPL_GS_ENDPOINT": f"{url}/",
                "GS_NO_SIGN_REQUEST": "YES",
                # gcsfs asks for the bucket's type by another protocol, a minute long.
                "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
                "NO_GCE_CHECK": "true",
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert result.returncode == 0, result.stderr
    with rasterio.open(cogs.server.folder / "cogs/optical-10/B02.tif") as file:
        expected = file.read(1)[15 : 15 + 120, 20 : 20 + 150]
    assert result.stdout.strip() == expected.tobytes().hex()


@pytest.mark.live
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_live_service(preset):
    if preset not in os.environ.get("CLOUDLULC_LIVE", "").split(","):
        pytest.skip(f"name {preset} in CLOUDLULC_LIVE, comma between, to ask the real service")
    bounds, period = (16.3, 48.1, 16.4, 48.2), Period(date(2024, 6, 1), date(2024, 6, 20))
    stac = open_source(f"stac:{preset}")
    stac.check(bounds, period)
    scenes = stac.search(bounds, period)
    assert {s.sensor for s in scenes} >= {SENTINEL2}
    for sensor in {s.sensor for s in scenes}:
        scene = next(s for s in scenes if s.sensor == sensor)
        box = GeoBox(32633, 600_000.0, 5_340_000.0, 10.0, 64, 64)
        assert stac.read(scene, box, scene.bands).pixels.shape == (len(scene.bands), 64, 64)
