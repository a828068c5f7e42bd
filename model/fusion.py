"""Heterogeneous information adaptive aggregation of both sensors (HIAA = SHOI + CHOI).

The blocks follow the published roles (arXiv 2606.17713); every width, kernel, order and initial
value here is our own choice, since the paper's internals are not public. The recursive gates are
HorNet's gnConv (Rao et al. 2022) fed by two modalities.

Shapes: B batch, C channels, h, w pixels of the stage; maps are (B,C,h,w) float.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.layers import (
    ConvBlock,
    Down,
    FarDepthwise,
    LayerNorm2d,
    Pointwise,
    added,
    scaled,
)
from model.orm import weighted_statistics


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
