from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scipy import ndimage

from transforms.grid import GeoBox
from transforms.period import Period
from transforms.pixels import likeness
from transforms.pixels.coregister import (
    APPLY_FROM,
    UNMEASURED,
    Shift,
    apply_shift,
    estimate_shift,
    resolve,
)
from transforms.pixels.likeness import SEARCH, window_sums
from transforms.pixels.sentinel1 import to_backscatter
from transforms.pixels.sentinel2 import OPTICAL, to_reflectance
from transforms.scene import SENTINEL1, SENTINEL2
from transforms.sources.synthetic import SyntheticSource

BOX = GeoBox(32633, 500000, 5300000, 10, 256, 256)
SAMPLE = Path(__file__).parents[3] / "data" / "sample"


def seen(shift=(0.0, 0.0), cloud=0.0, seed=4):
    """Optical, SAR and clear mask of the synthetic planet, whose shift is known."""
    source = SyntheticSource(seed=seed, cloud=cloud, shift=shift)
    scenes = source.search((14.9, 47.7, 15.1, 47.9), Period(date(2024, 6, 1), date(2024, 6, 30)))
    optical = next(s for s in scenes if s.sensor == SENTINEL2 and s.footprint[0] == 15)
    sar = next(s for s in scenes if s.sensor == SENTINEL1 and s.footprint[0] == 15)
    image = to_reflectance(source.read(optical, BOX, OPTICAL.names), optical)
    echo = to_backscatter(source.read(sar, BOX, ("VV", "VH")), sar)
    hidden, shade = source.cloud_mask(optical, BOX)
    return image, echo, ~(hidden | shade)


@pytest.mark.parametrize("shift", [(0, 0), (1.25, -0.75), (-2.5, 3), (0.5, 0.25)])
def test_finds_a_known_shift_of_the_synthetic_planet(shift):
    found = estimate_shift(*seen(shift))
    assert found.confident
    assert np.hypot(found.dy - shift[0], found.dx - shift[1]) < 0.25
    assert found.applies == (np.hypot(*shift) > APPLY_FROM)


def test_finds_it_between_clouds_and_without_the_nodata():
    # What is left beside clouds, nodata and the margins of both is a little more than 1 km2.
    image, echo, clear = seen((1.5, -2), cloud=0.4)
    assert 0.2 < clear.mean() < 0.8
    image[:, :40] = 0
    echo[:, :, -30:] = -32768
    found = estimate_shift(image, echo, clear)
    assert found.confident
    assert np.hypot(found.dy - 1.5, found.dx + 2) < 0.4
    # Clouds are edges too: taken for ground they do no good.
    assert estimate_shift(image, echo, np.ones_like(clear)).quality < found.quality


def test_is_not_confident_of_what_has_no_structure_in_common():
    rng = np.random.default_rng(0)
    image, echo, clear = seen()
    noise = np.rint(rng.normal(-1200, 200, echo.shape)).astype(np.int16)
    assert not estimate_shift(image, noise, clear).confident
    assert not estimate_shift(image, seen(seed=9)[1], clear).confident


def test_measures_nothing_under_full_cloud_or_without_data():
    image, echo, clear = seen()
    none = UNMEASURED._replace(windows=0)
    one_pixel = np.zeros_like(clear)
    one_pixel[100, 100] = True
    for case in (
        (image, echo, ~clear),
        (image, echo, one_pixel),
        (np.zeros_like(image), echo, clear),
        (image, np.full_like(echo, -32768), clear),
    ):
        found = estimate_shift(*case)
        assert found[2:] == none[2:] and np.isnan(found.dy)
        assert apply_shift(case[1], found) is case[1]


def test_a_shift_at_the_edge_of_the_search_is_not_trusted():
    assert not estimate_shift(*seen((SEARCH + 2, 0))).confident


def test_less_than_a_square_kilometre_is_not_enough():
    image, echo, clear = seen((1, 1))
    assert estimate_shift(image, echo, clear).confident
    small = np.s_[:80, :80]
    assert not estimate_shift(image[:, *small], echo[:, *small], clear[small]).confident


def test_windows_of_two_images_are_resolved_together():
    image, echo, clear = seen((1, 1))
    halves = [
        window_sums(image[:, part], echo[:, part], clear[part])
        for part in (slice(0, 128), slice(128, 256))
    ]
    together = resolve(halves)
    assert together.windows == sum(map(len, halves))
    assert together.confident
    assert np.hypot(together.dy - 1, together.dx - 1) < 0.25
    assert together.quality > max(resolve([half]).quality for half in halves)


def test_the_correlation_is_the_masked_one_of_its_definition():
    """Against a direct sum over the common valid pixels at one lag."""
    rng = np.random.default_rng(3)
    six, n, r = likeness._ORIENTATIONS, 24, SEARCH
    ours = rng.normal(size=(six, n, n))
    theirs = rng.normal(size=(six, n + 2 * r, n + 2 * r))
    inside, echo = rng.random((n, n)) > 0.3, rng.random(theirs.shape[1:]) > 0.2
    sums = likeness._edge_sums(ours * inside, inside, theirs * echo, echo)
    got = likeness._correlation(sums)
    dy, dx = 2, -3
    part = np.s_[r + dy : r + dy + n, r + dx : r + dx + n]
    both = inside & echo[part]
    a, b = ours[:, both], theirs[:, *part][:, both]
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    expected = (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
    assert got[r + dy, r + dx] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("place", "pair"),
    [
        ("sen12mscr", "sen12mscr_ROIs2017_winter_112_p797_S{}"),
    ],
)
def test_finds_a_whole_pixel_move_of_a_real_pair(place, pair):
    (optical,) = SAMPLE.glob(f"{place}/*/{pair.format('2_L1C')}/optical.tif")
    (sar,) = SAMPLE.glob(f"{place}/*/{pair.format('1_GRD')}/sar.tif")
    with rasterio.open(optical) as file:
        image = file.read([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13])
    with rasterio.open(sar) as file:
        echo = np.rint(file.read() * 100).astype(np.int16)
    clear = np.ones(image.shape[1:], bool)
    own = estimate_shift(image, echo, clear)
    assert own.confident and own.length < 1
    moved = np.roll(echo, (2, -1), (1, 2))
    moved[:, :2], moved[:, :, -1:] = -32768, -32768
    found = estimate_shift(image, moved, clear)
    assert found.confident
    assert np.hypot(found.dy - own.dy - 2, found.dx - own.dx + 1) < 0.15


def sure(dy, dx):
    return Shift(dy, dx, True, 0.1, 50.0, 25)


def test_applying_a_whole_pixel_shift_only_moves():
    sar = np.arange(-3000, -3000 + 2 * 6 * 7, dtype=np.int16).reshape(2, 6, 7)
    out = apply_shift(sar, sure(2.0, -1.0))
    np.testing.assert_array_equal(out[:, :-2, 1:], sar[:, 2:, :-1])
    assert (out[:, -2:] == -32768).all() and (out[:, :, 0] == -32768).all()
    assert out.dtype == np.int16


def test_applying_half_a_pixel_averages_power_of_what_is_valid():
    sar = np.array([[[-1000, -2000, -32768, -1500, -1500]]], np.int16)
    out = apply_shift(sar, sure(0.0, 0.5))[0, 0]
    mean = round(1000 * np.log10((0.1 + 0.01) / 2))
    # Where the nearest (the right one of two equally near) is nodata, so is the result.
    assert out.tolist() == [mean, -32768, -1500, -1500, -32768]


def test_applied_it_undoes_the_shift():
    shift = (1.5, -2.25)
    image, echo, clear = seen(shift)
    found = estimate_shift(image, echo, clear)
    rest = estimate_shift(image, apply_shift(echo, found), clear)
    assert rest.confident and rest.length < 0.25


@pytest.mark.parametrize(
    "shift", [sure(0.3, -0.3), Shift(3.0, 1.0, False, 2.0, 10.0, 25), UNMEASURED]
)
def test_a_short_or_doubtful_shift_is_not_applied(shift):
    sar = np.zeros((2, 5, 5), np.int16)
    assert apply_shift(sar, shift) is sar


def masks(shape):
    """Of a whole window, of one that a border cuts, of one with a hole, and of nothing."""
    whole, cut, hole = (np.ones(shape, bool) for _ in range(3))
    cut[:5], cut[:, -7:] = False, False
    hole[10:14, 8:20] = False
    return whole, cut, hole, np.zeros(shape, bool)


@pytest.mark.parametrize("number", range(4))
def test_sums_at_every_lag_are_those_of_counting(number):
    small, lags = (30, 26), 2 * SEARCH + 1
    wide = tuple(n + 2 * SEARCH for n in small)
    random = np.random.default_rng(number)
    ours, theirs = (random.normal(size=(2, *s)).astype(np.float32) for s in (small, wide))
    inside, echo = masks(small)[number], masks(wide)[number]
    spectra = likeness._Spectra(wide)
    under, over = spectra.ours_under(ours, echo), spectra.theirs_over(theirs, inside)
    for y, x in np.ndindex(lags, lags):
        there = np.s_[y : y + small[0], x : x + small[1]]
        np.testing.assert_allclose(under[:, y, x], (ours * echo[there]).sum((1, 2)), atol=1e-3)
        seen_there = theirs[:, *there] * inside
        np.testing.assert_allclose(over[:, y, x], seen_there.sum((1, 2)), atol=1e-3)


@pytest.mark.parametrize("sigma", [0.7, 5.0])
@pytest.mark.parametrize("shape", [(2, 150, 71), (33, 130), (5, 3)])
def test_smoothing_in_parts_is_a_gaussian_filter(sigma, shape):
    planes = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    expected = ndimage.gaussian_filter(planes, sigma, mode="constant", axes=(-2, -1))
    np.testing.assert_allclose(likeness._smooth(planes, sigma), expected, atol=1e-5)
