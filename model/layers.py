"""Layers that all parts of the network are made of.

To map on a CPU they work in place, and in parts that stay in its cache: see `plain`.

Shapes: B batch, C channels, h, w pixels of the stage; maps are (B,C,h,w) float.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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


class Down(nn.Sequential):
    """LN and a 2x2 convolution of stride 2: (B,C',2h,2w) -> (B,C,h,w)."""

    def __init__(self, dim_in: int, dim: int):
        super().__init__(LayerNorm2d(dim_in), nn.Conv2d(dim_in, dim, 2, stride=2))
