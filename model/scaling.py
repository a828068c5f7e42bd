"""From the integers of a chip to the standardised bands that the network reads.

Clipping follows CloudSeg's loaders (xufangchn/CloudSeg): optical [0, 10000], VV [-25, 0] dB, VH
[-32.5, 0] dB, each to [0, 1]. The logarithm of reflectance is our addition: it keeps dark classes
apart although clouds are bright.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from model.inputs import INPUTS

OPTICAL_MAX = 10000.0  # stored integer, = reflectance 1
SAR_FLOOR = (-25.0, -32.5)  # dB, of VV and VH
ROWS = 32  # of a chip that a CPU scales at a time: they stay in its cache
LOG_GAIN = 100.0  # log(1 + 100 r): linear below 1 % reflectance, logarithmic above

# Typical values of land, clear and cloudy, rounded: a start until training sets its own.
STATISTICS = {
    "log": (
        (2.2, 2.3, 2.6, 2.6, 2.9, 3.3, 3.4, 3.4, 3.4, 3.4, 3.1, 2.7),
        (0.9, 0.9, 0.8, 0.9, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.7),
    ),
    "linear": (
        (0.17, 0.17, 0.19, 0.2, 0.23, 0.31, 0.34, 0.35, 0.36, 0.35, 0.26, 0.2),
        (0.2, 0.2, 0.18, 0.2, 0.18, 0.17, 0.17, 0.17, 0.17, 0.17, 0.13, 0.13),
    ),
}
SAR_STATISTICS = ((0.56, 0.45), (0.18, 0.15))  # -11 dB and -18 dB, 4.5 dB and 4.9 dB
VISIBLE_NIR = ("B02", "B03", "B04", "B08")


Scaled = Callable[[Tensor], tuple[Tensor, Tensor]]


class Scaling(nn.Module):
    """Scales, standardises and finds out what is missing.

    Args:
      transform: "log" or "linear" scaling of reflectance.
      sensors: "s1+s2", "s1", "s2" or "s1+rgbn"; what is not named is treated as missing.
    """

    def __init__(self, transform: str, sensors: str):
        super().__init__()
        self.transform = transform
        self.dtype = torch.float32  # of what the network reads; scaling itself is in float32
        self.sar_bands = len(INPUTS.sar.bands)
        self.optical_bands = len(INPUTS.optical.bands)
        if sensors == "s1+rgbn":
            optical = [b.name in VISIBLE_NIR for b in INPUTS.optical.bands]
        else:
            optical = [sensors != "s1"] * self.optical_bands
        self.shown_optical = optical
        self.shown_sar = sensors != "s2"
        mean, std = STATISTICS[transform]
        sar_mean, sar_std = SAR_STATISTICS
        self.register_buffer("mean", torch.tensor(mean + sar_mean))  # (14,) of scaled bands
        self.register_buffer("std", torch.tensor(std + sar_std))
        floor = torch.tensor(SAR_FLOOR).view(1, -1, 1, 1)
        self.register_buffer("floor", floor, persistent=False)
        shown = torch.tensor(optical).view(1, -1, 1, 1).float()
        self.register_buffer("shown", shown, persistent=False)

    def set_statistics(self, mean: list[float], std: list[float]) -> None:
        """Sets the standardisation, e.g. from training chips.

        Args:
          mean: 14 means of the bands that `scaled` returns, optical then SAR, valid pixels only.
          std: their 14 standard deviations.

        Raises:
          ValueError: not 14 finite values each, or a deviation is not positive.
        """
        new = torch.tensor([mean, std], dtype=self.mean.dtype, device=self.mean.device)
        if new.shape != (2, len(self.mean)) or not new.isfinite().all() or (new[1] <= 0).any():
            raise ValueError(
                f"band statistics: got mean {mean}, std {std}; expected {len(self.mean)} finite "
                "values each, standard deviations above 0"
            )
        self.mean.copy_(new[0])
        self.std.copy_(new[1])

    def scaled(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scales stored integers, before standardisation.

        Args:
          optical: (B,12,H,W) float32 reflectance x 1e4, 0 nodata per band.
          sar: (B,2,H,W) float32 dB x 100, -32768 nodata.

        Returns:
          optical (B,12,H,W) in [0, 4.62] ("log") or [0, 1] ("linear"), SAR (B,2,H,W) in [0, 1],
          and which values exist, (B,14,H,W) bool.
        """
        x_o, exists_o = self._scaled_optical(optical)
        x_s, exists_s = self._scaled_sar(sar)
        return x_o, x_s, torch.cat([exists_o, exists_s], 1).bool()

    def forward(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Standardises stored integers; arguments as `scaled`.

        Returns:
          optical (B,12,H,W) and SAR (B,2,H,W), 0 (the mean) where missing, channels last in
          memory; pixels with any optical, any SAR band: (B,1,H,W) float32, 1 or 0.
        """
        bands = [self.optical_bands, self.sar_bands]
        means, stds = (x[:, None, None].split(bands) for x in (self.mean, self.std))
        x_o, valid_o = self._standardised(self._scaled_optical, optical, means[0], stds[0])
        x_s, valid_s = self._standardised(self._scaled_sar, sar, means[1], stds[1])
        return x_o, x_s, valid_o, valid_s

    def _scaled_optical(self, optical: Tensor) -> tuple[Tensor, Tensor]:
        """As `scaled`, of one sensor; which values exist is float32, 1 or 0."""
        reflectance = optical.clamp(0, OPTICAL_MAX)
        exists = reflectance.sign().mul_(self.shown)
        if self.transform == "log":
            return reflectance.div_(OPTICAL_MAX / LOG_GAIN).log1p_(), exists
        return reflectance.div_(OPTICAL_MAX), exists

    def _scaled_sar(self, sar: Tensor) -> tuple[Tensor, Tensor]:
        """As `_scaled_optical`."""
        decibel = torch.maximum(sar * INPUTS.sar.scale, self.floor).clamp_(max=0)
        exists = (sar != INPUTS.sar.nodata).float().mul_(self.shown_sar)
        return 1 - decibel / self.floor, exists

    def _standardised(
        self, scaled: Scaled, stored: Tensor, mean: Tensor, std: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One sensor's bands and its pixels with any of them, some rows at a time."""
        b, _, h, w = stored.shape
        bands = torch.empty_like(stored, dtype=self.dtype, memory_format=torch.channels_last)
        valid = stored.new_empty(b, 1, h, w)
        strips = (x.split(h if stored.is_cuda else ROWS, 2) for x in (stored, bands, valid))
        for read, x, some in zip(*strips, strict=True):
            y, exists = scaled(read)
            y.sub_(mean).div_(std).mul_(exists)
            # In two steps: torch turns and rounds at once at half the speed.
            x.copy_(y.contiguous(memory_format=torch.channels_last))
            some.copy_(exists.amax(1, keepdim=True))
        return bands, valid
