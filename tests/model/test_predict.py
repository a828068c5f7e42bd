"""The predictor: nodata, calibration, and that a chip's result is its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from planet import MICRO

from model.checkpoint import of_network
from model.inputs import INPUTS
from model.legend import LULC6
from model.network import CloudLULCNet
from model.precision import bfloat16_is_fast, check_precision
from model.predict import Predictor


def checkpoint(config=MICRO):
    torch.manual_seed(0)
    net = CloudLULCNet(config)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return of_network(net, INPUTS, LULC6, 1.0, {})


def chips(n):
    g = np.random.default_rng(0)
    optical = g.integers(1, 9000, (n, 12, 64, 64)).astype(np.uint16)
    return optical, g.integers(-2500, 0, (n, 2, 64, 64)).astype(np.int16)


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_layers_and_nodata():
    optical, sar = chips(2)
    optical[0, :, :32] = 0
    sar[0, :, :, :32] = -32768
    optical[1, 0] = 0  # a missing band is not a missing pixel
    p = Predictor(checkpoint(), threads=1).predict(optical, sar)
    assert [x.dtype for x in p] == [np.uint8] * 3
    assert [x.shape for x in p] == [(2, 64, 64)] * 3
    nothing = np.zeros((2, 64, 64), bool)
    nothing[0, :32, :32] = True
    assert (p.lulc[nothing] == 0).all()
    assert (p.confidence[nothing] == 255).all() and (p.reliability[nothing] == 255).all()
    assert set(np.unique(p.lulc[~nothing])) <= {c.code for c in LULC6.classes}
    assert p.confidence[~nothing].min() >= 16 and p.confidence[~nothing].max() <= 100
    assert (p.reliability[0, :32, 32:] == 0).all()
    assert p.reliability[0, 32:].max() > 0 and p.reliability[1].min() > 0


def test_probabilities_are_those_of_the_prediction():
    optical, sar = chips(3)
    optical[0, :, :32], sar[0, :, :32] = 0, -32768
    predictor = Predictor(checkpoint(), threads=1)
    p, probability = predictor.predict_with_probabilities(optical, sar)
    assert equal(p, predictor.predict(optical, sar))
    assert (probability.shape, probability.dtype) == ((3, 6, 64, 64), np.uint8)
    nothing = np.broadcast_to((p.lulc == 0)[:, None], probability.shape)
    assert nothing.any() and (probability[nothing] == 255).all()
    shown = p.lulc != 0
    highest = probability.max(1)
    assert (highest[shown] == p.confidence[shown]).all()
    of_class = np.take_along_axis(probability, LULC6.indices(p.lulc)[:, None] % 6, 1)[:, 0]
    assert (of_class[shown] == highest[shown]).all()
    assert np.abs(probability.sum(1, dtype=int)[shown] - 100).max() <= 3


def test_a_result_does_not_depend_on_the_other_chips_or_on_threads():
    optical, sar = chips(6)
    predictor = Predictor(checkpoint(), threads=1)
    together = predictor.predict(optical, sar)
    alone = [predictor.predict(optical[i : i + 1], sar[i : i + 1]) for i in range(6)]
    assert equal(together, [np.concatenate(x) for x in zip(*alone, strict=True)])
    order = [5, 0, 3, 1, 4, 2]
    assert equal(predictor.predict(optical[order], sar[order]), [x[order] for x in together])
    two = Predictor(checkpoint(), threads=2)
    try:
        assert equal(two.predict(optical, sar), together)
    finally:
        torch.set_num_threads(1)


def test_logits_are_bit_equal_for_any_position_and_number_of_threads():
    net = checkpoint().network()
    optical, sar = (torch.from_numpy(x.astype(np.float32)) for x in chips(4))
    with torch.inference_mode():
        torch.set_num_threads(1)
        logits = net(optical, sar).logits
        assert torch.equal(net(optical.flip(0), sar.flip(0)).logits.flip(0), logits)
        torch.set_num_threads(2)
        assert torch.equal(net(optical, sar).logits, logits)
        torch.set_num_threads(1)


@pytest.mark.skipif(not bfloat16_is_fast("cpu"), reason="no AVX512-BF16 here")
def test_bfloat16_is_another_rounding_that_nothing_else_can_change():
    optical, sar = chips(3)
    full = Predictor(checkpoint(), threads=1).predict(optical, sar)
    half = Predictor(checkpoint(), threads=1, precision="bfloat16")
    assert half.network.decoder.start.weight.dtype == torch.bfloat16
    together = half.predict(optical, sar)
    assert not equal(together, full)
    assert (together.lulc == full.lulc).mean() > 0.98
    assert np.abs(together.confidence.astype(int) - full.confidence).mean() < 1
    assert np.abs(together.reliability.astype(int) - full.reliability).mean() < 2
    again = half.predict(optical[::-1], sar[::-1])
    assert equal(again, [layer[::-1] for layer in together])
    two = Predictor(checkpoint(), threads=2, precision="bfloat16")
    alone = [two.predict(optical[i : i + 1], sar[i : i + 1]) for i in range(3)]
    assert equal(together, [np.concatenate(x) for x in zip(*alone, strict=True)])


def test_a_precision_that_the_machine_is_slow_at_is_refused():
    with pytest.raises(ValueError, match="got 'float16', expected one of float32, bfloat16"):
        Predictor(checkpoint(), precision="float16")
    assert not bfloat16_is_fast("mps")
    with pytest.raises(ValueError, match="no avx512_bf16.*--precision float32"):
        check_precision("bfloat16", "mps")


def test_temperature_calibrates_confidence_only():
    optical, sar = chips(1)
    plain = Predictor(checkpoint(), threads=1).predict(optical, sar)
    cool = Predictor(replace(checkpoint(), temperature=50.0), threads=1).predict(optical, sar)
    assert np.array_equal(plain.lulc, cool.lulc)
    assert cool.confidence.mean() < plain.confidence.mean()
    assert cool.confidence.max() <= 25


def test_without_orm_optical_is_believed_wherever_it_is():
    optical, sar = chips(1)
    optical[0, :, :, :10] = 0
    p = Predictor(checkpoint(replace(MICRO, orm=False)), threads=1).predict(optical, sar)
    assert (p.reliability[0, :, :10] == 0).all() and (p.reliability[0, :, 10:] == 100).all()


def test_wrong_input_is_refused():
    optical, sar = chips(2)
    predictor = Predictor(checkpoint(), threads=1)
    with pytest.raises(ValueError, match="2 optical and 1 SAR"):
        predictor.predict(optical, sar[:1])
    with pytest.raises(ValueError, match="0 optical"):
        predictor.predict(optical[:0], sar[:0])
    with pytest.raises(ValueError, match="expected .*12"):
        predictor.predict(optical[:, :4], sar)
