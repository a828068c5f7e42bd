"""The accuracy by regime: how it is measured, and what a card's table says of it."""

import numpy as np
import pytest
from planet import micro_checkpoint

from model.checkpoint import load
from model.dataset import Patches
from model.inputs import INPUTS
from model.legend import LULC6
from model.predict import Prediction, Predictor
from model.regime_scores import NO_ORBITS, NO_STALE, Sample, score_regimes, split_samples
from model.regimes import Regime, expected_accuracy

SHAPE = (32, 32)
NOTHING = np.full((2, *SHAPE), INPUTS.sar.nodata, np.int16)


class Reads:
    """Stands for a predictor whose map of a patch is the first number of what it is given."""

    legend = LULC6

    def predict(self, optical, sar):
        seen = optical[:, 0] if optical.any() else sar[:, 0]
        index = seen.astype(np.uint8)
        return Prediction(LULC6.codes(index), index, index)


def sample(optical=1, sar=2, label=1, stale=None):
    return Sample(
        np.full((12, *SHAPE), optical, np.uint16),
        np.full((2, *SHAPE), sar, np.int16),
        np.full(SHAPE, label, np.uint8),
        None if stale is None else np.full((2, *SHAPE), stale, np.int16),
    )


def test_each_regime_is_scored_with_the_sensors_it_has():
    table = score_regimes(Reads(), [sample(), sample(label=2)], "made by hand")
    assert table["both"] == {"oa": 0.5, "miou": 0.25, "patches": 2, "data": "made by hand"}
    assert table["optical only"]["oa"] == 0.5
    # SAR alone says 2 of both.
    assert table["sar only"]["oa"] == 0.5
    assert table["sar stale"] == {"oa": None, "reason": NO_STALE}
    assert table["one orbit"] == {"oa": None, "reason": NO_ORBITS}
    assert list(table) == [r.value for r in Regime if r is not Regime.NONE]
    table = score_regimes(Reads(), [sample(label=2), sample(optical=0, label=2)], "")
    assert (table["sar only"]["oa"], table["sar only"]["patches"]) == (1.0, 2)
    assert (table["both"]["oa"], table["both"]["patches"]) == (0.0, 1)


def test_unknown_labels_do_not_count_and_stale_sar_is_used_where_there_is_some():
    one = sample(stale=3)
    one.label[:16] = 255
    table = score_regimes(Reads(), [one, sample(label=4)], "")
    assert table["sar stale"]["patches"] == 1 and table["sar stale"]["oa"] == 1.0
    assert table["both"]["oa"] == round(1 / 3, 4)
    nothing = Sample(one.optical * 0, NOTHING, one.label)
    assert score_regimes(Reads(), [nothing], "")["both"]["oa"] is None


def test_a_split_is_scored_under_the_clouds_of_validation(tmp_path):
    rng = np.random.default_rng(0)
    clear = rng.integers(200, 3000, (3, 12, *SHAPE)).astype(np.uint16)
    sar = rng.integers(-2000, -500, (3, 2, *SHAPE)).astype(np.int16)
    label = rng.integers(0, 6, (3, *SHAPE)).astype(np.uint8)
    patches = Patches(clear, clear, sar, label)
    samples = list(split_samples(patches))
    np.testing.assert_array_equal(samples[0].optical, clear[0])  # the first cover is 0 %
    assert (samples[2].optical != clear[2]).any()
    predictor = Predictor(load(micro_checkpoint(tmp_path / "micro.safetensors")), threads=1)
    first = score_regimes(predictor, split_samples(patches), "noise")
    assert first == score_regimes(predictor, split_samples(patches), "noise")
    assert 0 < first["both"]["oa"] < 1


def test_what_a_card_says_of_a_regime():
    table = score_regimes(Reads(), [sample()], "made by hand")
    card = {"name": "x", "regimes": table}
    stated = {"expected_accuracy": 1.0, "patches": 1, "data": "made by hand"}
    assert expected_accuracy(card, Regime.BOTH) == stated
    for regime, said, why in (
        (Regime.ONE_ORBIT, card, NO_ORBITS),
        (Regime.NONE, card, "nothing was seen, so nothing is mapped"),
        (Regime.BOTH, {}, "the checkpoint's card holds no accuracy by regime"),
        (Regime.BOTH, {"regimes": {}}, "the checkpoint's card does not hold this regime"),
    ):
        assert expected_accuracy(said, regime) == {"expected_accuracy": None, "reason": why}
    with pytest.raises(ValueError, match="regime both: oa is 72.0, expected 0 to 1"):
        expected_accuracy({"regimes": {"both": {"oa": 72.0}}}, Regime.BOTH)
