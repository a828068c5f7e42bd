import numpy as np
import pytest

from transforms.grid import GeoBox
from transforms.pixels.edges import find_defects
from transforms.scene import SENTINEL1, SENTINEL2, Asset, Raster, Scene

N = 200
BANDS = ("B02", "B03", "B04", "B08")


def optical(pixels, nodata=None):
    assets = tuple(Asset(b, "", scale=1e-4, nodata=nodata) for b in BANDS)
    scene = Scene("S2", SENTINEL2, None, None, None, (0, 0, 1, 1), level="L2A", assets=assets)
    return Raster(pixels, GeoBox(32633, 0, 0, 10, N, N), BANDS, np.nan), scene


def radar(pixels):
    assets = tuple(Asset(b, "") for b in ("VV", "VH"))
    scene = Scene("S1", SENTINEL1, None, None, None, (0, 0, 1, 1), unit="dB", assets=assets)
    return Raster(pixels, GeoBox(32633, 0, 0, 10, N, N), ("VV", "VH"), np.nan), scene


@pytest.fixture
def ground():
    """Reflectance with a lake that its correction pushed to DN 1 in two of four bands."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(200, 3000, (4, N, N)).astype(np.uint16)
    pixels[2:, 60:90, 60:90] = 1
    return pixels


def wedge(rng, mean=60):
    """(y, x) bool beyond a slanting swath edge, columns."""
    edge = mean + np.arange(N)[:, None] // 8
    return np.arange(N)[None] < edge, edge


def test_ground_and_dark_water_are_clean(ground):
    found = find_defects(*optical(ground))
    assert not found.any.any() and found.valid.all()
    # An edge far from the lake changes nothing.
    ground[:, :, :20] = 0
    found = find_defects(*optical(ground, nodata=0))
    assert not found.any.any() and found.valid.mean() == 0.9


def test_zeros_are_data_only_if_nobody_declared_them(ground):
    outside, _ = wedge(None)
    ground[:, outside] = 0
    found = find_defects(*optical(ground))
    np.testing.assert_array_equal(found.zeros, outside)
    assert found.share("zeros") == pytest.approx(outside.mean())
    assert not find_defects(*optical(ground, nodata=0)).zeros.any()


def test_single_zeros_inside_are_left_alone_and_patches_are_not(ground):
    ground[:, 150, 150] = 0
    ground[:, 170:173, 170:173] = 0
    found = find_defects(*optical(ground))
    assert found.zeros.sum() == 9 and found.zeros[171, 171]


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("width", [1, 3])
def test_stripes_of_one_along_the_edge(ground, declared, width):
    outside, edge = wedge(None, mean=100)
    columns = np.arange(N)[None]
    stripe = (columns >= edge) & (columns < edge + width)
    half = (columns >= edge + width) & (columns < edge + width + 2)  # two of four bands end here
    ground[:, outside] = 0
    ground[:, stripe] = 1
    ground[:2, half] = 1
    found = find_defects(*optical(ground, nodata=0 if declared else None))
    np.testing.assert_array_equal(found.stripes, stripe | half)
    np.testing.assert_array_equal(found.zeros, outside & (not declared))


def test_a_stripe_of_one_inside_a_scene(ground):
    ground[:, 120:122] = 1
    found = find_defects(*optical(ground))
    assert found.stripes.sum() == 2 * N and found.stripes[120:122].all()


def test_border_noise_of_sar():
    rng = np.random.default_rng(2)
    pixels = rng.normal([[[-11]], [[-17]]], 2, (2, N, N)).astype(np.float32)
    outside, edge = wedge(rng)
    columns = np.arange(N)[None]
    noise = (columns >= edge) & (columns < edge + 25)
    pixels[:, noise] = rng.normal(-38, 3, (2, noise.sum()))
    pixels[:, outside] = np.nan
    found = find_defects(*radar(pixels))
    assert (found.noise & noise).sum() > 0.95 * noise.sum()
    assert (found.noise & ~noise).sum() < 0.005 * found.valid.sum()
    assert not found.zeros.any() and not found.stripes.any()


def test_sar_stored_as_zero_in_every_band():
    rng = np.random.default_rng(2)
    pixels = rng.normal(-12, 2, (2, N, N)).astype(np.float32)
    pixels[:, :, :30] = 0
    pixels[0, 50, 50] = 0  # clipped at 0 dB: an echo
    found = find_defects(*radar(pixels))
    assert found.zeros.sum() == 30 * N and found.zeros[:, :30].all()
