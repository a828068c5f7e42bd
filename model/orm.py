"""Optical reliability modulation (ORM): how far each optical pixel is believed, and what is shown
instead where it is not.

The block follows the published role (arXiv 2606.17713); every width, kernel and initial value here
is our own choice, since the paper's internals are not public.

Shapes: B batch, C channels, h, w pixels of the stage; maps are (B,C,h,w) float.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.layers import (
    PART,
    FarDepthwise,
    LayerNorm2d,
    Pointwise,
    added,
    gelu,
    mixed,
    pixelwise,
    plain,
    scaled,
)

EPS = 1e-5


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
