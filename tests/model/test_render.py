"""Rendered samples: what the sensors see follows the class, and equal seeds give equal samples."""

import numpy as np
import pytest

from model.layout import BUILT, CROP, FOREST, WATER, cells, enlarge_labels, layout
from model.render import Sample, observe, render_image, render_layout, signatures

MEDIAN = {  # B02, B03, B04, B08, B11, B12 x 1e4; VV, VH dB
    0: ([450, 500, 400, 300, 200, 180], [-20, -27]),
    1: ([390, 600, 500, 2400, 1900, 1100], [-8, -14]),
    2: ([560, 860, 820, 3200, 2500, 1500], [-11, -18]),
    3: ([1100, 1450, 1700, 2800, 3100, 2600], [-11, -19]),
    4: ([900, 1100, 1150, 2900, 2400, 1600], [-7, -14]),
    5: ([700, 980, 1150, 2750, 2550, 1850], [-10, -17]),
}


@pytest.fixture(scope="module")
def known():
    rng = np.random.default_rng(0)
    optical, sar, label = [], [], []
    for index, (spectrum, backscatter) in MEDIAN.items():
        b02, b03, b04, b08, b11, b12 = spectrum
        full = np.array(
            [0.8 * b02, b02, b03, b04, (b04 + b08) / 2, 0.8 * b08, 0.95 * b08, b08, b08, b08,
             b11, b12]
        )  # fmt: skip
        optical.append(full * rng.normal(1, 0.08, (60, 1)).clip(0.7, 1.3))
        sar.append(np.array(backscatter) + rng.normal(0, 0.5, (60, 2)))
        label += [index] * 60
    season = np.arange(360) % 12
    return signatures(
        np.vstack(optical), np.vstack(sar), np.array(label, np.uint8), season.astype(np.int64)
    )


def test_neighbours_are_of_the_same_class(known):
    assert (known.label[known.neighbours] == known.label[:, None]).all()
    assert known.neighbours.shape == (360, 8)


def test_layout_is_filled_with_its_classes_signatures(known):
    label = np.repeat(np.repeat([[WATER, FOREST], [CROP, BUILT]], 48, 0), 48, 1).astype(np.uint8)
    sample = render_layout(label, known, np.random.default_rng(1))
    vv = {c: sample.sar[0, label == c].mean() for c in (WATER, FOREST, CROP)}
    nir = {c: sample.optical[7, label == c].mean() for c in (WATER, FOREST, CROP)}
    assert vv[WATER] < vv[CROP] - 5 < vv[FOREST]
    assert nir[WATER] < 0.3 * nir[FOREST]
    np.testing.assert_array_equal(sample.label, label)


def test_plant_cover_of_one_kind_differs_between_parcels(known):
    label = np.full((96, 96), CROP, np.uint8)
    ratio = []
    for seed in range(6):
        optical = render_layout(label, known, np.random.default_rng(seed)).optical
        ratio.append(np.percentile(optical[7] / optical[3], [5, 95]))
    low, high = np.mean(ratio, axis=0)
    assert high > 1.4 * low


def test_image_keeps_its_own_bands_and_gets_backscatter_of_its_class(known):
    label = np.zeros((32, 32), np.uint8)
    label[:, 16:] = FOREST
    image = np.empty((7, 32, 32), np.float32)
    for c, columns in ((WATER, slice(0, 16)), (FOREST, slice(16, 32))):
        spectrum = [0.8 * MEDIAN[c][0][0], *MEDIAN[c][0]]
        image[:, :, columns] = np.array(spectrum)[:, None, None]
    sample = render_image(image, label, known, np.random.default_rng(2), zoom=2)
    assert sample.optical.shape == (12, 64, 64) and sample.sar.shape == (2, 64, 64)
    forest = sample.label == FOREST
    assert sample.sar[0, forest].mean() - sample.sar[0, ~forest].mean() > 8
    assert np.median(sample.optical[7, forest]) == pytest.approx(2400, rel=0.25)
    assert np.median(sample.optical[5, forest]) == pytest.approx(0.8 * 2400, rel=0.3)


def test_observed_values_are_stored_integers_with_speckle(known):
    flat = np.full((96, 96), CROP, np.uint8)
    sample = Sample(
        np.full((12, 96, 96), 2000, np.float32), np.full((2, 96, 96), -12.0, np.float32), flat
    )
    optical, sar = observe(sample, np.random.default_rng(4))
    assert optical.dtype == np.uint16 and optical.min() >= 1
    assert sar.dtype == np.int16
    power = 10 ** (sar / 1000.0)
    looks = (power.mean(axis=(1, 2)) / power.std(axis=(1, 2))) ** 2
    assert ((looks > 2) & (looks < 20)).all()
    assert np.abs(10 * np.log10(power.mean(axis=(1, 2))) + 12).max() < 6


def test_layouts_hold_classes_of_their_base_and_are_repeatable():
    base = np.full((16, 16), FOREST, np.uint8)
    base[:, 8:] = WATER
    drawn = layout((64, 64), np.random.default_rng(0), base)
    assert drawn.shape == (64, 64)
    assert set(np.unique(drawn)) <= {WATER, FOREST, BUILT}
    np.testing.assert_array_equal(drawn, layout((64, 64), np.random.default_rng(0), base))
    assert len(np.unique(layout((64, 64), np.random.default_rng(1)))) > 1


def test_enlarged_labels_keep_their_shares():
    base = np.zeros((16, 16), np.uint8)
    base[:4] = 5
    large = enlarge_labels(base, (64, 64), np.random.default_rng(0))
    assert (large == 5).mean() == pytest.approx(0.25, abs=0.05)
    assert set(np.unique(large)) == {0, 5}


def test_cells_have_about_the_size_asked_for():
    ids = cells((128, 128), np.random.default_rng(0), 16)
    assert len(np.unique(ids)) == pytest.approx((128 / 16) ** 2, rel=0.5)


def test_same_generator_same_sample(known):
    def one(seed):
        rng = np.random.default_rng(seed)
        return observe(render_layout(layout((32, 32), rng), known, rng), rng)

    for a, b in zip(one(3), one(3), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one(3)[0] != one(4)[0]).any()
