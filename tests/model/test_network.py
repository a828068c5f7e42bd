"""The network: its size, its switches, and that missing data really is not looked at."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from planet import MICRO

from model import layers, orm
from model.config import PRESETS, Config
from model.layers import ConvBlock, FarDepthwise, Pointwise, linear
from model.network import CloudLULCNet
from model.orm import mean_around

STILL = replace(MICRO, drop_path=0.0)  # the same output at every call


def chips(seed=0, n=2, size=(64, 64)):
    g = torch.Generator().manual_seed(seed)
    optical = torch.randint(1, 9000, (n, 12, *size), generator=g).float()
    sar = torch.randint(-2500, 0, (n, 2, *size), generator=g).float()
    return optical, sar


def network(config=STILL, seed=0):
    """A network whose zero-initialised parts are moved off zero, so that they take part."""
    torch.manual_seed(seed)
    net = CloudLULCNet(config).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net


def shake(parameters, seed=1):
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in parameters:
            p.add_(torch.randn_like(p))


@pytest.mark.parametrize("preset, millions", [("tiny", 4.58), ("base", 24.64), ("large", 63.53)])
def test_presets_have_about_the_planned_number_of_parameters(preset, millions):
    net = CloudLULCNet(PRESETS[preset])
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, rel=0.1)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (128, 128), (256, 256), (512, 512)])
@torch.inference_mode()
def test_output_shapes(size):
    h, w = size
    out = network()(*chips(n=1, size=size))
    assert out.logits.shape == (1, 6, h, w)
    assert [r.shape for r in out.reliability] == [(1, 1, h // s, w // s) for s in (2, 4, 8, 16, 32)]
    assert out.latent.shape == (1, 8, h // 16, w // 16)
    assert {k: v.shape for k, v in out.aux.items()} == dict.fromkeys(
        ("optical", "sar", "fused"), (1, 6, h // 16, w // 16)
    )


def test_wrong_inputs_are_refused():
    net = network()
    optical, sar = chips(size=(64, 48))
    with pytest.raises(ValueError, match="multiples of 32"):
        net(optical, sar)
    optical, sar = chips()
    with pytest.raises(ValueError, match="expected .*12, 64, 64"):
        net(optical[:, :11], sar)
    with pytest.raises(ValueError, match="prior is False"):
        net(optical, sar, torch.zeros(2, 1, 64, 64))
    with pytest.raises(ValueError, match="prior is True"):
        network(replace(STILL, prior=True))(optical, sar)


@pytest.mark.parametrize(
    "change", [{"dims": (8, 16)}, {"order": 5}, {"sensors": "s3"}, {"anchor": "x"}, {"tokens": 15}]
)
def test_wrong_configs_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(STILL, **change)


def test_config_survives_json_and_refuses_unknown_keys():
    assert Config.from_dict(STILL.to_dict()) == STILL
    with pytest.raises(ValueError, match="colour"):
        Config.from_dict(STILL.to_dict() | {"colour": 1})


def all_outputs(out):
    return [out.logits, out.latent, *out.reliability, *out.aux.values()]


@pytest.mark.parametrize("change", [{}, {"usmt": False}, {"hiaa": False}, {"orm": False}])
def test_every_parameter_gets_a_gradient(change):
    net = network(replace(STILL, **change)).train()
    optical, sar = chips()
    optical[0, :, :20] = 0
    sar[1, :, :, :40] = -32768
    out = net(optical, sar)
    sum(x.square().sum() for x in all_outputs(out)).backward()
    silent = [k for k, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_bfloat16_autocast_stays_close():
    net = network()
    optical, sar = chips()
    with torch.inference_mode():
        full = net(optical, sar).logits
        with torch.autocast("cpu", torch.bfloat16):
            half = net(optical, sar).logits
    assert 0 < (full - half).abs().mean() < 0.1 * full.std()


@pytest.mark.parametrize(
    "change, gone",
    [
        ({"orm": False}, "orm.0.score"),
        ({"orm_channel": False}, "orm.0.channel"),
        ({"orm_missing": False}, "orm.0.missing"),
        ({"hiaa": False}, "fuse.0.block"),
        ({"shoi": False}, "to_sar"),
        ({"choi": False}, "choi"),
        ({"usmt": False}, "semantic"),
        ({"order": 1}, "lift"),
    ],
)
@torch.inference_mode()
def test_ablation_switches_remove_their_part_and_change_the_map(change, gone):
    full, net = network(), network(replace(STILL, **change))
    assert any(gone in k for k in full.state_dict())
    assert not any(gone in k for k in net.state_dict())
    shared = {k: v for k, v in full.state_dict().items() if k in net.state_dict()}
    same_shape = {k: v for k, v in shared.items() if v.shape == net.state_dict()[k].shape}
    net.load_state_dict(same_shape, strict=False)
    optical, sar = chips()
    out = net(optical, sar)
    assert out.logits.isfinite().all()
    assert not torch.equal(out.logits, full(optical, sar).logits)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@torch.inference_mode()
def test_every_order_runs(order):
    assert network(replace(STILL, order=order))(*chips()).logits.isfinite().all()


@torch.inference_mode()
def test_usmt_stand_in_has_as_many_parameters():
    sizes = [
        sum(p.numel() for p in CloudLULCNet(replace(PRESETS["base"], usmt=on)).parameters())
        for on in (True, False)
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)


@torch.inference_mode()
def test_missing_optical_is_not_looked_at():
    net = network()
    optical, sar = chips()
    empty = torch.zeros_like(optical)
    before = net(empty, sar).logits
    shake(net.optical.parameters())  # whatever the encoder would make of the empty image
    assert torch.equal(net(empty, sar).logits, before)
    assert not torch.equal(net(optical, sar).logits, before)


@torch.inference_mode()
def test_missing_sar_is_not_looked_at():
    net = network()
    optical, sar = chips()
    empty = torch.full_like(sar, -32768)
    before = net(optical, empty).logits
    shake(net.sar.parameters())
    assert torch.equal(net(optical, empty).logits, before)
    assert not torch.equal(net(optical, sar).logits, before)


@pytest.mark.parametrize("sensors, blind", [("s1", "optical"), ("s2", "sar")])
@torch.inference_mode()
def test_single_sensor_networks_ignore_the_other(sensors, blind):
    net = network(replace(STILL, sensors=sensors))
    (optical, sar), (other_optical, other_sar) = chips(0), chips(1)
    a = net(optical, sar).logits
    b = net(other_optical, sar).logits
    c = net(optical, other_sar).logits
    assert torch.equal(a, b) == (blind == "optical")
    assert torch.equal(a, c) == (blind == "sar")


@torch.inference_mode()
def test_rgbn_network_sees_four_bands():
    net = network(replace(STILL, sensors="s1+rgbn"))
    optical, sar = chips()
    before = net(optical, sar).logits
    other = optical.clone()
    other[:, [0, 4, 5, 6, 8, 9, 10, 11]] += 500
    assert torch.equal(net(other, sar).logits, before)
    other[:, 7] += 500
    assert not torch.equal(net(other, sar).logits, before)


@torch.inference_mode()
def test_a_missing_band_is_its_mean():
    net = network(replace(STILL, optical_transform="linear"))
    optical, sar = chips()
    optical[:, 0] = 0
    mean = optical.clone()
    mean[:, 0] = net.scaling.mean[0] * 10000
    torch.testing.assert_close(net(optical, sar).logits, net(mean, sar).logits)


@torch.inference_mode()
def test_scaling_and_statistics():
    net = CloudLULCNet(replace(STILL, optical_transform="linear"))
    net.scaling.set_statistics([0.5] * 14, [0.25] * 14)
    optical = torch.full((1, 12, 32, 32), 7500.0)
    optical[0, :, 0, 0] = 20000  # clipped to reflectance 1
    sar = torch.full((1, 2, 32, 32), -2500.0)  # VV at its floor, VH at (32.5 - 25) / 32.5
    sar[0, :, 0, 0] = -32768
    x_o, x_s, valid_o, valid_s = net.scaling(optical, sar)
    assert x_o[0, 0, 1, 1] == 1.0 and x_o[0, 0, 0, 0] == 2.0
    assert x_s[0, 0, 1, 1] == -2.0
    assert x_s[0, 1, 1, 1].item() == pytest.approx((7.5 / 32.5 - 0.5) / 0.25, abs=1e-5)
    assert x_s[0, :, 0, 0].tolist() == [0, 0]
    assert valid_o.min() == 1 and valid_s[0, 0, 0, 0] == 0 and valid_s.sum() == 32 * 32 - 1
    with pytest.raises(ValueError, match="14 finite"):
        net.scaling.set_statistics([0.5] * 14, [0.0] * 14)
    with pytest.raises(ValueError, match="14 finite"):
        net.scaling.set_statistics([0.5] * 12, [1.0] * 12)


@torch.inference_mode()
def test_prior_lowers_reliability():
    net = network(replace(STILL, prior=True))
    optical, sar = chips()
    clear, cloudy = (net(optical, sar, torch.full((2, 1, 64, 64), p)) for p in (0.0, 1.0))
    for a, b in zip(clear.reliability[:1], cloudy.reliability[:1], strict=True):
        torch.testing.assert_close(a - b, torch.full_like(a, 8.0))


@torch.inference_mode()
def test_starts_near_the_identity():
    torch.manual_seed(0)
    net = CloudLULCNet(STILL).eval()
    out = net(*chips())
    assert all(0.7 < r.sigmoid().mean() < 0.95 for r in out.reliability)


@pytest.mark.parametrize("size", [(16, 16), (17, 20), (2, 1)])
def test_far_depthwise_is_a_dilated_convolution(size):
    torch.manual_seed(0)
    layer, x = FarDepthwise(4), torch.randn(2, 4, *size, requires_grad=True)
    expected = F.conv2d(x, layer.weight, layer.bias, padding=9, dilation=3, groups=4)
    torch.testing.assert_close(layer(x), expected)
    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (layer(x), expected)]
    torch.testing.assert_close(*gradients)


def test_far_depthwise_has_a_gradient_in_bfloat16():
    torch.manual_seed(0)
    layer, x = FarDepthwise(8), torch.randn(1, 8, 64, 64)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    full = torch.autograd.grad(layer(x).square().sum(), x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        half = torch.autograd.grad(layer(x).float().square().sum(), x)[0]
    assert (full - half).abs().max() < 0.02 * full.abs().max()


@torch.inference_mode()
def test_mean_around_is_an_average_pool_that_leaves_out_what_is_outside():
    x = torch.randn(2, 3, 10, 5)
    expected = F.avg_pool2d(x, 7, stride=1, padding=3, count_include_pad=False)
    torch.testing.assert_close(mean_around(x), expected)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("part", [4, 1000, 10**6])
def test_pixels_pass_in_parts_as_they_do_together(part, memory, monkeypatch):
    monkeypatch.setattr(layers, "PART", part)
    torch.manual_seed(0)
    block, x = ConvBlock(4, 3), torch.randn(2, 4, 20, 17).contiguous(memory_format=memory)
    given = x.clone()
    with torch.no_grad():
        in_parts = block(x)
    assert torch.equal(x, given)
    torch.testing.assert_close(in_parts, block(x).detach())


def test_maps_are_made_by_the_function_that_is_trained(monkeypatch):
    monkeypatch.setattr(layers, "PART", 500)
    monkeypatch.setattr(orm, "PART", 500)
    monkeypatch.setattr(layers, "FEW", 0)
    net, (optical, sar) = network().eval(), chips()
    optical[0, :, :20] = 0
    sar[1, :, :, :40] = -32768
    given = optical.clone(), sar.clone()
    trained = all_outputs(net(optical, sar))
    with torch.inference_mode():
        mapped = all_outputs(net(optical, sar))
    assert torch.equal(optical, given[0]) and torch.equal(sar, given[1])
    for a, b in zip(trained, mapped, strict=True):
        torch.testing.assert_close(a.detach(), b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_linear_of_many_pixels_has_equal_bits_on_any_number_of_threads(dtype):
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(s, dtype=dtype) for s in ((2, 900, 48), (64, 48), (64,)))
    assert x.numel() > layers.FEW
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    one = linear(x, weight, bias)
    torch.set_num_threads(2)
    assert torch.equal(linear(x, weight, bias), one)
    torch.set_num_threads(before)
    torch.testing.assert_close(one, F.linear(x, weight, bias))


@pytest.mark.parametrize("groups", [1, 4])
@torch.inference_mode()
def test_pointwise_is_a_1x1_convolution(groups):
    layer = Pointwise(8, 16, groups=groups)
    x = torch.randn(2, 8, 5, 7)
    expected = torch.nn.functional.conv2d(x, layer.weight, layer.bias, groups=groups)
    torch.testing.assert_close(layer(x), expected)
