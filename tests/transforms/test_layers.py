"""Layers that are made on demand: from the chips and the network into the map."""

import numpy as np
import pytest

from model.legend import LULC6
from model.predict import Prediction
from transforms.classify import map_layers
from transforms.grid import Grid
from transforms.layers import ALL_LAYERS, LAYERS, choose_layers
from transforms.pixels.chip import Chips, Quality

GRID = Grid(chip_size=64, halo=16)


def test_probabilities_stand_for_those_of_all_classes():
    names = [layer.name for layer in choose_layers(("confidence", "probabilities"))]
    assert names[:2] == ["lulc", "confidence"]
    assert {name.removeprefix("probability_") for name in names[2:]} == {
        c.name for c in LULC6.classes
    }
    assert "quality" not in LAYERS and "quality" in ALL_LAYERS
    with pytest.raises(ValueError, match="probability_snow"):
        choose_layers(("probability_snow",))


def test_layers_on_demand_hold_the_core_of_their_chips():
    rng = np.random.default_rng(0)
    shape = (4, 64, 64)
    quality = rng.choice([0, int(Quality.SNOW), int(Quality.CLOUD)], shape).astype(np.uint8)
    chips = Chips(
        np.zeros((4, 12, 64, 64), np.uint16),
        np.zeros((4, 2, 64, 64), np.int16),
        quality,
        np.zeros(shape, np.uint8),
        np.zeros((4, 2), np.int16),
        np.zeros((4, 2), np.float32),
    )
    values = rng.integers(0, 100, shape).astype(np.uint8)
    probability = rng.integers(0, 100, (4, 6, 64, 64)).astype(np.uint8)
    prediction = Prediction(values, values, values)
    layers = map_layers(ALL_LAYERS, chips, prediction, GRID, probability)
    assert {n: str(pixels.dtype) for n, pixels in layers.items()} == {
        n: layer.dtype for n, layer in ALL_LAYERS.items()
    }
    water = next(c for c in LULC6.classes if c.name == "water")
    core = slice(16, 48)
    np.testing.assert_array_equal(layers["quality"][:32, 32:], quality[1, core, core])
    np.testing.assert_array_equal(
        layers["probability_water"][32:, :32], probability[2, water.index, core, core]
    )
    unseen = quality | np.uint8(Quality.NO_SAR) * (quality == Quality.SNOW)
    ages = map_layers(("optical_age", "sar_age"), chips._replace(quality=unseen), prediction, GRID)
    assert (ages["optical_age"] == 0).all()
    snow = quality[1, core, core] == Quality.SNOW
    np.testing.assert_array_equal(ages["sar_age"][:32, 32:] == LAYERS["sar_age"].nodata, snow)
