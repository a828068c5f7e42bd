from pathlib import Path

import numpy as np
import pytest

from transforms.grid import GeoBox
from transforms.pixels.chip import Quality
from transforms.pixels.clouds import S2CLOUDLESS_BANDS, s2cloudless, screen, screening_bands
from transforms.scene import SENTINEL2, Asset, Raster, Scene

CLOUD, SHADOW, SNOW, UNSCREENED = Quality.CLOUD, Quality.SHADOW, Quality.SNOW, Quality.UNSCREENED


def scene(*bands, level="L2A", nodata=None):
    assets = tuple(Asset(b, f"{b}.tif", nodata=nodata) for b in bands)
    return Scene("S2X", SENTINEL2, None, None, None, (0, 0, 1, 1), level=level, assets=assets)


def raster(dtype=np.uint8, **planes):
    pixels = np.array([np.array(v, dtype)[None] for v in planes.values()])
    return Raster(pixels, GeoBox(32633, 0, 10, 10, pixels.shape[2], 1), tuple(planes), 0)


def run(item, image, valid=None, threshold=40):
    valid = np.ones(image.pixels.shape[1:], bool) if valid is None else np.array([valid])
    cloud, flags = screen(image, item, valid, threshold)
    assert cloud.dtype == flags.dtype == np.uint8
    return cloud[0].tolist(), flags[0].tolist()


def test_every_class_of_the_scl():
    cloud, flags = run(scene("SCL"), raster(SCL=range(12)))
    assert cloud == [255, 0, 0, 0, 0, 0, 0, 0, 100, 100, 100, 0]
    assert flags == [UNSCREENED, 0, 0, SHADOW, 0, 0, 0, 0, CLOUD, CLOUD, CLOUD, SNOW]


def test_nothing_is_said_where_there_is_no_optical_data():
    cloud, flags = run(scene("SCL"), raster(SCL=[9, 9, 3]), valid=[True, False, False])
    assert (cloud, flags) == ([100, 255, 255], [CLOUD, 0, 0])


def test_stored_probability_and_its_threshold():
    image = raster(CLOUD_PROBABILITY=[0, 39, 40, 100, 255])
    cloud, flags = run(scene("CLOUD_PROBABILITY"), image)
    assert cloud == [0, 39, 40, 100, 255]
    assert flags == [0, 0, CLOUD, CLOUD, UNSCREENED]


def test_probability_leads_and_scl_adds_its_flags_and_fills_its_gaps():
    image = raster(SCL=[10, 3, 11, 4, 9], CLOUD_PROBABILITY=[5, 2, 90, 80, 254])
    cloud, flags = run(scene("SCL", "CLOUD_PROBABILITY", nodata=254), image)
    assert cloud == [5, 2, 90, 80, 100]
    assert flags == [CLOUD, SHADOW, SNOW | CLOUD, CLOUD, CLOUD]


def test_probability_above_100_is_an_error():
    with pytest.raises(ValueError, match="S2X, band CLOUD_PROBABILITY: values 3 to 180"):
        run(scene("CLOUD_PROBABILITY"), raster(CLOUD_PROBABILITY=[3, 180]))


@pytest.mark.parametrize(
    "item",
    [
        scene("B02", "B10"),
        scene(*S2CLOUDLESS_BANDS),  # s2cloudless knows top-of-atmosphere reflectance only
        scene(*S2CLOUDLESS_BANDS[1:], level="L1C"),
    ],
)
def test_unscreened_without_any_evidence(item):
    assert screening_bands(item) == ()
    assert run(item, raster(B02=[5, 6])) == ([255, 255], [UNSCREENED, UNSCREENED])


@pytest.fixture(scope="module")
def slovenia():
    with np.load(Path(__file__).with_name("slovenia_l1c.npz")) as data:
        return {name: data[name] for name in data}


@pytest.mark.parametrize("date", [0, 1])
def test_s2cloudless_gives_its_known_answer(slovenia, date):
    assets = tuple(Asset(b, f"{b}.tif", 1, 1e-4, -0.1, 0) for b in S2CLOUDLESS_BANDS)
    item = scene(level="L1C")._replace(assets=assets)
    # Stored as baseline 04.00 does, with 1000 added: the detector has to see it taken off.
    stored = slovenia["l1c"][date] + np.uint16(1000)
    box = GeoBox(32633, 0, 0, 10, stored.shape[2], stored.shape[1])
    valid = np.ones(stored.shape[1:], bool)
    cloud, flags = screen(Raster(stored, box, S2CLOUDLESS_BANDS, 0), item, valid, 40)
    np.testing.assert_array_equal(cloud, np.rint(100 * slovenia["probability"][date]))
    np.testing.assert_array_equal(flags == CLOUD, slovenia["mask"][date])


def test_s2cloudless_threshold_nodata_and_window(slovenia):
    cloudy = slovenia["l1c"][1].copy()
    cloudy[3, 20:30, 20:30] = 0  # one band is enough to know nothing
    cloud, mask = s2cloudless(cloudy, 80)
    hole = np.zeros(mask.shape, bool)
    hole[20:30, 20:30] = True
    np.testing.assert_array_equal(cloud == 255, hole)
    low = s2cloudless(cloudy, 10)[1]
    np.testing.assert_array_equal(low, ~hole)
    assert 0.02 < mask.mean() < low.mean()

    part, part_mask = s2cloudless(cloudy[:, 30:90, 10:80], 80)
    np.testing.assert_array_equal(part, cloud[30:90, 10:80])
    np.testing.assert_array_equal(part_mask[6:-6, 6:-6], mask[36:84, 16:74])


def test_s2cloudless_of_an_empty_window():
    cloud, mask = s2cloudless(np.zeros((10, 20, 30), np.uint16), 40)
    assert (cloud == 255).all() and not mask.any()
