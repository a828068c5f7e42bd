"""From the integers of a chip to the standardised bands that the network reads.

Clipping follows CloudSeg's loaders (xufangchn/CloudSeg): optical [0, 10000], VV [-25, 0] dB, VH
[-32.5, 0] dB, each to [0, 1]. The logarithm of reflectance is our addition: it keeps dark classes
apart although clouds are bright.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.inputs import INPUTS

OPTICAL_MAX = 10000.0  # stored integer, = reflectance 1
SAR_FLOOR = (-25.0, -32.5)  # dB, of VV and VH
ROWS = 16  # of a chip that a CPU scales at a time: they stay in its cache
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
        shown = torch.tensor(optical).view(1, -1, 1, 1)
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
        exists_o = (optical > INPUTS.optical.nodata) & self.shown
        exists_s = (sar != INPUTS.sar.nodata) & self.shown_sar
        reflectance = optical.clamp(0, OPTICAL_MAX).div_(OPTICAL_MAX)
        if self.transform == "log":
            reflectance.mul_(LOG_GAIN).log1p_()
        decibel = torch.maximum(sar * INPUTS.sar.scale, self.floor).clamp(max=0)
        return reflectance, 1 - decibel / self.floor, torch.cat([exists_o, exists_s], 1)

    def forward(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Standardises stored integers; arguments as `scaled`.

        Returns:
          optical (B,12,H,W) and SAR (B,2,H,W), 0 (the mean) where missing, channels last in
          memory; pixels with any optical, any SAR band: (B,1,H,W) float32, 1 or 0.
        """
        rows = optical.shape[2] if optical.is_cuda else ROWS
        strips = zip(optical.split(rows, 2), sar.split(rows, 2), strict=True)
        parts = [self._standardised(*strip) for strip in strips]
        return tuple(torch.cat(part, 2) for part in zip(*parts, strict=True))

    def _standardised(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `forward`, of some rows."""
        x_o, x_s, exists = self.scaled(optical, sar)
        x = torch.cat([x_o, x_s], 1)  # (B,14,H,W)
        x.sub_(self.mean[:, None, None]).div_(self.std[:, None, None]).masked_fill_(~exists, 0)
        n = self.optical_bands
        return (
            x[:, :n].to(self.dtype, memory_format=torch.channels_last),
            x[:, n:].to(self.dtype, memory_format=torch.channels_last),
            exists[:, :n].any(1, keepdim=True).float(),
            exists[:, n:].any(1, keepdim=True).float(),
        )
