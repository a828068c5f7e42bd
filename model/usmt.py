"""Unified semantic mapping transformer: fused features become tokens of a land-cover latent space.

Shapes: B batch, D token width, dz latent width, N = H/16 * W/16 tokens, K class tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.layers import ConvBlock, LayerNorm2d, Linear, Pointwise, gelu

if TYPE_CHECKING:
    from model.config import Config


class Attention(nn.Module):
    """Multi-head attention: `x` (B,N,D) reads `y` (B,M,D)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_x, self.norm_y = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key_value = Linear(dim, dim), Linear(dim, 2 * dim)
        self.out = Linear(dim, dim)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        def split(t: Tensor) -> Tensor:  # (B,N,D) -> (B,heads,N,D/heads)
            return t.unflatten(2, (self.heads, -1)).transpose(1, 2)

        q = split(self.query(self.norm_x(x)))
        k, v = (split(t) for t in self.key_value(self.norm_y(y)).chunk(2, 2))
        read = F.scaled_dot_product_attention(q, k, v)  # (B,heads,N,D/heads)
        return self.out(read.transpose(1, 2).flatten(2))  # (B,N,D)


class USMTBlock(nn.Module):
    """Image tokens attend to each other and exchange meaning with the semantic tokens."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.position = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.self_attention = SelfAttention(dim, heads)
        self.gather = Attention(dim, heads)
        self.spread = Attention(dim, heads)
        self.norm = nn.LayerNorm(dim)
        self.widen = Linear(dim, 4 * dim)
        self.mix = nn.Conv2d(4 * dim, 4 * dim, 3, padding=1, groups=4 * dim)
        self.narrow = Linear(4 * dim, dim)

    def forward(self, x: Tensor, semantic: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens as a map (B,D,h,w) and semantic tokens (B,M,D) -> the same shapes."""
        h, w = x.shape[2:]
        t = to_tokens(x + self.position(x))  # (B,N,D)
        t = t + self.self_attention(t)
        semantic = semantic + self.gather(semantic, t)
        t = t + self.spread(t, semantic)
        y = to_map(self.widen(self.norm(t)), h, w)  # (B,4D,h,w)
        y = self.narrow(gelu(to_tokens(y + self.mix(y))))  # (B,N,D)
        return to_map(t + y, h, w), semantic


class SelfAttention(nn.Module):
    """Multi-head attention of tokens (B,N,D) among themselves."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query_key_value = Linear(dim, 3 * dim)
        self.out = Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.query_key_value(self.norm(x)).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B,heads,N,D/heads) each
        read = F.scaled_dot_product_attention(q, k, v)
        return self.out(read.transpose(1, 2).flatten(2))  # (B,N,D)


def to_tokens(x: Tensor) -> Tensor:
    """Map (B,D,h,w) -> tokens (B,h*w,D)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def to_map(t: Tensor, h: int, w: int) -> Tensor:
    """Tokens (B,h*w,D) -> map (B,D,h,w)."""
    return t.unflatten(1, (h, w)).permute(0, 3, 1, 2)


class USMT(nn.Module):
    """Unified semantic mapping transformer: fused maps -> one latent at stride 16.

    The latent lies on the prediction path, so that guiding it guides the map. Without attention
    (the ablation), two convolution blocks of about the same number of parameters stand in.
    """

    def __init__(self, config: Config):
        super().__init__()
        d = config.tokens
        self.project = nn.ModuleList(Pointwise(c, d) for c in config.dims)
        if config.usmt:
            m = config.classes * config.class_tokens
            self.semantic = nn.Parameter(0.02 * torch.randn(1, m, d))
            self.blocks = nn.ModuleList(
                USMTBlock(d, config.heads) for _ in range(config.usmt_depth)
            )
        else:
            self.semantic = None
            wide = 5 * config.usmt_depth  # 2 * 2 * wide D^2 = usmt_depth * 20 D^2 weights
            self.blocks = nn.ModuleList(ConvBlock(d, 7, expansion=wide) for _ in range(2))
        self.norm = LayerNorm2d(d)
        self.to_latent = Pointwise(d, config.latent)
        self.from_latent = Pointwise(config.latent, d)

    def forward(self, fused: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Fused maps of the four stages -> (B,D,H/16,W/16) and latent (B,dz,H/16,W/16)."""
        size = fused[2].shape[2:]
        levels = [
            F.avg_pool2d(fused[0], 4),
            F.avg_pool2d(fused[1], 2),
            fused[2],
            F.interpolate(fused[3], size=size, mode="bilinear", align_corners=False),
        ]
        x = sum(p(f) for p, f in zip(self.project, levels, strict=True))  # (B,D,H/16,W/16)
        if self.semantic is None:
            for block in self.blocks:
                x = block(x)
        else:
            semantic = self.semantic.expand(x.shape[0], -1, -1)  # (B,M,D)
            for block in self.blocks:
                x, semantic = block(x, semantic)
        latent = self.to_latent(self.norm(x))  # (B,dz,H/16,W/16)
        return x + self.from_latent(latent), latent
