import json
from datetime import UTC, date, datetime

import numpy as np
import pytest

from transforms.grid import BlockKey, Grid
from transforms.pixels.chip import AGE_UNKNOWN, Quality
from transforms.pixels.pairing import Pair
from transforms.pixels.prepare import PixelOptions, optical_bands, prepare_block, sar_bands
from transforms.pixels.sentinel2 import OPTICAL
from transforms.scene import SENTINEL1, SENTINEL2, Asset, Raster, Scene

GRID = Grid(chip_size=64, halo=8)
KEY = BlockKey(33, 5, 50, 2, 3)
TARGET = date(2024, 6, 15)
N = GRID.block_size
OPTIONS = PixelOptions()


def scene(id, sensor, bands, day=13, **fields):
    moment = datetime(2024, 6, day, 10, tzinfo=UTC)
    scale = {"VV": 0.01, "VH": 0.01, "SCL": 1, "CLOUD_PROBABILITY": 1}
    assets = tuple(Asset(b, f"{b}.tif", 1, scale.get(b, 1e-4), 0.0, None) for b in bands)
    return Scene(id, sensor, moment, moment, moment, (0, 0, 1, 1), assets=assets, **fields)


def optical(id="S2", bands=(*OPTICAL.names, "SCL"), **fields):
    return scene(id, SENTINEL2, bands, **{"level": "L2A"} | fields)


def sar(id="S1", bands=("VV", "VH"), **fields):
    return scene(id, SENTINEL1, bands, **{"unit": "dB", "level": "sigma0"} | fields)


class Images:
    """A source of planes, (y, x) per scene and band; counts what is read."""

    def __init__(self, **scenes):
        self.scenes = scenes
        self.calls = []

    def __call__(self, scene, geobox, bands):
        self.calls.append((scene.id, bands))
        dtype, nodata = (np.uint16, 0) if scene.sensor == SENTINEL2 else (np.int16, -32768)
        planes = self.scenes[scene.id]
        pixels = np.stack([np.broadcast_to(planes[b], geobox.shape) for b in bands]).astype(dtype)
        return Raster(pixels, geobox, bands, nodata)


def s2(base, scl=4, bands=OPTICAL.names):
    return {b: base + 100 * i for i, b in enumerate(bands)} | {"SCL": scl}


def left(value, other):
    """(y, x): `value` in the left half of the block, `other` in the right half."""
    return np.where(np.arange(N)[None] < N // 2, value, other)


def test_one_scene_of_each_sensor():
    read = Images(S2=s2(1000), S1={"VV": -1100, "VH": -1800})
    chips = prepare_block(KEY, Pair((optical(),), (sar(day=12),)), TARGET, GRID, read, OPTIONS)
    assert chips.optical.shape == (4, 12, 64, 64) and chips.optical.dtype == np.uint16
    assert chips.sar.shape == (4, 2, 64, 64) and chips.sar.dtype == np.int16
    assert chips.optical[:, :, 5, 5].tolist() == [[1000 + 100 * i for i in range(12)]] * 4
    assert chips.sar[:, :, 5, 5].tolist() == [[-1100, -1800]] * 4
    assert (chips.quality == 0).all() and (chips.cloud == 0).all()
    assert chips.quality.dtype == chips.cloud.dtype == np.uint8
    assert chips.age.tolist() == [[-2, -3]] * 4 and chips.age.dtype == np.int16
    assert np.isnan(chips.shift).all() and chips.shift.shape == (4, 2)
    assert read.calls == [("S2", (*OPTICAL.names, "SCL")), ("S1", ("VV", "VH"))]


def test_chips_are_cut_row_by_row_and_agree_in_their_overlap():
    ramp = 1 + np.arange(N)[:, None] * N + np.arange(N)[None]
    read = Images(S2={b: ramp for b in OPTICAL.names} | {"SCL": 4})
    chips = prepare_block(KEY, Pair((optical(),), ()), TARGET, GRID, read, OPTIONS)
    plane = chips.optical[:, 0]
    core, size = GRID.core_size, GRID.chip_size
    assert plane[:, 0, 0].tolist() == [1, 1 + core, 1 + core * N, 1 + core * N + core]
    np.testing.assert_array_equal(plane[0][:, core:], plane[1][:, : size - core])
    np.testing.assert_array_equal(plane[0][core:], plane[2][: size - core])
    h = GRID.halo
    rows = [np.hstack([plane[i][h:-h, h:-h] for i in pair]) for pair in ((0, 1), (2, 3))]
    np.testing.assert_array_equal(np.vstack(rows), ramp[h:-h, h:-h])


def test_first_granule_that_has_data_wins_with_all_its_flags():
    read = Images(
        first={b: left(1000, 0) for b in OPTICAL.names} | {"SCL": left(9, 0)},
        second=s2(2000, scl=3),
    )
    granules = (optical("first"), optical("second"))
    chips = prepare_block(KEY, Pair(granules, ()), TARGET, GRID, read, OPTIONS)
    assert np.unique(chips.optical[0, 0]).tolist() == [1000, 2000]
    one = chips.optical[:, 0] == 1000
    assert one.mean() == 0.5
    assert (chips.cloud == np.where(one, 100, 0)).all()
    both = Quality.NO_SAR | np.where(one, Quality.CLOUD, Quality.SHADOW)
    assert (chips.quality == both).all()
    # The second one of a wholly covered pixel is never used: order decides, not value.
    chips = prepare_block(KEY, Pair(granules[::-1], ()), TARGET, GRID, read, OPTIONS)
    assert (chips.optical[:, 0] == 2000).all() and (chips.quality & Quality.CLOUD == 0).all()


def test_slices_of_a_sar_pass_are_merged():
    read = Images(
        a={"VV": left(-1000, -32768), "VH": left(-1600, -32768)}, b={"VV": -900, "VH": -1500}
    )
    chips = prepare_block(KEY, Pair((), (sar("a"), sar("b"))), TARGET, GRID, read, OPTIONS)
    assert (chips.sar[0, 0, :, :56] == -1000).all()
    assert (chips.sar[0, 1, :, 56:] == -1500).all()
    assert (chips.quality == Quality.NO_OPTICAL).all()


def test_border_noise_of_a_slice_gives_way_to_the_next_slice():
    column = np.arange(N)[None]
    noisy = np.where(column < 40, -1000, np.where(column < 60, -3500, -32768))
    read = Images(a={"VV": noisy, "VH": noisy}, b={"VV": -900, "VH": -1500})
    chips = prepare_block(KEY, Pair((), (sar("a"), sar("b"))), TARGET, GRID, read, OPTIONS)
    assert (chips.sar[0, 0] == np.where(column[:, :64] < 40, -1000, -900)).all()


@pytest.mark.parametrize("another", [False, True])
def test_stripes_of_dn_1_along_a_swaths_edge_are_no_data(another):
    """In every band, then in half of them; another granule of the pass shows what they spoil."""
    rng = np.random.default_rng(0)
    column = np.arange(N)[None]
    striped = {b: rng.integers(300, 3000, (N, N)) for b in OPTICAL.names}
    for number, band in enumerate(OPTICAL.names):
        width = 22 if number % 2 else 24
        striped[band] = np.where(column < 20, 0, np.where(column < width, 1, striped[band]))
    granules = (optical("a", OPTICAL.names), *([optical("b", OPTICAL.names)] if another else []))
    read = Images(a=striped, b=dict.fromkeys(OPTICAL.names, 5000))
    chips = prepare_block(KEY, Pair(granules, ()), TARGET, GRID, read, OPTIONS)
    west, bad = chips.optical[0], column[:, : GRID.chip_size] < 24
    empty = (chips.quality[0] & Quality.NO_OPTICAL) > 0
    np.testing.assert_array_equal(empty, bad & (not another) & np.ones_like(empty))
    assert (west[:, np.broadcast_to(bad, empty.shape)] == (5000 if another else 0)).all()
    assert not (chips.optical == 1).any()


def test_absent_sensors_are_nodata_and_flagged():
    chips = prepare_block(KEY, Pair((), ()), TARGET, GRID, Images(), OPTIONS)
    assert (chips.optical == 0).all() and (chips.sar == -32768).all()
    assert (chips.quality == Quality.NO_OPTICAL | Quality.NO_SAR).all()
    assert (chips.cloud == 255).all() and (chips.age == AGE_UNKNOWN).all()


def test_chips_that_the_scene_does_not_reach_have_no_age():
    right = {b: np.where(np.arange(N)[None] < 64, 0, 1000) for b in OPTICAL.names}
    read = Images(S2=right | {"SCL": 4}, S1={"VV": -1100, "VH": -1800})
    undated = sar()._replace(time=None)
    chips = prepare_block(KEY, Pair((optical(),), (undated,)), TARGET, GRID, read, OPTIONS)
    assert chips.age[:, 0].tolist() == [AGE_UNKNOWN, -2, AGE_UNKNOWN, -2]
    assert (chips.age[:, 1] == AGE_UNKNOWN).all()
    assert (chips.quality[0] == Quality.NO_OPTICAL).all() and (chips.cloud[0] == 255).all()


def test_declared_missing_bands_are_nodata_and_not_read():
    bands = tuple(b for b in OPTICAL.names if b not in ("B01", "B09"))
    item = optical(bands=bands, missing=("B01", "B09"))
    read = Images(S2=s2(1000, bands=bands), S1={"VV": -1100})
    pair = Pair((item,), (sar(bands=("VV",), missing=("VH",)),))
    chips = prepare_block(KEY, pair, TARGET, GRID, read, OPTIONS)
    empty = (chips.optical == 0).all(axis=(0, 2, 3))
    assert [b for b, e in zip(OPTICAL.names, empty, strict=True) if e] == ["B01", "B09"]
    assert (chips.sar[:, 0] == -1100).all() and (chips.sar[:, 1] == -32768).all()
    assert (chips.quality == Quality.UNSCREENED).all() and (chips.cloud == 255).all()
    assert read.calls == [("S2", bands), ("S1", ("VV",))]


def test_a_missing_band_is_an_error_that_names_scene_block_and_cure():
    item = optical(bands=OPTICAL.names[1:])
    with pytest.raises(ValueError, match="cloudlulc:missing_bands") as error:
        prepare_block(KEY, Pair((item,), ()), TARGET, GRID, Images(), OPTIONS)
    assert str(error.value).startswith(f"block {KEY}: scene S2: got bands B02, B03,")
    with pytest.raises(ValueError, match="where VH cannot be had"):
        sar_bands(sar(bands=("VV",)))


def test_bands_to_read():
    assert optical_bands(optical()) == (*OPTICAL.names, "SCL")
    assert optical_bands(optical(bands=(*OPTICAL.names, "B10"), level="L1C")) == (
        *OPTICAL.names,
        "B10",
    )
    assert optical_bands(optical(bands=(*OPTICAL.names, "B10"))) == OPTICAL.names
    everything = optical(bands=("B10", "SCL", "CLOUD_PROBABILITY", *OPTICAL.names))
    assert optical_bands(everything) == (*OPTICAL.names, "SCL", "CLOUD_PROBABILITY")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: r._replace(pixels=r.pixels[:, :-1]), "expected .* contract"),
        (lambda r: r._replace(bands=r.bands[::-1]), "expected .* contract"),
        (
            lambda r: r._replace(geobox=r.geobox._replace(x0=r.geobox.x0 + 5)),
            "expected .* contract",
        ),
        (lambda r: r._replace(pixels=r.pixels.astype(complex)), "pixels of complex128"),
    ],
)
def test_what_read_returns_is_checked(spoil, message):
    images = Images(S1={"VV": -1100, "VH": -1800})
    with pytest.raises(ValueError, match=message):
        prepare_block(KEY, Pair((), (sar(),)), TARGET, GRID, lambda *a: spoil(images(*a)), OPTIONS)


def test_options_reach_the_pixels():
    rng = np.random.default_rng(0)
    planes = {b: rng.integers(-1500, -900, (N, N)) for b in ("VV", "VH")}
    probability = {"CLOUD_PROBABILITY": left(30, 70)}
    bands = (*OPTICAL.names, "CLOUD_PROBABILITY")
    offset = tuple(
        a._replace(offset=0 if a.scale == 1 else -0.1) for a in optical(bands=bands).assets
    )
    pair = Pair((optical(bands=bands)._replace(assets=offset),), (sar(),))
    read = Images(S2=s2(3000) | probability, S1=planes)

    default = prepare_block(KEY, pair, TARGET, GRID, read, OPTIONS)
    other = prepare_block(KEY, pair, TARGET, GRID, read, PixelOptions(False, "lee", 20))
    assert (default.optical[:, 0] == 2000).all() and (other.optical[:, 0] == 3000).all()
    assert other.sar[:, 0].std() < 0.5 * default.sar[:, 0].std()
    assert (default.quality & Quality.CLOUD > 0).mean() == 0.5
    assert (other.quality & Quality.CLOUD > 0).all()


def test_options_are_json_and_checked():
    assert PixelOptions(**json.loads(json.dumps(OPTIONS.to_dict()))) == OPTIONS
    with pytest.raises(ValueError, match="speckle filter: got 'boxcar', expected one of none, lee"):
        PixelOptions(speckle="boxcar")
    with pytest.raises(ValueError, match="cloud threshold: got 140"):
        PixelOptions(cloud_threshold=140)


def test_same_inputs_same_bytes():
    rng = np.random.default_rng(1)
    read = Images(
        S2={b: rng.integers(0, 3000, (N, N)) for b in OPTICAL.names}
        | {"SCL": rng.integers(0, 12, (N, N))},
        S1={b: rng.integers(-4000, -900, (N, N)) for b in ("VV", "VH")},
    )
    pair, options = Pair((optical(),), (sar(),)), PixelOptions(speckle="lee")
    a, b = (prepare_block(KEY, pair, TARGET, GRID, read, options) for _ in range(2))
    assert [x.tobytes() for x in a] == [x.tobytes() for x in b]
