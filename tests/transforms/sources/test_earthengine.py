"""Earth Engine: the real client against a stand-in that speaks its REST API."""

from __future__ import annotations

import json
import pickle
from datetime import date

import numpy as np
import pytest

from tests.servers.earth_engine import geobox_of
from tests.servers.earth_engine_archive import GRD, L1C, L2A, SCORE, PlanetArchive
from tests.transforms.sources.made_earthengine import (
    BOX,
    JUNE,
    OPTICAL,
    PLACE,
    find,
    make_source,
)
from transforms.grid import BlockKey, Grid
from transforms.pixels.pairing import Pair
from transforms.pixels.prepare import PixelOptions, prepare_block
from transforms.scene import SENTINEL1, SENTINEL2
from transforms.sources.earthengine_requests import (
    REQUEST_LIMIT,
    Part,
    request_bytes,
    split,
)
from transforms.sources.earthengine_scenes import bounds_of, is_interpolated
from transforms.sources.synthetic import SyntheticSource


@pytest.fixture
def server(earth_engine):
    """The session's stand-in, as at its start."""
    earth_engine.reset()
    return earth_engine


# Search


def test_a_search_is_one_request_for_all_collections(server):
    source = make_source(server)
    source.search(PLACE, JUNE)
    source.search(PLACE, JUNE)
    assert server.count("search") == 2 and server.count("pixels") == 0
    text = json.dumps(server.of("search")[0].body)
    assert all(name in text for name in (L2A, GRD, SCORE)) and L1C not in text
    # Metadata only: no reduction over pixels, no image is loaded.
    assert "reduceRegion" not in text and "Image.load" not in text


def test_the_client_is_initialised_once_in_a_process(server):
    for source in (make_source(server), pickle.loads(pickle.dumps(make_source(server)))):
        source.search(PLACE, JUNE)
        source.check(PLACE, JUNE)
        source.read(find(source, SENTINEL1), BOX, ("VV",))
    assert server.count("algorithms") <= 1  # 0 where an earlier test has done it


def test_scenes_carry_what_the_archive_says(server):
    source = make_source(server)
    optical, sar = find(source, SENTINEL2), find(source, SENTINEL1)
    assert optical.id == "S2A_MSIL2A_20240602T103000_N0510_R022_T33TDG_20240602T103000"
    assert (optical.cloud, optical.orbit, optical.level) == (0.5, "descending", "L2A")
    assert optical.time.isoformat() == "2024-06-02T10:30:00+00:00"
    assert optical.footprint == (15.0, 46.0, 16.0, 47.0)
    assert optical.bands == (*OPTICAL, "SCL", "CLOUD_PROBABILITY")
    # Harmonised: the offset is off, whatever the baseline in the product's name.
    assert {(a.scale, a.offset, a.nodata) for a in optical.assets[:12]} == {(1e-4, 0.0, 0.0)}
    assert (sar.level, sar.unit, sar.orbit, sar.bands) == (
        "sigma0", "dB", "ascending", ("VV", "VH"),
    )  # fmt: skip


def test_sar_without_vv_and_vh_is_left_out(server):
    found = make_source(server).search(PLACE, JUNE)
    sar = [s.id for s in found if s.sensor == SENTINEL1]
    assert sar and all("1SDV" in name for name in sar)


def test_level_1c_has_the_cirrus_band_and_no_classes(server):
    source = make_source(server, level="L1C")
    scene = find(source, SENTINEL2)
    assert scene.level == "L1C" and "B10" in scene.bands and "SCL" not in scene.bands
    source.read(scene, BOX, ("B10",))
    [layer] = server.of("pixels")[0].layers
    assert layer.image.startswith(L1C) and layer.source == "B10"


def test_scenes_that_cloud_score_has_not_seen_have_no_probability(server):
    server.archive = PlanetArchive(scored=False)
    scene = find(make_source(server), SENTINEL2)
    assert "CLOUD_PROBABILITY" not in scene.bands and "SCL" in scene.bands


def test_bounds_may_cross_the_antimeridian(server):
    found = make_source(server).search((179.5, -17.5, -179.5, -17.2), JUNE)
    assert {s.footprint[0] for s in found} == {179.0, -180.0}


@pytest.mark.parametrize(
    "ring, bounds",
    [
        ([[10, 1], [11, 1], [11, 2], [10, 1]], (10, 1, 11, 2)),
        ([[179.5, 1], [-179.5, 1], [-179.5, 2], [179.5, 1]], (179.5, 1, -179.5, 2)),
        ([[-179.5, 1], [179.5, 1], [179.5, 2], [-179.5, 1]], (179.5, 1, -179.5, 2)),
    ],
)
def test_bounds_of_a_footprint(ring, bounds):
    assert bounds_of({"type": "LinearRing", "coordinates": ring}, "S") == bounds
    assert bounds_of({"type": "Polygon", "coordinates": [ring]}, "S") == bounds


@pytest.mark.parametrize("footprint", [None, {}, {"coordinates": [[float("inf"), 0]]}])
def test_a_scene_without_footprint_is_named(footprint):
    with pytest.raises(ValueError, match="S2_X"):
        bounds_of(footprint, "S2_X")


# Pixels


def test_pixels_are_asked_for_on_exactly_the_geobox(server):
    source, grid = make_source(server), Grid(chip_size=96, halo=16)
    box = grid.geobox(BlockKey(33, 40, 402, 1, 1))
    source.read(find(source, SENTINEL2), box, OPTICAL)
    [request] = server.of("pixels")
    assert request.body["grid"] == {
        "crsCode": "EPSG:32633",
        "affineTransform": {
            "scaleX": 10, "shearX": 0, "translateX": box.x0,
            "shearY": 0, "scaleY": -10, "translateY": box.y0,
        },
        "dimensions": {"width": box.width, "height": box.height},
    }  # fmt: skip
    assert geobox_of(request.body["grid"]) == box and request.body["fileFormat"] == "NPY"


def test_native_pixels_are_exact_and_coarser_bands_interpolated(server):
    source, planet = make_source(server), SyntheticSource()
    scene = find(source, SENTINEL2)
    raster = source.read(scene, BOX, scene.bands)
    truth = next(s for s in planet.search(PLACE, JUNE) if s.sensor == SENTINEL2)
    np.testing.assert_array_equal(raster.pixels, planet.read(truth, BOX, truth.bands).pixels)
    [request] = server.of("pixels")
    nearest = {layer.name for layer in request.layers if not layer.interpolated}
    assert nearest == {"B02", "B03", "B04", "B08", "SCL", "CLOUD_PROBABILITY"}


@pytest.mark.parametrize("box", [
    BOX._replace(x0=BOX.x0 + 3), BOX._replace(epsg=32632), BOX._replace(resolution=5.0),
])  # fmt: skip
def test_off_its_grid_everything_but_classes_is_interpolated(server, box):
    scene = find(make_source(server), SENTINEL2)
    assert [b for b in scene.bands if not is_interpolated(scene, b, box)] == ["SCL"]


@pytest.mark.parametrize("tile, epsg", [("33TDG", 32633), ("33NAA", 32633), ("33MAA", 32733)])
def test_a_tile_lies_in_its_own_zone(server, tile, epsg):
    scene = find(make_source(server), SENTINEL2)._replace(id=f"S2A_MSIL2A_T{tile}_20240602")
    assert not is_interpolated(scene, "B02", BOX._replace(epsg=epsg))


def test_a_block_is_one_request_per_scene(server):
    source, grid = make_source(server), Grid(chip_size=96, halo=16)
    optical, sar = find(source, SENTINEL2), find(source, SENTINEL1)
    server.requests.clear()
    key = BlockKey(33, 40, 402, 1, 1)
    chips = prepare_block(
        key, Pair((optical,), (sar,)), date(2024, 6, 2), grid, source.read, PixelOptions()
    )
    assert [r.bands for r in server.requests] == [optical.bands, ("VV", "VH")]
    assert (chips.optical > 0).any() and (chips.sar > -32768).any()


def punch(image, band, geobox, values, mask):
    mask = mask.copy()
    mask[:4] = False  # of every band
    if band in ("B2", "VH"):
        mask[4:8] = False
    if band == "cs":
        mask[8:12] = False
    return np.where(mask, values, 77), mask  # what lies under a mask is noise


def test_masked_pixels_are_nodata(server):
    server.archive = PlanetArchive(change=punch)
    source = make_source(server)
    scene, sar = find(source, SENTINEL2), find(source, SENTINEL1)
    raster = source.read(scene, BOX, scene.bands)
    planes = dict(zip(raster.bands, raster.pixels, strict=True))
    assert raster.nodata == 0 and (raster.pixels[:, :4] == 0).all()
    assert (planes["B02"][4:8] == 0).all() and (planes["B03"][4:] > 0).all()
    # Inside of the scene a missing probability is no "clear".
    assert (planes["CLOUD_PROBABILITY"][8:12] == 255).all()
    assert (planes["CLOUD_PROBABILITY"][12:] <= 100).all()
    alone = source.read(scene, BOX, ("CLOUD_PROBABILITY",))
    assert alone.nodata == 255 and alone.pixels.dtype == np.uint8
    assert (alone.pixels[0, 8:12] == 255).all() and (alone.pixels[0, :4] == 255).all()
    radar = source.read(sar, BOX, ("VV", "VH"))
    assert np.isnan(radar.nodata) and radar.pixels.dtype == np.float32
    np.testing.assert_array_equal(
        np.isnan(radar.pixels).all(axis=2).argmin(axis=1), [4, 8]
    )  # first row with data
    assert not np.isnan(radar.pixels[:, 8:]).any()


# Sizes of requests


@pytest.mark.parametrize("side, requests", [(960, 1), (1024, 1), (1088, 1), (2048, 3)])
def test_twelve_bands_are_split_when_they_have_to_be(side, requests):
    parts = split(OPTICAL, side, side)
    assert len(parts) == requests
    assert sum((p.bands for p in parts), ()) == OPTICAL
    assert all(request_bytes(p.bands, p.rows, side) <= REQUEST_LIMIT for p in parts)


def test_request_sizes_in_bytes():
    assert REQUEST_LIMIT == 48 * 2**20
    assert request_bytes(OPTICAL, 960, 960) == 33_177_600  # 31.6 MiB
    assert request_bytes((*OPTICAL, "SCL", "CLOUD_PROBABILITY"), 960, 960) == 36_864_000
    assert request_bytes(("VV", "VH"), 960, 960) == 9_216_000
    # Four bands of 2048 px are exactly the limit, which is allowed.
    assert split(OPTICAL, 2048, 2048)[0] == Part(OPTICAL[:4], 0, 2048)


def test_a_band_that_is_too_large_is_split_by_rows():
    parts = split(("SCL", "B02", "B03"), 5000, 5000)
    assert [p.bands for p in parts] == [("SCL",), ("B02",), ("B02",), ("B03",), ("B03",)]
    for band in ("B02", "B03"):
        rows = [range(p.row, p.row + p.rows) for p in parts if p.bands == (band,)]
        assert [row for part in rows for row in part] == list(range(5000))
    assert all(request_bytes(p.bands, p.rows, 5000) <= REQUEST_LIMIT for p in parts)


def test_a_row_that_is_too_large_is_an_error():
    with pytest.raises(ValueError, match="one row of 100 px"):
        split(("B02",), 10, 100, limit=299)


def test_split_reads_are_whole(server, monkeypatch):
    source = make_source(server)
    scene = find(source, SENTINEL2)
    bands = ("B02", "B01", "SCL")
    whole = source.read(scene, BOX, bands)
    server.requests.clear()
    small = 48 * 3 * 15  # 15 rows of a band of two bytes
    monkeypatch.setattr(
        "transforms.sources.earthengine.split", lambda b, h, w: split(b, h, w, limit=small)
    )
    parts = source.read(scene, BOX, bands)
    np.testing.assert_array_equal(parts.pixels, whole.pixels)
    boxes = [geobox_of(r.body["grid"]) for r in server.of("pixels")]
    assert len(boxes) == 8 and {b.height for b in boxes} == {15, 10, 22, 18}
    assert boxes[1] == BOX._replace(y0=BOX.y0 - 150, height=15)
