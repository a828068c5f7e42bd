"""The semantic anchor: what it compares, and who is trained by what."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from model.anchor import SemanticAnchor, label_to_one_hot, soft_cross_entropy
from model.config import PRESETS, Config

CONFIG = Config(latent=8)


def label():
    y = torch.zeros(1, 32, 32, dtype=torch.uint8)
    y[:, :16, 16:] = 3  # upper right cell
    y[:, 16:, :16] = 255  # lower left cell: unknown
    y[:, 16:, 16:24] = 5  # lower right cell: half cropland, half water
    return y


def test_size_of_the_base_anchor():
    n = sum(p.numel() for p in SemanticAnchor(PRESETS["base"]).parameters())
    assert n == pytest.approx(0.31e6, rel=0.05)


def test_only_the_autoencoder_trains_the_encoder():
    torch.manual_seed(0)
    anchor = SemanticAnchor(CONFIG)
    latent = torch.randn(1, 8, 2, 2, requires_grad=True)
    losses = anchor(latent, label())
    (losses.align + losses.proto).backward()
    assert latent.grad.any()
    assert anchor.prototypes.grad.any()
    assert all(p.grad is None for p in anchor.encoder.parameters())
    latent.grad = None
    losses = anchor(latent, label())
    losses.autoencoder.backward()
    assert latent.grad is None
    assert all(p.grad.any() for p in anchor.encoder.parameters())


@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_a_latent_on_its_anchor_has_no_distance(distance):
    torch.manual_seed(0)
    anchor = SemanticAnchor(CONFIG, distance)
    with torch.no_grad():
        on = anchor.encoder(label_to_one_hot(label(), 6))
    assert anchor(on, label()).align.item() == pytest.approx(0, abs=1e-6)
    assert anchor(-on, label()).align.item() > 0.01


def test_unknown_cells_do_not_count():
    torch.manual_seed(0)
    anchor = SemanticAnchor(CONFIG)
    latent = torch.randn(1, 8, 2, 2)
    other = latent.clone()
    other[:, :, 1, 0] = torch.randn(8)  # the unknown cell
    a, b = anchor(latent, label()), anchor(other, label())
    assert a.align == b.align and a.proto == b.proto
    other[:, :, 0, 0] = torch.randn(8)
    assert anchor(other, label()).align != a.align


def test_prototypes_mix_by_fraction():
    torch.manual_seed(0)
    anchor = SemanticAnchor(replace(CONFIG, anchor="prototypes"))
    assert not hasattr(anchor, "encoder")
    e = anchor.prototypes.detach()
    cells = torch.stack([e[0], e[3], e[1], 0.5 * e[5] + 0.5 * e[0]])  # the third is unknown
    losses = anchor(cells.T.reshape(1, 8, 2, 2), label())
    assert losses.align.item() == pytest.approx(0, abs=1e-6)
    assert losses.autoencoder == 0


def test_no_anchor_no_loss():
    losses = SemanticAnchor(replace(CONFIG, anchor="none"))(torch.randn(1, 8, 2, 2), label())
    assert [x.item() for x in losses] == [0, 0, 0]


def test_all_unknown_is_zero_not_nan():
    losses = SemanticAnchor(CONFIG)(
        torch.randn(1, 8, 2, 2), torch.full((1, 32, 32), 255, dtype=torch.uint8)
    )
    assert [x.item() for x in losses] == [0, 0, 0]


def test_soft_cross_entropy_is_the_mean_over_pixels():
    torch.manual_seed(0)
    y = torch.randint(0, 6, (2, 32, 32))
    y[0, :5] = 255
    logits = torch.randn(2, 6, 2, 2)
    pixels = F.interpolate(logits, scale_factor=16, mode="nearest")
    fractions = F.avg_pool2d(label_to_one_hot(y, 6), 16)
    torch.testing.assert_close(
        soft_cross_entropy(logits, fractions), F.cross_entropy(pixels, y, ignore_index=255)
    )


def test_unknown_distance_is_refused():
    with pytest.raises(ValueError, match="manhattan"):
        SemanticAnchor(CONFIG, "manhattan")
