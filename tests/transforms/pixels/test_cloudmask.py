"""The deep cloud mask: its errors always, its model where the extra `clouds` is installed."""

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from model.clouds import simulate_clouds
from transforms.grid import GeoBox
from transforms.pixels import cloudmask
from transforms.pixels.chip import CLOUD_UNKNOWN, Quality
from transforms.pixels.cloudmask import BANDS, UKIS_CSMASK, check_cloud_mask, cloud_and_shadow
from transforms.pixels.clouds import screen
from transforms.pixels.prepare import PixelOptions
from transforms.pixels.sentinel2 import OPTICAL
from transforms.scene import SENTINEL2, Asset, Raster, Scene

SAMPLE = Path(__file__).parents[3] / "data" / "sample"


class Bright:
    """Stands where the package's class does: what is bright is cloud, what is dark its shadow."""

    asked: dict = {}

    def __init__(self, img, band_order, product_level, **kwargs):
        assert img.dtype == np.float32  # as the package insists
        Bright.asked = {"bands": band_order, "level": product_level, "shape": img.shape}
        self.csm = np.where(img[..., :1] > 0.5, 1, np.where(img[..., :1] < 0.05, 2, 0))


@pytest.fixture
def bright(monkeypatch):
    monkeypatch.setattr(cloudmask, "_model", lambda: Bright)


def ground(shape=(100, 64)):
    pixels = np.full((len(BANDS), *shape), 1500, np.uint16)
    pixels[:, 30:60, 30:60] = 7000
    pixels[:, 63:75, 30:60] = 200
    return pixels


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ukis_csmask.mask", None)
    with pytest.raises(ValueError, match=r'pip install "cloudlulc\[clouds\]"'):
        check_cloud_mask(UKIS_CSMASK)
    check_cloud_mask("auto")
    with pytest.raises(ValueError, match="cloud-mask: got 'fmask', expected one of auto, ukis"):
        PixelOptions(cloud_mask="fmask")


def test_it_sees_cells_of_30_m_and_its_answer_comes_back_on_10_m(bright):
    pixels = ground()
    cloud, shadow = cloud_and_shadow(pixels, "L1C")
    assert Bright.asked["shape"] == (34, 22, 6) and Bright.asked["level"] == "l1c"
    np.testing.assert_array_equal(cloud, pixels[0] == 7000)
    np.testing.assert_array_equal(shadow, pixels[0] == 200)
    # What has no data does not darken its cell.
    pixels[:, 31:33, 31] = 0
    assert (cloud_and_shadow(pixels, "L2A")[0] == cloud).all() and Bright.asked["level"] == "l2a"


def test_without_short_wave_infrared_the_model_of_four_bands_is_used(bright):
    pixels = ground()
    pixels[4] = 0
    cloud_and_shadow(pixels, "L2A")
    assert Bright.asked["bands"] == ["blue", "green", "red", "nir"]
    pixels[3] = 0
    with pytest.raises(ValueError, match="no data in B08"):
        cloud_and_shadow(pixels, "L2A")


def test_it_screens_instead_of_what_came_with_the_scene_and_leaves_its_snow(bright):
    pixels = ground()
    scl = np.full(pixels.shape[1:], 8, np.uint16)  # all cloud, says the classification
    scl[:10] = 11
    assets = tuple(Asset(b, "", scale=1e-4, offset=-0.1) for b in BANDS) + (Asset("SCL", ""),)
    scene = Scene("S2", SENTINEL2, None, None, None, (0, 0, 1, 1), level="L2A", assets=assets)
    box = GeoBox(32633, 0, 0, 10, 64, 100)
    raster = Raster(np.concatenate([pixels + 1000, scl[None]]), box, (*BANDS, "SCL"), 0)
    valid = np.ones(scl.shape, bool)
    valid[:, :3] = False
    cloud, flags = screen(raster, scene, valid, 40, UKIS_CSMASK)
    np.testing.assert_array_equal(cloud[valid] == 100, (pixels[0] == 7000)[valid])
    assert set(np.unique(cloud[valid])) == {0, 100} and (cloud[~valid] == CLOUD_UNKNOWN).all()
    assert ((flags & Quality.SHADOW) > 0)[valid].sum() == (pixels[0] == 200).sum()
    assert ((flags & Quality.SNOW) > 0)[:10, 3:].all() and not flags[11:25].any()


def test_the_real_model_finds_clouds_laid_over_a_real_scene():
    pytest.importorskip("ukis_csmask.mask", reason="the extra cloudlulc[clouds]")
    (path,) = SAMPLE.glob("sen12mscr/*/sen12mscr_ROIs2017_winter_112_p797_S2_L1C/optical.tif")
    with rasterio.open(path) as file:
        clear = file.read([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13])
    under = simulate_clouds(clear, np.random.default_rng(0), 0.4, "thick")
    chosen = [OPTICAL.names.index(b) for b in BANDS]
    assert cloud_and_shadow(clear[chosen], "L1C")[0].mean() < 0.05
    cloud, _ = cloud_and_shadow(under.optical[chosen], "L1C")
    assert cloud[under.cloud > 0.7].mean() > 0.8
    assert cloud[~under.mask()].mean() < 0.2
