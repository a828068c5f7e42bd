"""CloudLULC-Net: land cover from a cloud-contaminated Sentinel-2 image and a Sentinel-1 image.

Our implementation of the published design (arXiv 2606.17713): two encoders, ORM, HIAA, and the
unified semantic mapping transformer (USMT). Widths, depths, kernels and initial values are ours.

Shapes: B batch, H x W pixels, C channels of a stage, D token width, dz latent width,
N = H/16 * W/16 tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import AUXILIARY, STRIDES, Config
from model.fusion import HIAA, Concat
from model.layers import GELU, ConvBlock, Down, LayerNorm2d, Pointwise, added, pixelwise
from model.orm import ORM, Missing
from model.scaling import Scaling
from model.usmt import USMT


class Output(NamedTuple):
    logits: Tensor  # (B,classes,H,W) float
    reliability: list[Tensor]  # logits of r_s (B,1,h,w) at strides 2, 4, 8, 16, 32; [] without ORM
    latent: Tensor  # (B,dz,H/16,W/16) float
    aux: dict[str, Tensor]  # name -> (B,classes,H/16,W/16) float logits
    restored: Tensor | None = None  # (B,12,H,W) standardised clear bands, of networks that restore


class Encoder(nn.Module):
    """One sensor's stem (stride 2) and four stages (strides 4, 8, 16, 32)."""

    def __init__(self, bands: int, kernel: int, config: Config, depths: tuple[int, ...]):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(bands, config.stem, 3, stride=2, padding=1),
            LayerNorm2d(config.stem, inplace=True),
            GELU(),
            ConvBlock(config.stem, 3),
        )
        rates = [config.drop_path * i / max(1, sum(depths) - 1) for i in range(sum(depths))]
        dims = (config.stem, *config.dims)
        self.stages = nn.ModuleList()
        for i, depth in enumerate(depths):
            first = sum(depths[:i])
            blocks = [ConvBlock(dims[i + 1], kernel, p) for p in rates[first : first + depth]]
            self.stages.append(nn.Sequential(Down(dims[i], dims[i + 1]), *blocks))


class Decoder(nn.Module):
    """From stride 16 back to full size, with the maps of strides 8, 4 and 2 as skips.

    Args:
      config: of the network.
      stem: channels c at stride 2.
    """

    def __init__(self, config: Config, stem: int):
        super().__init__()
        wide, narrow = config.decoder
        self.start = Pointwise(config.tokens, wide)
        self.skip8 = Pointwise(config.dims[1], wide)
        self.skip4 = Pointwise(config.dims[0], wide)
        self.skip2 = Pointwise(stem, narrow)
        self.block8, self.block4 = ConvBlock(wide, 7), ConvBlock(wide, 7)
        self.thin = Pointwise(wide, narrow)
        self.block2 = ConvBlock(narrow, 7)
        self.head = nn.Sequential(
            nn.Conv2d(narrow, narrow, 3, padding=1),
            LayerNorm2d(narrow, inplace=True),
            GELU(),
            nn.Dropout2d(0.1),
            Pointwise(narrow, config.classes),
        )

    def forward(self, x: Tensor, fused: list[Tensor], stem: Tensor) -> Tensor:
        """Tokens (B,D,H/16,W/16), fused maps, stem (B,c,H/2,W/2) -> logits (B,classes,H,W)."""
        x = self.start(x)  # (B,128,H/16,W/16)
        x = self.block8(joined(twice(x), self.skip8, fused[1]))  # H/8
        x = self.block4(joined(twice(x), self.skip4, fused[0]))  # H/4
        x = self.block2(joined(twice(self.thin(x)), self.skip2, stem))  # (B,64,H/2,W/2)
        return twice(self.head(x).float())  # (B,classes,H,W)


def joined(x: Tensor, skip: Pointwise, y: Tensor) -> Tensor:
    """x + skip(y), maps (B,C,h,w) and (B,C',h,w); in place of x where it is not `plain`."""
    return pixelwise(lambda x, y: added(skip.of_pixels(y), x), x, y, into=x)


def twice(x: Tensor) -> Tensor:
    """(B,C,h,w) -> (B,C,2h,2w), bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class CloudLULCNet(nn.Module):
    """CloudLULC-Net of a `Config`; weights are random until a state is loaded."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        c = config
        self.scaling = Scaling(c.optical_transform, c.sensors)
        self.optical = Encoder(self.scaling.optical_bands, 7, c, c.optical_depths)
        self.sar = Encoder(self.scaling.sar_bands, 5, c, c.sar_depths)
        every = (c.stem, *c.dims)
        self.orm = nn.ModuleList(ORM(d, c.orm_channel, c.orm_missing) for d in every if c.orm)
        self.missing_sar = nn.ModuleList(Missing(d) for d in every)
        previous = (0, *c.dims)
        self.fuse = nn.ModuleList(
            HIAA(d, p, c.order, c.shoi, c.choi, c.drop_path) if c.hiaa else Concat(d)
            for d, p in zip(c.dims, previous, strict=False)
        )
        self.usmt = USMT(c)
        self.decoder = Decoder(c, 2 * c.stem)
        self.aux = nn.ModuleDict({k: Pointwise(c.dims[2], c.classes) for k in AUXILIARY})

    def forward(self, optical: Tensor, sar: Tensor, prior: Tensor | None = None) -> Output:
        """Maps chips to class logits.

        Args:
          optical: (B,12,H,W) float32, stored integers: reflectance x 1e4, 0 nodata per band.
          sar: (B,2,H,W) float32, stored integers: dB x 100, -32768 nodata.
          prior: (B,1,H,W) float32 cloud probability in [0, 1], if and only if `config.prior`.

        Returns:
          See `Output`.

        Raises:
          ValueError: shapes do not fit, or the prior is given to a network made without (or the
            other way round).
        """
        self._check(optical, sar, prior)
        # Stored integers become standardised bands; what is missing is 0 and known as such.
        x_o, x_s, valid_o, valid_s = self.scaling(optical, sar)
        valid_o, valid_s = F.avg_pool2d(valid_o, 2), F.avg_pool2d(valid_s, 2)

        # Each sensor has its own stem; clouds are held back from the very first features on.
        logits_r: list[Tensor] = []
        o, _ = self._believe(0, self.optical.stem(x_o), valid_o, prior, logits_r)  # (B,c,H/2,W/2)
        s = self._fill(0, self.sar.stem(x_s), valid_s)  # (B,c,H/2,W/2)
        stem = torch.cat([o, s], 1)  # (B,2c,H/2,W/2)

        # Stage by stage: optical is believed as far as it is reliable, then fused with SAR.
        fused: list[Tensor] = []
        aux: dict[str, Tensor] = {}
        for i in range(4):
            valid_o, valid_s = F.avg_pool2d(valid_o, 2), F.avg_pool2d(valid_s, 2)
            o = self.optical.stages[i](o)  # (B,C,H/4,W/4), /8, /16, /32
            o, reliability = self._believe(i + 1, o, valid_o, prior, logits_r)
            s = self._fill(i + 1, self.sar.stages[i](s), valid_s)
            fused.append(self.fuse[i](o, s, reliability, fused[-1] if fused else None))
            if STRIDES[i] == 16:
                at_16 = {"optical": o, "sar": s, "fused": fused[-1]}
                aux = {k: self.aux[k](v) for k, v in at_16.items()}  # (B,classes,H/16,W/16)

        # The fused maps are organised in one semantic latent space, and read out as classes.
        tokens, latent = self.usmt(fused)  # (B,D,H/16,W/16), (B,dz,H/16,W/16)
        logits = self.decoder(tokens, fused, stem)  # (B,classes,H,W)
        return Output(logits, logits_r, latent, aux)

    def in_bfloat16(self) -> CloudLULCNet:
        """Itself with its weights in bfloat16: it then computes in that, but for the scaling."""
        for name, part in self.named_children():
            if name != "scaling":
                part.to(torch.bfloat16)
        self.scaling.dtype = torch.bfloat16
        return self

    def _believe(
        self, i: int, x: Tensor, valid: Tensor, prior: Tensor | None, logits: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Applies the i-th ORM: features, r_s (B,1,h,w); appends the logits of r_s."""
        if not self.config.orm:
            return x, torch.ones_like(valid, dtype=x.dtype)
        if prior is not None:
            prior = F.avg_pool2d(prior, 2 ** (i + 1))  # (B,1,h,w)
        x, reliability, of_reliability = self.orm[i](x, valid, prior)
        logits.append(of_reliability)
        return x, reliability

    def _fill(self, i: int, x: Tensor, valid: Tensor) -> Tensor:
        """Puts the learned vector where SAR is missing."""
        return self.missing_sar[i](x, valid)

    def _check(self, optical: Tensor, sar: Tensor, prior: Tensor | None) -> None:
        b, _, h, w = optical.shape
        expected = {
            "optical": (b, self.scaling.optical_bands, h, w),
            "sar": (b, self.scaling.sar_bands, h, w),
        }
        got = {"optical": tuple(optical.shape), "sar": tuple(sar.shape)}
        if got != expected:
            raise ValueError(f"network input: got {got}, expected {expected}")
        if h % 32 or w % 32:
            raise ValueError(
                f"network input: got {h} x {w} pixels, expected multiples of 32; "
                "choose a chip size divisible by 32"
            )
        if self.config.prior != (prior is not None):
            raise ValueError(
                f"network input: config.prior is {self.config.prior}, "
                f"but the prior is {'given' if prior is not None else 'not given'}"
            )
