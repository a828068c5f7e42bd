"""The label-derived semantic anchor: what the latent of the network is drawn to in training.

The idea is the paper's (arXiv 2606.17713); encoder, losses and weights here are ours. Training
only: nothing of it is needed to map a chip.

Shapes: B batch, K classes, H x W pixels, dz latent width; the latent has stride 16.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import Config
from model.layers import LayerNorm2d
from model.legend import IGNORE_INDEX

CELL = 16  # pixels per side of one latent cell
TEMPERATURE = 0.1  # of the cosine similarities to the prototypes
DISTANCES = ("cosine", "l2")


class AnchorLosses(NamedTuple):
    align: Tensor  # latent to anchor
    proto: Tensor  # latent to class prototypes
    autoencoder: Tensor  # anchor back to label; the only loss that trains the anchor encoder


class SemanticAnchor(nn.Module):
    """Turns labels into anchors and compares the latent with them.

    The anchor is encoded from the label and never follows the latent: it is detached in `align`,
    and has to tell the label again, so that it cannot collapse.

    Args:
      config: `classes`, `latent` and `anchor` are read: "encoder" encodes the label; "prototypes"
        mixes the learned class prototypes by class fraction, without an encoder; "none" makes all
        three losses 0.
      distance: "cosine" or "l2" between latent and anchor.
    """

    def __init__(self, config: Config, distance: str = "cosine"):
        super().__init__()
        if distance not in DISTANCES:
            raise ValueError(f"anchor distance: got {distance!r}, expected one of {DISTANCES}")
        self.kind, self.classes, self.distance = config.anchor, config.classes, distance
        k, dz = config.classes, config.latent
        if self.kind != "none":
            self.prototypes = nn.Parameter(torch.randn(k, dz))
        if self.kind == "encoder":
            self.encoder = nn.Sequential(
                *_down(k, 32),  # (B,32,H/2,W/2)
                *_down(32, 64),  # (B,64,H/4,W/4)
                *_down(64, 128),  # (B,128,H/8,W/8)
                nn.Conv2d(128, dz, 3, stride=2, padding=1),  # (B,dz,H/16,W/16)
            )
            self.decoder = nn.Sequential(
                nn.Conv2d(dz, 128, 1),
                nn.GELU(),
                nn.Conv2d(128, k * 8 * 8, 1),
                nn.PixelShuffle(8),  # (B,K,H/2,W/2)
            )

    def forward(self, latent: Tensor, label: Tensor) -> AnchorLosses:
        """Losses of one batch.

        Args:
          latent: (B,dz,H/16,W/16) float.
          label: (B,H,W) integer class index, 255 ignored.
        """
        if self.kind == "none":
            zero = latent.new_zeros((), dtype=torch.float32)
            return AnchorLosses(zero, zero, zero)
        one_hot = label_to_one_hot(label, self.classes)  # (B,K,H,W)
        fractions = F.avg_pool2d(one_hot, CELL)  # (B,K,H/16,W/16), sums to the share of valid
        valid = fractions.sum(1) > 0.5  # (B,H/16,W/16)
        fractions = fractions / fractions.sum(1, keepdim=True).clamp(min=1e-6)
        autoencoder = latent.new_zeros((), dtype=torch.float32)
        if self.kind == "encoder":
            anchor = self.encoder(one_hot)  # (B,dz,H/16,W/16)
            autoencoder = soft_cross_entropy(self.decoder(anchor), F.avg_pool2d(one_hot, 2))
        else:
            anchor = torch.einsum("bkhw,kd->bdhw", fractions, self.prototypes)
        apart = self._distance(latent.float(), anchor.detach().float())  # (B,H/16,W/16)
        align = (apart * valid).sum() / valid.sum().clamp(min=1)
        unit = F.normalize(latent.float(), dim=1)
        similar = torch.einsum("bdhw,kd->bkhw", unit, F.normalize(self.prototypes.float(), dim=1))
        proto = soft_cross_entropy(similar / TEMPERATURE, fractions * valid[:, None])
        return AnchorLosses(align, proto, autoencoder)

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        if self.distance == "cosine":
            return 1 - F.cosine_similarity(a, b, dim=1)
        return (a - b).square().mean(1)


def label_to_one_hot(label: Tensor, classes: int) -> Tensor:
    """(B,H,W) integer class index, 255 ignored -> (B,classes,H,W) float32, all 0 where ignored."""
    label = label.long()
    valid = label != IGNORE_INDEX
    one_hot = F.one_hot(torch.where(valid, label, 0), classes)  # (B,H,W,K)
    return (one_hot * valid[..., None]).permute(0, 3, 1, 2).float()


def soft_cross_entropy(logits: Tensor, fractions: Tensor) -> Tensor:
    """Cross-entropy with class fractions, averaged over the weight that they carry.

    Args:
      logits: (B,K,h,w) float.
      fractions: (B,K,h,w) float; a cell sums to its share of valid pixels, 0 to 1.

    Returns:
      () float32; 0 if no pixel is valid. With logits repeated over each cell's pixels it equals
      the cross-entropy of the pixels.
    """
    loss = -(fractions * logits.float().log_softmax(1)).sum()
    return loss / fractions.sum().clamp(min=1e-6)


def _down(dim_in: int, dim: int) -> list[nn.Module]:
    return [nn.Conv2d(dim_in, dim, 3, stride=2, padding=1), LayerNorm2d(dim), nn.GELU()]
