import numpy as np
import pytest
from scipy import ndimage

from transforms.grid import GeoBox
from transforms.pixels.sentinel1 import filter_lee, mask_border_noise, to_backscatter
from transforms.scene import SENTINEL1, Asset, Raster, Scene

NODATA = -32768
COLUMN = np.arange(40)


def scene(unit, bands=("VV", "VH"), scale=1.0, offset=0.0, nodata=None):
    assets = tuple(Asset(b, f"{b}.tif", 1, scale, offset, nodata) for b in bands)
    return Scene("S1X", SENTINEL1, None, None, None, (0, 0, 1, 1), unit=unit, assets=assets)


def convert(item, *planes, dtype=np.float32, nodata=np.nan):
    pixels = np.array(planes, dtype)[:, None, :]
    box = GeoBox(32633, 0, 10, 10, pixels.shape[2], 1)
    out = to_backscatter(Raster(pixels, box, item.bands, nodata), item)
    assert out.dtype == np.int16
    return out[:, 0].tolist()


def test_linear_power_to_decibel():
    # 10 log10: 1 -> 0 dB, 0.1 -> -10 dB, 0.0316 -> -15.00 dB, 0.02 -> -16.99 dB, 1e-40 -> -400 dB
    vv = [1.0, 0.1, 0.0316227766, 0.02, 1e-40, 1e40]
    got = convert(scene("linear"), vv, vv[::-1], dtype=np.float64)
    assert got[0] == [0, -1000, -1500, -1699, -32767, 32767]
    assert got[1] == got[0][::-1]


def test_nodata_of_linear_power():
    vv = [np.nan, 0.0, -0.1, np.inf, -9999.0, 0.5]
    got = convert(scene("linear", nodata=-9999.0), vv, [0.5] * 6)
    assert got[0] == [NODATA] * 5 + [-301]
    assert got[1] == [-301] * 6  # each band has its own nodata


def test_decibel_rounds_to_hundredths():
    got = convert(scene("dB"), [-12.344, -12.346, np.nan], [-20.0, 0.0, -20.0])
    assert got == [[-1234, -1235, NODATA], [-2000, 0, -2000]]


def test_scaled_integers():
    item = scene("dB", scale=0.01, offset=-10.0, nodata=-1)
    got = convert(item, [0, 500, -1, 7], [0, -500, 100, 7], dtype=np.int32, nodata=7)
    assert got == [[-1000, -500, NODATA, NODATA], [-1000, -1500, -900, NODATA]]


def test_zero_in_every_band_is_fill_and_no_echo():
    got = convert(scene("dB"), [0.0, 0.0, -5.0], [0.0, -7.0, 0.0])
    assert got == [[NODATA, 0, -500], [NODATA, -700, 0]]
    assert convert(scene("dB", ("VV",)), [0.0, -5.0]) == [[NODATA, -500], [NODATA, NODATA]]


def test_unknown_unit_is_an_error():
    with pytest.raises(ValueError, match="S1X: unit of its backscatter is 'DN'"):
        convert(scene("DN"), [1.0], [1.0])


def speckled(shape, level, rng, looks=4.4):
    """(y, x) int16, dB x 100, around `level` dB."""
    power = 10 ** (level / 10) * rng.gamma(looks, 1 / looks, shape)
    return np.rint(1000 * np.log10(power)).astype(np.int16)


def test_border_noise_is_found_and_smooth_water_is_kept():
    rng = np.random.default_rng(5)
    sar = np.stack([speckled((300, 300), level, rng) for level in (-11, -18)])
    columns = np.arange(300)[None] + np.arange(300)[:, None] // 10  # an oblique swath edge
    outside, noise = columns < 60, (columns >= 60) & (columns < 85)
    sar[:, outside] = NODATA
    sar[:, noise] = np.stack([speckled(noise.sum(), level, rng) for level in (-36, -40)])
    lake = np.zeros(noise.shape, bool)
    lake[100:160, 180:260] = True
    sar[0, lake] = speckled(lake.sum(), -33, rng)
    before = sar.copy()

    masked = mask_border_noise(sar)
    np.testing.assert_array_equal(sar, before)
    gone = (masked == NODATA).all(axis=0)
    assert gone[outside].all()
    assert gone[noise].mean() > 0.995
    assert gone[~outside & ~noise].mean() < 0.001
    assert not gone[lake].any()
    np.testing.assert_array_equal(masked[:, ~gone], sar[:, ~gone])


def test_single_bright_pixels_go_with_the_noise_around_them():
    sar = np.full((2, 40, 40), -1100, np.int16)
    sar[:, :, :10] = NODATA
    sar[:, :, 10:20] = -3500
    sar[:, ::5, 14] = -2500
    np.testing.assert_array_equal((mask_border_noise(sar)[0] == NODATA).all(axis=0), COLUMN < 20)


def test_border_noise_reaches_no_farther_than_the_margin():
    sar = np.full((2, 40, 40), -3500, np.int16)
    sar[:, :, :10] = NODATA
    masked = mask_border_noise(sar, margin=12)
    np.testing.assert_array_equal((masked[0] == NODATA).all(axis=0), COLUMN < 22)


def test_dark_pixels_beside_a_hole_inside_the_swath_stay():
    sar = np.full((2, 40, 40), -3500, np.int16)
    sar[:, 20:23, 20:23] = NODATA
    np.testing.assert_array_equal(mask_border_noise(sar), sar)


def test_a_swath_edge_without_noise_stays_as_it_is():
    sar = speckled((2, 60, 60), -11, np.random.default_rng(1))
    sar[:, np.add.outer(np.arange(60), np.arange(60)) < 40] = NODATA
    sar[:, 30, :5] = -1000  # a dent that a plain closing would fill
    np.testing.assert_array_equal(mask_border_noise(sar), sar)


def test_lee_lowers_speckle_and_keeps_the_mean_power():
    sar = speckled((2, 200, 200), -12, np.random.default_rng(2))
    power, filtered = (10 ** (x / 1000) for x in (sar[0], filter_lee(sar)[0]))
    assert filtered.var() < 0.1 * power.var()
    assert abs(filtered.mean() / power.mean() - 1) < 0.01


def test_lee_of_a_constant_is_the_constant_and_of_a_step_keeps_the_step():
    flat = np.full((2, 20, 20), -1234, np.int16)
    np.testing.assert_array_equal(filter_lee(flat), flat)
    step = flat.copy()
    step[:, :, 10:] = -200
    # Beside the step Ci2 is 0.7 or more, so that w = 1 - (1 / 4.4) / Ci2 leans on the pixel.
    assert (np.abs(filter_lee(step) - step)[:, :, 10:] < 150).all()
    np.testing.assert_array_equal(filter_lee(step)[:, :, :7], step[:, :, :7])


def test_lee_gives_the_value_worked_out_by_hand():
    # 3 x 3 window of eight 1 and one 10: mean 2, mean square 12, Ci2 = 12/4 - 1 = 2,
    # w = 1 - 0.25/2 = 0.875; the centre becomes 2 + 0.875 * 8 = 9 -> 9.54 dB.
    sar = np.zeros((1, 5, 5), np.int16)
    sar[0, 2, 2] = 1000
    assert filter_lee(sar, size=3, looks=4)[0, 2, 2] == 954


def test_lee_gives_nodata_no_weight():
    sar = speckled((2, 60, 60), -12, np.random.default_rng(3))
    sar[:, :, :20] = NODATA
    filtered = filter_lee(sar)
    np.testing.assert_array_equal(filtered == NODATA, sar == NODATA)
    edge, inside = (10 ** (filtered[0, :, s] / 1000) for s in (slice(20, 23), slice(40, 50)))
    assert edge.mean() == pytest.approx(inside.mean(), rel=0.1)


def test_lee_does_not_depend_on_the_window_beyond_its_reach():
    sar = speckled((2, 90, 90), -12, np.random.default_rng(4))
    whole, part = filter_lee(sar), filter_lee(sar[:, 10:70, 15:80])
    difference = np.abs(part[:, 3:-3, 3:-3].astype(int) - whole[:, 13:67, 18:77])
    assert difference.max() == 0


def test_lee_keeps_a_strong_scatterer():
    sar = speckled((1, 41, 41), -12, np.random.default_rng(6))
    sar[0, 20, 20] = 1000
    assert filter_lee(sar)[0, 20, 20] > 970
    assert ndimage.minimum(filter_lee(sar)) > -3000
