import numpy as np
import pytest

from transforms.grid import GeoBox
from transforms.pixels.sentinel2 import OPTICAL, to_reflectance
from transforms.scene import SENTINEL2, Asset, Raster, Scene


def scene(assets, **fields):
    return Scene("S2X", SENTINEL2, None, None, None, (0, 0, 1, 1), assets=tuple(assets), **fields)


def raster(planes, bands, nodata=0.0):
    pixels = np.array(planes)[:, None, :]
    return Raster(pixels, GeoBox(32633, 0, 10, 10, pixels.shape[2], 1), bands, nodata)


DN = np.array([0, 1, 999, 1000, 1001, 4500, 65535], np.uint16)


@pytest.mark.parametrize(
    ("offset", "harmonise", "expected"),
    [
        (-0.1, True, [0, 1, 1, 1, 1, 3500, 64535]),
        (-0.1, False, [0, 1, 999, 1000, 1001, 4500, 65535]),
        (0.0, True, [0, 1, 999, 1000, 1001, 4500, 65535]),
    ],
)
def test_offset_of_the_item_on_and_off(offset, harmonise, expected):
    item = scene([Asset("B02", "b02.tif", 1, 1e-4, offset, 0)])
    got = to_reflectance(raster([DN], ("B02",)), item, ("B02",), harmonise)
    assert got.dtype == np.uint16
    assert got[0, 0].tolist() == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_integers_of_16_bits_are_converted_as_wider_ones_are(dtype):
    limits = np.iinfo(dtype)
    stored = np.linspace(limits.min, limits.max, 500).astype(dtype)
    item = scene([Asset("B02", "b02.tif", 1, 0.00013, -0.02, 30)])
    short, wide = (
        to_reflectance(raster([s], ("B02",), 77), item, ("B02",))
        for s in (stored, stored.astype(np.int32))
    )
    np.testing.assert_array_equal(short, wide)
    assert len(np.unique(short)) > 100


def test_floats_round_and_saturate_and_nan_is_nodata():
    item = scene([Asset("B02", "b02.tif")])
    values = np.array([np.nan, 0.0, -0.01, 0.12344, 0.12346, 9.0, np.inf], np.float32)
    got = to_reflectance(raster([values], ("B02",), np.nan), item, ("B02",))
    assert got[0, 0].tolist() == [0, 0, 1, 1234, 1235, 65535, 0]


def test_nodata_of_raster_and_of_asset_are_both_nodata():
    item = scene([Asset("B02", "b02.tif", 1, 1e-4, 0.0, 65535)])
    stored = np.array([7, 65535, 12345], np.uint16)
    got = to_reflectance(raster([stored], ("B02",), 7), item, ("B02",))
    assert got[0, 0].tolist() == [0, 0, 12345]


def test_bands_come_in_the_order_of_the_chip_and_absent_ones_are_nodata():
    item = scene([Asset(b, "x.tif", 1, 1e-4) for b in ("B04", "B02")])
    stored = [np.array([40], np.uint16), np.array([20], np.uint16)]
    got = to_reflectance(raster(stored, ("B04", "B02")), item)
    assert got.shape == (12, 1, 1)
    found = dict(zip(OPTICAL.names, got[:, 0, 0].tolist(), strict=True))
    assert {b: v for b, v in found.items() if v} == {"B02": 20, "B04": 40}


def test_integers_without_scale_are_an_error():
    item = scene([Asset("B02", "b02.tif")])
    with pytest.raises(ValueError, match="S2X, band B02: uint16 pixels with a scale of 1"):
        to_reflectance(raster([DN], ("B02",)), item, ("B02",))
