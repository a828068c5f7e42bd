"""The loss: its parts against hand-computed values, and that training lowers it."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from planet import MICRO

from model.anchor import SemanticAnchor
from model.losses import (
    PLUS,
    LossWeights,
    anchor_ramp,
    cross_entropy,
    dice_loss,
    reliability_loss,
    total_loss,
)
from model.network import CloudLULCNet, Output

STILL = replace(MICRO, drop_path=0.0)  # the same output at every call


@pytest.mark.parametrize("classes", [None, (1.0, 2.0, 0.5)])
def test_cross_entropy_is_torchs_but_zero_without_pixels(classes):
    torch.manual_seed(0)
    logits, y = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    y[0, 0] = 255
    weight = None if classes is None else torch.tensor(classes)
    expected = F.cross_entropy(logits, y, weight, ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, y, classes), expected)
    assert cross_entropy(logits, torch.full_like(y, 255), classes) == 0


def test_dice_by_hand():
    # Two valid pixels, of class 0 and 1, both given 3/4 for class 0; class 2 is absent.
    logits = torch.tensor([0.75, 0.25 - 1e-9, 1e-9]).log().view(1, 3, 1, 1).expand(1, 3, 1, 3)
    y = torch.tensor([[[0, 1, 255]]])
    dice_0, dice_1 = 2 * 0.75 / (1.5 + 1), 2 * 0.25 / (0.5 + 1)
    assert dice_loss(logits, y).item() == pytest.approx(1 - (dice_0 + dice_1) / 2, abs=1e-6)
    assert dice_loss(logits, torch.full_like(y, 255)) == 0


def test_reliability_loss_by_hand():
    cloud = torch.zeros(1, 4, 4)
    cloud[:, :, 2:] = 1
    cloud[:, :2, :2] = 255
    p = 0.8  # believed everywhere: upper left unknown, lower left clear, right cloudy
    logits = torch.full((1, 1, 2, 2), math.log(p / (1 - p)))
    expected = (-math.log(p) - 2 * math.log(1 - p)) / 3
    assert reliability_loss([logits], cloud).item() == pytest.approx(expected, rel=1e-5)
    assert reliability_loss([logits, logits], cloud).item() == pytest.approx(expected, rel=1e-5)
    assert reliability_loss([], cloud) == 0
    assert reliability_loss([logits], torch.full_like(cloud, 255)) == 0


def test_ramp_grows_over_the_first_tenth():
    assert [anchor_ramp(s, 100) for s in (0, 5, 10, 90)] == [0, 0.5, 1, 1]


def some_output():
    torch.manual_seed(0)
    return Output(
        torch.randn(1, 6, 32, 32),
        [torch.randn(1, 1, 16, 16)],
        torch.randn(1, 8, 2, 2),
        {"fused": torch.randn(1, 6, 2, 2)},
    )


def test_total_is_the_weighted_sum_of_its_parts():
    output, y = some_output(), torch.randint(0, 6, (1, 32, 32))
    anchor = SemanticAnchor(STILL)
    total, p = total_loss(output, y, anchor, PLUS, 0.5, torch.zeros(1, 32, 32))
    expected = (
        p["ce"]
        + 0.5 * p["dice"]
        + 0.4 * p["aux"]
        + 0.5 * (0.5 * p["align"] + 0.2 * p["proto"])
        + 0.2 * p["autoencoder"]
        + 0.1 * p["reliability"]
    )
    torch.testing.assert_close(total, expected)
    assert "reliability" not in total_loss(output, y, anchor, LossWeights(), 1.0)[1]


def test_reliability_needs_a_cloud_mask():
    y = torch.zeros(1, 32, 32, dtype=torch.uint8)
    with pytest.raises(ValueError, match="without a cloud mask"):
        total_loss(some_output(), y, SemanticAnchor(STILL), LossWeights(reliability=0.1), 1.0)


def test_a_short_fit_lowers_the_loss():
    torch.manual_seed(0)
    y = torch.zeros(2, 64, 64, dtype=torch.uint8)
    y[:, :, 32:] = 1
    y[:, 40:] = 2
    optical = 500 + 2500 * y[:, None].expand(-1, 12, -1, -1).float()
    optical[:, :, :32, :20] = 9000  # a cloud
    cloud = (optical[:, 0] == 9000).float()
    sar = -2000 + 500 * y[:, None].expand(-1, 2, -1, -1).float()
    net, anchor = CloudLULCNet(STILL), SemanticAnchor(STILL)
    optimizer = torch.optim.AdamW([*net.parameters(), *anchor.parameters()], lr=1e-2)
    history = []
    for _ in range(20):
        total, parts = total_loss(net(optical, sar), y, anchor, PLUS, 1.0, cloud)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(parts)
    for name in ("ce", "dice", "aux", "align", "proto", "autoencoder", "reliability"):
        assert history[-1][name] < 0.9 * history[0][name], name
