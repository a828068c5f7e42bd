"""Simulated clouds: the cover asked for, plausible spectra, shadows beside clouds, nodata kept."""

import numpy as np
import pytest

from model.clouds import KINDS, fractal_noise, simulate_clouds

GROUND = np.array([400, 500, 800, 700, 1200, 2400, 2800, 3000, 3100, 3100, 2000, 1200], np.uint16)


def ground(size: int = 128) -> np.ndarray:
    return np.broadcast_to(GROUND[:, None, None], (12, size, size)).copy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cover", [0.1, 0.5, 0.9])
def test_cloud_cover_is_about_what_was_asked_for(kind, cover):
    under = [simulate_clouds(ground(), np.random.default_rng(s), cover, kind) for s in range(6)]
    got = np.mean([(u.cloud > 0.15).mean() for u in under])
    assert abs(got - cover) < 0.12


def test_no_cover_changes_nothing_and_full_cover_leaves_nothing_clear():
    for kind in KINDS:
        rng = np.random.default_rng(3)
        none = simulate_clouds(ground(), rng, 0.0, kind)
        assert not none.mask().any()
        np.testing.assert_array_equal(none.optical, ground())
        assert simulate_clouds(ground(), rng, 1.0, kind).mask().all()


def test_thick_cloud_is_bright_and_darker_in_the_short_wave_infrared():
    under = simulate_clouds(ground(), np.random.default_rng(1), 0.5, "thick")
    core = under.optical[:, under.cloud > 0.8].mean(axis=1)
    assert (core[1:9] > 3000).all()
    assert core[11] < core[3]


def test_veil_covers_all_and_stays_thin_somewhere():
    for seed in range(5):
        cloud = simulate_clouds(ground(), np.random.default_rng(seed), 1.0, "veil").cloud
        assert 0.15 < cloud.min() < 0.5 < np.percentile(cloud, 95)


def test_clouds_differ_in_the_short_wave_infrared_as_ice_and_water_do():
    ratio = []
    for seed in range(40):
        cloudy = simulate_clouds(ground(64), np.random.default_rng(seed), 1.0, "thick").optical
        red, swir = cloudy[3].mean(), cloudy[10].mean()
        ratio.append(swir / red)
    assert min(ratio) < 0.5 and max(ratio) > 0.95
    assert 0.55 < np.median(ratio) < 0.85


def test_faint_haze_between_clouds_counts_as_clear():
    hazy = 0
    for seed in range(10):
        under = simulate_clouds(ground(), np.random.default_rng(seed), 0.3, "thick")
        clear = ~under.mask() & (under.cloud == 0) & (under.shadow == 0)
        hazy += (under.optical[1, clear] > GROUND[1]).mean() > 0.9
    assert 1 <= hazy <= 9


def test_shadow_darkens_infrared_more_than_blue_and_lies_outside_cloud():
    under = simulate_clouds(ground(), np.random.default_rng(5), 0.4, "thick")
    shaded = (under.shadow > 0.6) & (under.cloud < 0.01)
    assert shaded.any()
    ratio = under.optical[:, shaded].mean(axis=1) / GROUND
    assert ratio[11] < ratio[7] < ratio[1] < 1
    assert (under.shadow[under.cloud > 0.95] < 0.05).all()


def test_nodata_stays_nodata_band_by_band_and_nothing_else_becomes_it():
    clear = ground()
    clear[0] = 0
    clear[:, :10] = 0
    cloudy = simulate_clouds(clear, np.random.default_rng(0), 0.7).optical
    np.testing.assert_array_equal(cloudy == 0, clear == 0)


def test_same_generator_same_clouds():
    a, b, other = (simulate_clouds(ground(), np.random.default_rng(s), 0.5) for s in (8, 8, 9))
    np.testing.assert_array_equal(a.optical, b.optical)
    assert (a.optical != other.optical).any()


def test_steeper_noise_is_smoother():
    def roughness(exponent):
        field = fractal_noise((64, 64), np.random.default_rng(0), exponent)
        return np.abs(np.diff(field, axis=0)).mean()

    assert roughness(2.0) < 0.5 * roughness(1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cover": 1.2}, "cloud cover: got 1.2"),
        ({"kind": "cumulus"}, "kind of cloud: got 'cumulus'"),
        ({"optical": np.ones((10, 32, 32), np.uint16)}, r"expected \(12, y, x\)"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    arguments = {"optical": ground(32), "cover": 0.5, "kind": "thick"} | change
    with pytest.raises(ValueError, match=message):
        simulate_clouds(rng=np.random.default_rng(0), **arguments)
