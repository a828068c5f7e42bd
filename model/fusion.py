"""Fusion blocks of CloudLULC-Net: optical reliability modulation (ORM) and heterogeneous
information adaptive aggregation (HIAA = SHOI + CHOI).

The blocks follow the published roles (arXiv 2606.17713); every width, kernel, order and initial
value here is our own choice, since the paper's internals are not public. The recursive gates are
HorNet's gnConv (Rao et al. 2022) fed by two modalities.

Shapes: B batch, C channels, h, w pixels of the stage; maps are (B,C,h,w) float.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-5
PART = 2**18
"""Values of a map that a CPU works on at a time: what is made of them stays in its cache."""
FEW = 20480
"""Values for which torch takes a slow convolution of its own."""


def plain(x: Tensor) -> bool:
    """Whether layers are computed as they are written: for gradients, and on a GPU.

    Else, to map on a CPU, in parts that stay in its cache, and in place.
    """
    return torch.is_grad_enabled() or x.is_cuda


def pixelwise(f: Callable[..., Tensor], *maps: Tensor, into: Tensor | None = None) -> Tensor:
    """Applies `f`, (...,C) of each map -> (...,K), to the pixels of maps (B,C,h,w).

    Where it is not `plain`, to some pixels of one sample at a time.

    Args:
      f: what to apply.
      maps: read together, pixel by pixel; a map (B,C,1,1) is read whole by all.
      into: (B,K,h,w) that may be overwritten with the result; None: the last map's shape.
    """
    pixels = [x.permute(0, 2, 3, 1) for x in maps]  # (B,h,w,C)
    if plain(maps[0]):
        return f(*pixels).permute(0, 3, 1, 2)
    last = torch.empty_like(maps[-1]) if into is None else into
    result = last.contiguous(memory_format=torch.channels_last)
    out = result.permute(0, 2, 3, 1).view(len(result), -1, result.shape[1])  # (B,h*w,K)
    size = max(1, PART // max(x.shape[1] for x in (result, *maps)))
    for to, *read in zip(out, *(x.flatten(1, 2) for x in pixels), strict=True):
        for i in range(0, len(to), size):
            some = slice(i, i + size)
            to[some] = f(*(x if len(x) == 1 else x[some] for x in read))
    return result


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`F.linear`, (...,C) -> (...,K), with weights (K,C).

    On a CPU as a 1x1 convolution by oneDNN, which adds the bias on its way: in float32 `F.linear`
    goes to MKL, half as fast on an AMD. So would the convolution, but for a dilation, which means
    nothing for one pixel. Its bits are equal whatever the number of threads.
    """
    if plain(x) or x.numel() <= FEW:
        return F.linear(x, weight, bias)
    pixels = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)  # (1,C,1,P)
    y = F.conv2d(pixels, weight[..., None, None], bias, dilation=2)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def gelu(x: Tensor) -> Tensor:
    """GELU; where it is not `plain` in place."""
    return F.gelu(x) if plain(x) else torch.ops.aten.gelu_(x)


def added(x: Tensor, y: Tensor) -> Tensor:
    """x + y; where it is not `plain` in place of x."""
    return x + y if plain(x) else x.add_(y)


class Linear(nn.Linear):
    """Linear layer of many pixels: see `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class GELU(nn.Module):
    """See `gelu`."""

    def forward(self, x: Tensor) -> Tensor:
        return gelu(x)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the last axis.

    With weights in bfloat16 on a CPU in float32, which for few channels is faster.
    """

    def forward(self, x: Tensor) -> Tensor:
        return self.normalised(x).to(x.dtype)

    def normalised(self, x: Tensor) -> Tensor:
        """As `forward`, but float32 where it computes in that."""
        if self.weight.dtype == torch.float32 or plain(x):
            return super().forward(x)
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps)


class LayerNorm2d(LayerNorm):
    """Layer normalisation over the channels of a (B,C,h,w) map.

    Args:
      dim: channels C.
      inplace: overwrite the map where it is not `plain`.
    """

    def __init__(self, dim: int, inplace: bool = False):
        super().__init__(dim)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        return pixelwise(self.normalised, x, into=x if self.inplace else None)


class Pointwise(nn.Conv2d):
    """1x1 convolution of a (B,C,h,w) map, computed as a matrix product over its pixels.

    On the CPU this gives equal bits whatever the number of threads; torch's own 1x1 convolution
    does not.
    """

    def __init__(self, dim_in: int, dim: int, groups: int = 1):
        super().__init__(dim_in, dim, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.of_pixels(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def of_pixels(self, x: Tensor) -> Tensor:
        """(...,dim_in) -> (...,dim)."""
        weight = self.weight.flatten(1)  # (dim,dim_in/groups)
        if self.groups > 1:
            weight = torch.block_diag(*weight.chunk(self.groups))  # (dim,dim_in)
        return linear(x, weight, self.bias)


class FarDepthwise(nn.Conv2d):
    """Depthwise 7x7 convolution with dilation 3 of a (B,C,h,w) map.

    A pixel is joined only with pixels whole multiples of 3 away, so the map falls into nine maps of
    every third pixel, each with a plain convolution: the same sums, on a CPU five to ten times as
    fast as torch's dilated one (whose backward pass in bfloat16 is broken there, torch 2.13).
    """

    def __init__(self, dim: int):
        super().__init__(dim, dim, 7, padding=3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        x = F.pad(x, (0, -w % 3, 0, -h % 3)).permute(0, 2, 3, 1)  # (B,3m,3n,C)
        x = x.unflatten(1, (-1, 3)).unflatten(3, (-1, 3))  # (B,m,3,n,3,C)
        x = x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)  # (9B,m,n,C)
        x = super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # (9B,m,n,C)
        x = x.unflatten(0, (b, 3, 3)).permute(0, 3, 1, 4, 2, 5)  # (B,m,3,n,3,C)
        return x.flatten(3, 4).flatten(1, 2)[:, :h, :w].permute(0, 3, 1, 2)  # (B,C,h,w)


class DropPath(nn.Module):
    """Drops a residual branch of whole samples with probability `p` while training."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= self.p
        return x * (keep / (1 - self.p)).to(x.dtype)


class ConvBlock(nn.Module):
    """`x + g * linear(GELU(linear(LN(depthwise(x)))))`, the ConvNeXt block (Liu et al. 2022)."""

    def __init__(self, dim: int, kernel: int, drop_path: float = 0.0, expansion: int = 4):
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = LayerNorm(dim)
        self.widen = Linear(dim, expansion * dim)
        self.narrow = Linear(expansion * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 1e-2))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.scale[:, None] * self.narrow.weight, self.scale * self.narrow.bias

        def mix(x: Tensor, y: Tensor) -> Tensor:  # (...,C) each -> (...,C)
            y = linear(gelu(self.widen(self.norm(y))), *narrow)  # 4C inside
            return added(self.drop_path(y.to(self.scale.dtype)), x)

        y = self.depthwise(x)
        return pixelwise(mix, x, y, into=y)  # (B,C,h,w)


def weighted_statistics(x: Tensor, weight: Tensor) -> Tensor:
    """Mean and standard deviation per channel, weighted by pixel.

    Args:
      x: (B,C,h,w) float features.
      weight: (B,1,h,w) float in [0, 1]; where it is 0 everywhere the mean is 0.

    Returns:
      (B,2C) float: means, then standard deviations.
    """
    x = x.permute(0, 2, 3, 1)  # (B,h,w,C)
    weight = weight.float().transpose(1, 2)  # (B,h,1,w)
    rows = x.shape[1] if plain(x) else max(1, PART // (x.shape[2] * x.shape[3]))
    strips = list(zip(weight.split(rows, 1), x.split(rows, 1), strict=True))

    def weighted_sum(f: Callable[[Tensor], Tensor]) -> Tensor:  # (B,C)
        # Row by row: a sum that is a single number would depend on the number of threads.
        with torch.autocast(x.device.type, enabled=False):
            return torch.cat([w @ f(y.float()) for w, y in strips], 1).sum((1, 2))

    total = weight.sum(3).sum(1) + EPS  # (B,1)
    mean = weighted_sum(lambda y: y) / total
    variance = weighted_sum(lambda y: (y - mean[:, None, None]).square()) / total
    return torch.cat([mean, (variance + EPS).sqrt()], 1)  # (B,2C)


def mean_around(x: Tensor) -> Tensor:
    """(B,C,h,w) -> (B,C,h,w): means of 7 x 7 pixels, of those inside at the edge.

    As convolutions, which on a CPU are eight times as fast as `F.avg_pool2d`.
    """
    ones = x.new_ones(x.shape[1], 1, 7, 7)
    inside = F.conv2d(x.new_ones(1, 1, *x.shape[2:]), ones[:1], padding=3)
    return scaled(F.conv2d(x, ones, padding=3, groups=x.shape[1]), 1 / inside.float())


def scaled(x: Tensor, by: Tensor) -> Tensor:
    """x * by, where `by` has another shape, e.g. (B,C,1,1).

    Where it is not `plain` in float32: a CPU is ten times as slow at maps of bfloat16 whose shapes
    differ.
    """
    if plain(x):
        return x * by.to(x.dtype)
    return (x.float() * by.float()).to(x.dtype)


def mixed(missing: Tensor, x: Tensor, share: Tensor) -> Tensor:
    """`missing` (C,) where `share` (...,1) is 0, x (...,C) where it is 1; computed as `scaled`."""
    if plain(x):
        return torch.lerp(missing.to(x.dtype), x, share.to(x.dtype))
    return torch.lerp(missing.float(), x.float(), share.float()).to(x.dtype)


class Missing(nn.Module):
    """Replaces features where the sensor has no data by a learned vector."""

    def __init__(self, dim: int):
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Features (B,C,h,w) and share of valid pixels (B,1,h,w) in [0, 1] -> (B,C,h,w).

        Where it is not `plain`, the features are overwritten.
        """
        return pixelwise(partial(mixed, self.vector), x, valid, into=x)


class ORM(nn.Module):
    """Optical reliability modulation: how far each optical pixel and channel is believed.

    A reliability r_s in [0, 1] is read from the optical features at two scales and against their
    surroundings; what is not believed is replaced by a learned 'missing' vector. It starts near
    the identity.

    Args:
      dim: channels C.
      channel: also weigh channels by r_c.
      missing: put the learned vector where optical is not believed; without it, zeros.
    """

    def __init__(self, dim: int, channel: bool = True, missing: bool = True):
        super().__init__()
        hidden = dim // 4
        self.norm = LayerNorm2d(dim)
        self.reduce = Pointwise(dim, hidden)
        self.near = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.far = FarDepthwise(hidden)
        self.score = Pointwise(3 * hidden, 1)
        nn.init.constant_(self.score.bias, 2.0)
        self.channel = None
        if channel:
            self.channel = nn.Sequential(
                nn.Linear(2 * dim, hidden), nn.GELU(), nn.Linear(hidden, dim)
            )
            nn.init.zeros_(self.channel[-1].weight)
            nn.init.constant_(self.channel[-1].bias, 3.0)
        self.missing = nn.Parameter(torch.zeros(dim)) if missing else None
        self.residual = Pointwise(dim, dim, groups=8)
        nn.init.zeros_(self.residual.weight)
        nn.init.zeros_(self.residual.bias)

    def forward(
        self, x: Tensor, valid: Tensor, prior: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Modulates optical features.

        Args:
          x: (B,C,h,w) float optical features.
          valid: (B,1,h,w) float, share of pixels with optical data; r_s is 0 where it is 0.
          prior: (B,1,h,w) float cloud probability in [0, 1], or None.

        Returns:
          Modulated features (B,C,h,w); reliability r_s (B,1,h,w) in [0, 1]; its logits
          (B,1,h,w), which say nothing where `valid` is 0.
        """
        u = self.norm(x)
        h = gelu(self.reduce(u))  # (B,C/4,h,w)
        around = mean_around(h)
        logits = self.score(torch.cat([self.near(h), self.far(h), h - around], 1))  # (B,1,h,w)
        if prior is not None:
            clear = (1 - prior.float()).clamp(1e-4, 1 - 1e-4)
            logits = logits + torch.logit(clear).clamp(-4, 4).to(logits.dtype)
        reliability = torch.sigmoid(logits) * valid.to(logits.dtype)  # (B,1,h,w)
        by_channel = x.new_ones(x.shape[:2])  # (B,C)
        if self.channel is not None:
            statistics = weighted_statistics(u, reliability).to(u.dtype)  # (B,2C)
            by_channel = self.channel(statistics).sigmoid()  # (B,C)
        out = pixelwise(self.believe, x, by_channel[..., None, None], reliability, u, into=u)
        return out, reliability, logits

    def believe(self, x: Tensor, by_channel: Tensor, reliability: Tensor, u: Tensor) -> Tensor:
        """Features (...,C), r_c (...,C), r_s (...,1), normalised features (...,C) -> (...,C)."""
        believed = added(self.residual.of_pixels(u), scaled(x, by_channel))
        missing = believed.new_zeros(1) if self.missing is None else self.missing
        return mixed(missing, believed, reliability)


def orders(dim: int, order: int) -> list[int]:
    """Widths of the recursive gates, from `dim / 2^(order - 1)` up to `dim`."""
    return [dim // 2 ** (order - 1 - k) for k in range(order)]


class SHOI(nn.Module):
    """Spatial high-order interaction: values of one modality, gated by the other's surroundings.

    Args:
      dim: channels C.
      order: number of gates n; the gates see 23 x 23 pixels.
    """

    def __init__(self, dim: int, order: int = 3):
        super().__init__()
        self.widths = orders(dim, order)
        total = sum(self.widths)
        self.value = Pointwise(dim, self.widths[0])
        self.gates = Pointwise(dim, total)
        self.near = nn.Conv2d(total, total, 5, padding=2, groups=total)
        self.far = FarDepthwise(total)
        nn.init.ones_(self.far.bias)  # gates start near 1, or a product of n of them would vanish
        self.lift = nn.ModuleList(
            Pointwise(a, b) for a, b in zip(self.widths, self.widths[1:], strict=False)
        )
        self.out = Pointwise(dim, dim)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Values from `a` (B,C,h,w), gates from `b` (B,C,h,w) -> (B,C,h,w)."""
        gates = self.far(self.near(self.gates(b))).split(self.widths, 1)  # C/4, C/2, C
        p = self.value(a) * gates[0]  # (B,C/4,h,w)
        for lift, gate in zip(self.lift, gates[1:], strict=True):
            p = lift(p) * gate  # (B,C/2,h,w), then (B,C,h,w)
        return self.out(p)


class CHOI(nn.Module):
    """Channel high-order interaction: one weight per channel and modality, 1 at the start.

    Args:
      dim: channels C of each modality.
      order: number of gates n.
    """

    def __init__(self, dim: int, order: int = 3):
        super().__init__()
        widths = orders(dim, order)
        self.value = nn.Linear(4 * dim, widths[0])
        self.gates = nn.ModuleList(nn.Linear(4 * dim, w) for w in widths)
        self.lift = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.out = nn.Linear(dim, 2 * dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, o: Tensor, s: Tensor, reliability: Tensor) -> tuple[Tensor, Tensor]:
        """Optical, SAR (B,C,h,w) and r_s (B,1,h,w) -> weights (B,C,1,1) of optical and SAR."""
        d = torch.cat(
            [
                weighted_statistics(o, reliability),
                weighted_statistics(s, torch.ones_like(reliability)),
            ],
            1,
        ).to(o.dtype)  # (B,4C)
        a = self.value(d) * torch.tanh(self.gates[0](d))  # (B,C/4)
        for lift, gate in zip(self.lift, self.gates[1:], strict=True):
            a = lift(a) * torch.tanh(gate(d))  # (B,C/2), then (B,C)
        weights = 2 * self.out(a).float().unflatten(1, (2, -1)).softmax(1)  # (B,2,C)
        w_o, w_s = weights.to(o.dtype)[..., None, None].unbind(1)  # (B,C,1,1) each
        return w_o, w_s


class HIAA(nn.Module):
    """Heterogeneous information adaptive aggregation of one stage.

    Optical and SAR gate each other over space (SHOI), are weighed by channel (CHOI), merged, and
    joined with the fused map of the stage before.

    Args:
      dim: channels C.
      previous: channels of the fused map one stage before, 0 at the first stage.
      order: order n of both interactions.
      shoi, choi: use the spatial, the channel interaction.
      drop_path: of the merging block.
    """

    def __init__(
        self, dim: int, previous: int, order: int, shoi: bool, choi: bool, drop_path: float
    ):
        super().__init__()
        self.shoi = shoi
        if shoi:
            self.norm_o, self.norm_s = LayerNorm2d(dim), LayerNorm2d(dim)
            self.to_optical, self.to_sar = SHOI(dim, order), SHOI(dim, order)
            self.scale_o = nn.Parameter(torch.full((dim, 1, 1), 0.1))
            self.scale_s = nn.Parameter(torch.full((dim, 1, 1), 0.1))
        self.choi = CHOI(dim, order) if choi else None
        self.merge = Pointwise(2 * dim, dim)
        self.down = Down(previous, dim) if previous else None
        self.block = ConvBlock(dim, 7, drop_path)

    def forward(self, o: Tensor, s: Tensor, reliability: Tensor, fused: Tensor | None) -> Tensor:
        """Fuses one stage.

        Args:
          o: (B,C,h,w) optical features after ORM.
          s: (B,C,h,w) SAR features.
          reliability: (B,1,h,w) r_s in [0, 1].
          fused: (B,C',2h,2w) fused map of the stage before, None at the first stage.

        Returns:
          (B,C,h,w) fused map.
        """
        if self.shoi:
            # An unreliable optical pixel must not gate the SAR: its gates' input fades to 0.
            n_o, n_s = self.norm_o(o), self.norm_s(s)
            o, s = (
                o + scaled(self.to_optical(n_o, n_s), self.scale_o),
                s + scaled(self.to_sar(n_s, scaled(n_o, reliability)), self.scale_s),
            )
        if self.choi is not None:
            w_o, w_s = self.choi(o, s, reliability)
            o, s = scaled(o, w_o), scaled(s, w_s)
        merged = self.merge(torch.cat([o, s], 1))  # (B,2C,h,w) -> (B,C,h,w)
        if self.down is not None:
            merged = added(merged, self.down(fused))  # (B,C',2h,2w) -> (B,C,h,w)
        return self.block(merged)


class Concat(nn.Module):
    """What stands in for HIAA in the ablation: concatenation and a 1x1 convolution."""

    def __init__(self, dim: int):
        super().__init__()
        self.merge = Pointwise(2 * dim, dim)

    def forward(self, o: Tensor, s: Tensor, reliability: Tensor, fused: Tensor | None) -> Tensor:
        """As `HIAA.forward`; reliability and the stage before are not looked at."""
        return self.merge(torch.cat([o, s], 1))  # (B,2C,h,w) -> (B,C,h,w)


class Down(nn.Sequential):
    """LN and a 2x2 convolution of stride 2: (B,C',2h,2w) -> (B,C,h,w)."""

    def __init__(self, dim_in: int, dim: int):
        super().__init__(LayerNorm2d(dim_in), nn.Conv2d(dim_in, dim, 2, stride=2))
