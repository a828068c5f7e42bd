"""The peers: equal terms, and that no peer sees more than its name says."""

import numpy as np
import pytest
import torch
from planet import MICRO

from model.anchor import SemanticAnchor
from model.augment import Augmentation
from model.baselines import PEERS
from model.config import PRESETS
from model.dataset import Patches
from model.fit import Recipe, fit
from model.losses import PLUS, LossWeights, restoration_loss, total_loss
from model.network import CloudLULCNet

NO_SAR = -32768


def chips(seed=0, n=2, size=(64, 96)):
    g = torch.Generator().manual_seed(seed)
    optical = torch.randint(1, 9000, (n, 12, *size), generator=g).float()
    sar = torch.randint(-2500, 0, (n, 2, *size), generator=g).float()
    return optical, sar


def peer(name, seed=0):
    """A peer whose zero-initialised parts are moved off zero, so that they take part."""
    torch.manual_seed(seed)
    net = PEERS[name](MICRO).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net


@pytest.mark.parametrize("name", PEERS)
@torch.inference_mode()
def test_peers_speak_like_the_network(name):
    out = peer(name)(*chips())
    assert out.logits.shape == (2, 6, 64, 96) and out.logits.dtype == torch.float32
    assert out.logits.isfinite().all()
    assert out.reliability == [] and out.aux["fused"].shape == (2, 6, 4, 6)
    assert (out.restored is not None) == (name == "reconstruction-first")


@pytest.mark.parametrize("name", PEERS)
def test_peers_have_about_the_networks_number_of_parameters(name):
    def count(net):
        return sum(p.numel() for p in net.parameters())

    assert count(PEERS[name](PRESETS["tiny"])) == pytest.approx(
        count(CloudLULCNet(PRESETS["tiny"])), rel=0.15
    )


@pytest.mark.parametrize("name", PEERS)
@torch.inference_mode()
def test_peers_see_the_sensors_of_their_name_and_no_other(name):
    net = peer(name)
    (optical, sar), (other_optical, other_sar) = chips(0), chips(1)
    a = net(optical, sar).logits
    sees_optical = not torch.equal(a, net(other_optical, sar).logits)
    sees_sar = not torch.equal(a, net(optical, other_sar).logits)
    assert (sees_optical, sees_sar) == {"s1-only": (False, True), "s2-only": (True, False)}.get(
        name, (True, True)
    )


@pytest.mark.parametrize("name", PEERS)
@torch.inference_mode()
def test_missing_data_is_known_as_such(name):
    """Absent is not the same as average: a band of its own tells them apart."""
    net = peer(name)
    optical, sar = chips()
    mean = net.scaling.mean
    average = torch.expm1(mean[:12]) * 100.0
    no_optical = net(torch.zeros_like(optical), sar).logits
    mean_optical = net(average.view(1, 12, 1, 1).expand_as(optical).contiguous(), sar).logits
    assert no_optical.isfinite().all()
    assert torch.allclose(no_optical, mean_optical, atol=1e-5) == (name == "s1-only")
    no_sar = net(optical, torch.full_like(sar, NO_SAR)).logits
    assert no_sar.isfinite().all()
    assert torch.equal(no_sar, net(optical, sar).logits) == (name == "s2-only")


@pytest.mark.parametrize("name", PEERS)
def test_every_parameter_gets_a_gradient(name):
    net = peer(name).train()
    optical, sar = chips()
    optical[0, :, :20] = 0
    sar[1, :, :, :40] = NO_SAR
    label = torch.randint(0, 6, (2, 64, 96), generator=torch.Generator().manual_seed(2))
    total, parts = total_loss(
        net(optical, sar), label, SemanticAnchor(net.config), LossWeights(), 1.0,
        ground=net.scaling(*chips(3))[0],
    )  # fmt: skip
    total.backward()
    assert parts["align"] == 0 and ("restored" in parts) == (name == "reconstruction-first")
    silent = [k for k, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_the_segmenter_does_not_teach_the_restorer():
    net = peer("reconstruction-first").train()
    net(*chips()).logits.square().sum().backward()
    assert all(p.grad is None for p in net.restorer.parameters())
    assert all(p.grad is not None for p in net.encoder.parameters())


@torch.inference_mode()
def test_an_untrained_restorer_leaves_the_image_as_it_is():
    net = PEERS["reconstruction-first"](MICRO).eval()
    optical, sar = chips()
    assert torch.equal(net(optical, sar).restored, net.scaling(optical, sar)[0])


def test_restoration_is_scored_where_the_ground_is_known():
    restored = torch.zeros(1, 2, 1, 2)
    ground = torch.tensor([1.0, -3.0, torch.nan, torch.nan]).view(1, 2, 1, 2)
    assert restoration_loss(restored, ground) == 2.0
    assert restoration_loss(restored, torch.full_like(ground, torch.nan)) == 0


@pytest.mark.parametrize("name", ["cross-modal", "reconstruction-first"])
def test_a_peers_run_goes_on_where_it_stopped(name, tmp_path):
    rng = np.random.default_rng(0)
    optical = rng.integers(1, 5000, (3, 12, 32, 32)).astype(np.uint16)
    patches = Patches(
        optical,
        optical,
        rng.integers(-2500, 0, (3, 2, 32, 32)).astype(np.int16),
        rng.integers(0, 6, (3, 32, 32)).astype(np.uint8),
    )
    recipe = Recipe(6, 2, 32, 1e-3, 2, 0, loss=PLUS, augmentation=Augmentation())

    def run(folder, **how):
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)
        return fit(
            PEERS[name](MICRO), {"train": patches, "val": patches}, folder, recipe,
            recipe.arguments(patches, network=name), report=lambda _: None, **how,
        )  # fmt: skip

    whole = run(tmp_path / "whole").state_dict()
    assert run(tmp_path / "parts", stop_at=3) is None
    parts = run(tmp_path / "parts").state_dict()
    assert all(torch.equal(v, parts[k]) for k, v in whole.items())
    assert any(not torch.equal(v, PEERS[name](MICRO).state_dict()[k]) for k, v in whole.items())
