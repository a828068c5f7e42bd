"""Cloud and shadow by spectrum: over simulated clouds, and where there are none."""

import numpy as np

from model.clouds import simulate_clouds
from transforms.pixels.spectral_clouds import spectral_mask

MEADOW = [400, 480, 800, 700, 1250, 2300, 2700, 2900, 3050, 3100, 2400, 1400]
SAND = [1100, 1300, 1800, 2300, 2600, 2800, 2950, 3050, 3150, 3200, 3900, 3500]
WATER = [450, 420, 380, 300, 260, 230, 220, 200, 190, 180, 120, 80]


def ground(spectrum, size=128):
    rng = np.random.default_rng(0)
    noise = rng.normal(1, 0.05, (12, size, size))
    return np.rint(np.array(spectrum)[:, None, None] * noise).astype(np.uint16)


def test_clear_ground_is_clear():
    for spectrum in (MEADOW, SAND, WATER):
        assert not spectral_mask(ground(spectrum)).any()


def test_thick_clouds_and_their_shadows_are_found():
    seen = simulate_clouds(ground(MEADOW), np.random.default_rng(3), 0.4, "thick")
    mask, truth = spectral_mask(seen.optical), seen.mask()
    assert (mask & truth).sum() / (mask | truth).sum() > 0.7
    shadow = (seen.shadow > 0.8) & (seen.cloud < 0.05)
    assert shadow.any() and mask[shadow].mean() > 0.5


def test_water_beside_a_cloud_is_no_shadow():
    image = ground(WATER)
    image[:, :20, :20] = 7000
    mask = spectral_mask(image)
    assert mask[:18, :18].all() and mask[24:, 24:].sum() == 0


def test_without_data_nothing_is_said():
    image = ground(MEADOW)
    image[:, :40] = 8000
    image[:, :20] = 0
    mask = spectral_mask(image)
    assert not mask[:20].any() and mask[23:38].all()
