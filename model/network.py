"""CloudLULC-Net: land cover from a cloud-contaminated Sentinel-2 image and a Sentinel-1 image.

Our implementation of the published design (arXiv 2606.17713): two encoders, ORM, HIAA, and the
unified semantic mapping transformer (USMT). Widths, depths, kernels and initial values are ours.

Shapes: B batch, H x W pixels, C channels of a stage, D token width, dz latent width,
N = H/16 * W/16 tokens.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.fusion import (
    GELU,
    HIAA,
    ORM,
    Concat,
    ConvBlock,
    Down,
    LayerNorm2d,
    Missing,
    Pointwise,
    added,
    pixelwise,
)
from model.scaling import Scaling
from model.usmt import USMT

STRIDES = (4, 8, 16, 32)
SENSORS = ("s1+s2", "s1", "s2", "s1+rgbn")
ANCHORS = ("encoder", "prototypes", "none")
AUXILIARY = ("optical", "sar", "fused")


@dataclass(frozen=True)
class Config:
    """Everything that decides the shape of the network and how it reads its input."""

    classes: int = 6
    stem: int = 24  # channels at stride 2
    dims: tuple[int, ...] = (32, 64, 128, 192)  # channels at strides 4, 8, 16, 32
    optical_depths: tuple[int, ...] = (1, 1, 3, 1)  # blocks per stage
    sar_depths: tuple[int, ...] = (1, 1, 2, 1)
    tokens: int = 128  # D
    latent: int = 64  # dz
    usmt_depth: int = 2
    heads: int = 8
    class_tokens: int = 4  # learned semantic tokens per class
    decoder: tuple[int, int] = (128, 64)  # channels at strides 16 to 4, at stride 2
    order: int = 3  # of SHOI and CHOI
    drop_path: float = 0.1  # of the deepest block; grows linearly from 0
    optical_transform: str = "log"  # "log": log(1 + 100 reflectance); "linear": reflectance
    sensors: str = "s1+s2"  # what the network is shown; the rest is treated as missing
    prior: bool = False  # a cloud probability is given beside the images
    orm: bool = True
    orm_channel: bool = True
    orm_missing: bool = True
    hiaa: bool = True
    shoi: bool = True
    choi: bool = True
    usmt: bool = True
    anchor: str = "encoder"  # how the latent was guided in training: encoder, prototypes, none

    def __post_init__(self):
        checks = {
            "dims": len(self.dims) == 4 and all(d % 8 == 0 for d in self.dims),
            "stem": self.stem % 8 == 0,
            "optical_depths": len(self.optical_depths) == 4,
            "sar_depths": len(self.sar_depths) == 4,
            "tokens": self.tokens % self.heads == 0,
            "order": self.order in (1, 2, 3, 4),
            "optical_transform": self.optical_transform in ("log", "linear"),
            "sensors": self.sensors in SENSORS,
            "anchor": self.anchor in ANCHORS,
        }
        wrong = {k: getattr(self, k) for k, good in checks.items() if not good}
        if wrong:
            raise ValueError(
                f"network config: got {wrong}; expected 4 dims and a stem divisible by 8, 4 depths "
                f"per sensor, tokens divisible by heads, order 1-4, optical_transform log or "
                f"linear, sensors in {SENSORS}, anchor in {ANCHORS}"
            )

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, d: dict) -> Config:
        """Config of its JSON form.

        Raises:
          ValueError: a key is unknown or missing, or a value is of another kind.
        """
        known = {f.name for f in fields(cls)}
        if set(d) != known:
            raise ValueError(
                f"network config: unknown keys {sorted(set(d) - known)}, "
                f"missing keys {sorted(known - set(d))}"
            )
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in d.items()}
        wrong = {k: v for k, v in plain.items() if not _like(v, getattr(_TINY, k))}
        if wrong:
            raise ValueError(f"network config: got {wrong}, expected values as in {_TINY}")
        return cls(**plain)


_TINY = Config()


def _like(value: object, default: object) -> bool:
    """Whether a value is of the default's kind; counts are positive."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(type(v) is int and v > 0 for v in value)
    if type(default) is int:
        return type(value) is int and value > 0
    if type(default) is float:
        return type(value) in (int, float) and 0 <= value < 1
    return type(value) is type(default)


PRESETS: dict[str, Config] = {
    "tiny": _TINY,
    "base": replace(
        _TINY,
        stem=32,
        dims=(64, 128, 256, 384),
        optical_depths=(2, 2, 6, 2),
        sar_depths=(1, 2, 3, 2),
        tokens=256,
        latent=128,
        usmt_depth=4,
    ),
    "large": replace(
        _TINY,
        stem=48,
        dims=(96, 192, 384, 512),
        optical_depths=(3, 3, 9, 3),
        sar_depths=(2, 2, 4, 2),
        tokens=384,
        latent=192,
        usmt_depth=6,
    ),
}


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
