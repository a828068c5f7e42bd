"""The peers that CloudLULC-Net is measured against: same inputs, same decoder, same output.

Each peer takes a `Config` and grows its widths by a constant, so that it holds about as many
parameters as the `CloudLULCNet` of that config. Blocks (ConvNeXt) and decoder are CloudLULC-Net's
own: what differs is how the sensors meet. Where a sensor has no data its bands are 0 (their mean),
and a band of its own says so. The roles follow the works named; nothing is copied from them, and
published scores of theirs do not apply.

Shapes: B batch, C channels of a stage, H x W pixels, h x w pixels of a stage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from model.config import Config
from model.layers import ConvBlock, LayerNorm2d, Pointwise
from model.network import Decoder, Encoder, Output, twice
from model.scaling import Scaling


class Tail(nn.Module):
    """What all peers share: stage maps to classes, by CloudLULC-Net's decoder and heads."""

    def __init__(self, config: Config):
        super().__init__()
        self.coarse = Pointwise(config.dims[3], config.tokens)
        self.fine = Pointwise(config.dims[2], config.tokens)
        self.block = ConvBlock(config.tokens, 7)
        self.decoder = Decoder(config, config.stem)
        self.aux = Pointwise(config.dims[2], config.classes)

    def forward(self, stem: Tensor, maps: list[Tensor]) -> Output:
        """Stem (B,c,H/2,W/2) and maps of the four stages; no reliability, no guided latent."""
        x = self.block(twice(self.coarse(maps[3])) + self.fine(maps[2]))  # (B,D,H/16,W/16)
        return Output(self.decoder(x, maps, stem), [], x, {"fused": self.aux(maps[2])})


class UNet(nn.Module):
    """One encoder over the stacked bands: early fusion, or a single sensor (Ronneberger 2015)."""

    def __init__(self, config: Config, growth: float, sensors: str = "s1+s2"):
        super().__init__()
        self.config = replace(config, sensors=sensors, anchor="none")
        self.scaling = Scaling(config.optical_transform, sensors)
        self.reads_optical, self.reads_sar = sensors != "s1", sensors != "s2"
        bands = self.reads_optical * (self.scaling.optical_bands + 1)
        bands += self.reads_sar * (self.scaling.sar_bands + 1)
        wide = widened(config, growth)
        self.encoder = Encoder(bands, 7, wide, wide.optical_depths)
        self.tail = Tail(wide)

    def forward(self, optical: Tensor, sar: Tensor) -> Output:
        """As `CloudLULCNet.forward`."""
        x_o, x_s, valid_o, valid_s = self.scaling(optical, sar)
        read = [x_o, valid_o] * self.reads_optical + [x_s, valid_s] * self.reads_sar
        return self.tail(*encoded(self.encoder, torch.cat(read, 1)))


def encoded(encoder: Encoder, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Bands (B,bands,H,W) -> stem (B,c,H/2,W/2), maps of the stages (B,C,H/4,W/4) to (.., H/32)."""
    stem = encoder.stem(x)
    maps = [stem]
    for stage in encoder.stages:
        maps.append(stage(maps[-1]))
    return stem, maps[1:]


class Rectification(nn.Module):
    """Each sensor's features are corrected by the other's, by channel and by place (CMX's FRM)."""

    def __init__(self, dim: int):
        super().__init__()
        self.by_channel = nn.Sequential(
            nn.Linear(4 * dim, dim), nn.GELU(), nn.Linear(dim, 2 * dim), nn.Sigmoid()
        )
        self.by_place = nn.Sequential(
            Pointwise(2 * dim, dim), nn.GELU(), Pointwise(dim, 2), nn.Sigmoid()
        )

    def forward(self, o: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Optical and SAR (B,C,h,w) -> the same shapes."""
        both = torch.cat([o, s], 1)  # (B,2C,h,w)
        pooled = torch.cat([both.mean((2, 3)), both.amax((2, 3))], 1)  # (B,4C)
        channel_o, channel_s = self.by_channel(pooled)[..., None, None].chunk(2, 1)  # (B,C,1,1)
        place_o, place_s = self.by_place(both).chunk(2, 1)  # (B,1,h,w)
        return o + 0.5 * (channel_o + place_o) * s, s + 0.5 * (channel_s + place_s) * o


class CrossAttention(nn.Module):
    """Each sensor reads the other's global context, then both are merged (CMX's FFM).

    The context is `softmax(k^T v)`, so the cost is linear in the number of pixels.
    """

    def __init__(self, dim: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.query_key_value = nn.ModuleList(nn.Linear(dim, 3 * dim) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(dim, dim) for _ in range(2))
        self.merge = Pointwise(2 * dim, dim)
        self.block = ConvBlock(dim, 3)

    def forward(self, o: Tensor, s: Tensor) -> Tensor:
        """Optical and SAR (B,C,h,w) -> fused (B,C,h,w)."""
        tokens = [x.permute(0, 2, 3, 1) for x in (o, s)]  # (B,h,w,C)
        queries, contexts = [], []
        for i, t in enumerate(tokens):
            qkv = self.query_key_value[i](self.norm[i](t)).flatten(1, 2)  # (B,N,3C)
            q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            queries.append(q)  # (B,heads,N,C/heads)
            share = k.transpose(2, 3) @ v * k.shape[2] ** -0.5  # (B,heads,C/heads,C/heads)
            contexts.append(share.softmax(2))
        read = []
        for i, t in enumerate(tokens):
            other = queries[i] @ contexts[1 - i]  # (B,heads,N,C/heads)
            y = self.out[i](other.transpose(1, 2).flatten(2))  # (B,N,C)
            read.append(t + y.unflatten(1, t.shape[1:3]))
        return self.block(self.merge(torch.cat(read, 3).permute(0, 3, 1, 2)))


class CrossModal(nn.Module):
    """Two encoders that rectify each other and meet in cross-attention at each stage.

    After CMX (Zhang et al. 2023) and its SAR-optical kin ASANet (Zhang et al. 2024).
    """

    def __init__(self, config: Config, growth: float):
        super().__init__()
        self.config = replace(config, anchor="none")
        self.scaling = Scaling(config.optical_transform, "s1+s2")
        wide = widened(config, growth)
        self.optical = Encoder(self.scaling.optical_bands + 1, 7, wide, wide.optical_depths)
        self.sar = Encoder(self.scaling.sar_bands + 1, 5, wide, wide.sar_depths)
        self.stem = Pointwise(2 * wide.stem, wide.stem)
        self.rectify = nn.ModuleList(Rectification(d) for d in wide.dims)
        self.attend = nn.ModuleList(CrossAttention(d) for d in wide.dims)
        self.tail = Tail(wide)

    def forward(self, optical: Tensor, sar: Tensor) -> Output:
        """As `CloudLULCNet.forward`."""
        x_o, x_s, valid_o, valid_s = self.scaling(optical, sar)
        o = self.optical.stem(torch.cat([x_o, valid_o], 1))  # (B,c,H/2,W/2)
        s = self.sar.stem(torch.cat([x_s, valid_s], 1))
        stem, maps = self.stem(torch.cat([o, s], 1)), []
        for i in range(4):
            o, s = self.rectify[i](self.optical.stages[i](o), self.sar.stages[i](s))
            maps.append(self.attend[i](o, s))  # (B,C,H/4,W/4), /8, /16, /32
        return self.tail(stem, maps)


class Restorer(nn.Module):
    """The clear image from the cloudy one and SAR, as a correction of the cloudy image.

    Residual blocks at one scale as in DSen2-CR (Meraner et al. 2020), separable as in UnCRtainTS
    (Ebel et al. 2023), and at half the resolution, to keep the cost near the other peers'.
    """

    def __init__(self, bands: int, sar_bands: int, width: int, depth: int):
        super().__init__()
        self.fold = nn.PixelUnshuffle(2)
        self.first = Pointwise(4 * (bands + sar_bands + 2), width)
        self.blocks = nn.Sequential(*(ConvBlock(width, 5) for _ in range(depth)))
        self.norm = LayerNorm2d(width)
        self.last = Pointwise(width, 4 * bands)
        self.unfold = nn.PixelShuffle(2)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x_o: Tensor, x_s: Tensor, valid_o: Tensor, valid_s: Tensor) -> Tensor:
        """Standardised bands (B,12,H,W), (B,2,H,W), valid (B,1,H,W) -> clear bands (B,12,H,W)."""
        x = self.first(self.fold(torch.cat([x_o, x_s, valid_o, valid_s], 1)))  # (B,width,H/2,W/2)
        return x_o + self.unfold(self.last(self.norm(self.blocks(x))))


class ReconstructionFirst(nn.Module):
    """A restorer taught the clear image alone, and a segmenter that sees its images alone.

    Both learn in the same steps, but no gradient passes from the segmenter to the restorer.
    """

    def __init__(self, config: Config, growth: float):
        super().__init__()
        self.config = replace(config, anchor="none")
        self.scaling = Scaling(config.optical_transform, "s1+s2")
        bands, sar_bands = self.scaling.optical_bands, self.scaling.sar_bands
        wide = widened(config, growth)
        self.restorer = Restorer(bands, sar_bands, 3 * wide.dims[0], 4)
        self.encoder = Encoder(bands, 7, wide, wide.optical_depths)
        self.tail = Tail(wide)

    def forward(self, optical: Tensor, sar: Tensor) -> Output:
        """As `CloudLULCNet.forward`, and the restored image."""
        restored = self.restorer(*self.scaling(optical, sar))  # (B,12,H,W)
        output = self.tail(*encoded(self.encoder, restored.detach()))
        return output._replace(restored=restored)


def widened(config: Config, growth: float) -> Config:
    """The config with all widths of the stages times `growth`, kept multiples of 8."""

    def wide(width: int) -> int:
        return max(8, 8 * round(growth * width / 8))

    return replace(config, stem=wide(config.stem), dims=tuple(wide(d) for d in config.dims))


PEERS: dict[str, Callable[[Config], nn.Module]] = {
    "s1-only": lambda config: UNet(config, 2.15, "s1"),
    "s2-only": lambda config: UNet(config, 2.15, "s2"),
    "early-fusion": lambda config: UNet(config, 2.15),
    "cross-modal": lambda config: CrossModal(config, 1.17),
    "reconstruction-first": lambda config: ReconstructionFirst(config, 1.7),
}
"""Name -> peer of about the parameters of `CloudLULCNet(config)`."""
