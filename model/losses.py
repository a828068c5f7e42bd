"""The training loss of CloudLULC-Net: what it is made of and how much each part weighs.

    L = CE + w_dice Dice + w_aux mean(aux CE) + ramp (w_align L_align + w_proto L_proto)
        + w_ae L_ae + w_rel L_rel + L1 (of networks that restore the clear image)

The paper's losses are not public; these terms and weights are ours.

Shapes: B batch, K classes, H x W pixels, h x w pixels of a stage.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.anchor import SemanticAnchor, label_to_one_hot, soft_cross_entropy
from model.legend import IGNORE_INDEX
from model.network import Output

RAMP = 0.1  # share of the steps over which the anchor's pull grows to its full weight


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts, beside 1 for the cross-entropy."""

    dice: float = 0.5
    aux: float = 0.4
    align: float = 0.5
    proto: float = 0.2
    autoencoder: float = 0.2
    reliability: float = 0.0  # 0.1 where a cloud mask is known, e.g. with simulated clouds
    classes: tuple[float, ...] | None = None  # of the cross-entropy, per class index


PLUS = LossWeights(reliability=0.1)


def total_loss(
    output: Output,
    label: Tensor,
    anchor: SemanticAnchor,
    weights: LossWeights,
    ramp: float,
    cloud: Tensor | None = None,
    ground: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss to minimise and its parts.

    Args:
      output: of the network.
      label: (B,H,W) integer class index, 255 ignored.
      anchor: the semantic anchor, trained along.
      weights: of the parts.
      ramp: 0 to 1, see `anchor_ramp`.
      cloud: (B,H,W) cloud or shadow: 0 no, 1 yes (or a share between), 255 unknown; needed if
        `weights.reliability` is not 0.
      ground: (B,12,H,W) standardised clear bands, nan where unknown; needed by networks that
        restore.

    Returns:
      () float32, and the unweighted parts by name, detached.

    Raises:
      ValueError: the reliability is weighed but there is no cloud mask.
    """
    guided = anchor(output.latent, label)
    parts = {
        "ce": cross_entropy(output.logits, label, weights.classes),
        "dice": dice_loss(output.logits, label),
        "aux": auxiliary_loss(output.aux, label),
        "align": guided.align,
        "proto": guided.proto,
        "autoencoder": guided.autoencoder,
    }
    total = (
        parts["ce"]
        + weights.dice * parts["dice"]
        + weights.aux * parts["aux"]
        + ramp * (weights.align * guided.align + weights.proto * guided.proto)
        + weights.autoencoder * guided.autoencoder
    )
    if weights.reliability:
        if cloud is None:
            raise ValueError(
                f"reliability loss: weight {weights.reliability} without a cloud mask; give "
                "`cloud`, or set the weight to 0"
            )
        parts["reliability"] = reliability_loss(output.reliability, cloud)
        total = total + weights.reliability * parts["reliability"]
    if output.restored is not None:
        parts["restored"] = restoration_loss(output.restored, ground)
        total = total + parts["restored"]
    return total, {k: v.detach() for k, v in parts.items()}


def anchor_ramp(step: int, steps: int) -> float:
    """Weight of the anchor's pull: grows linearly from 0 to 1 over the first tenth of `steps`."""
    return min(1.0, step / max(1.0, RAMP * steps))


def cross_entropy(
    logits: Tensor, label: Tensor, classes: tuple[float, ...] | None = None
) -> Tensor:
    """Mean cross-entropy () float32 of logits (B,K,H,W) over valid pixels; 0 if there are none."""
    weight = None if classes is None else torch.tensor(classes, device=logits.device)
    label = label.long()
    pixels = F.cross_entropy(
        logits.float(), label, weight, ignore_index=IGNORE_INDEX, reduction="none"
    )  # (B,H,W), 0 where ignored
    valid = label != IGNORE_INDEX
    if weight is None:
        return pixels.sum() / valid.sum().clamp(min=1)
    carried = weight[torch.where(valid, label, 0)] * valid
    return pixels.sum() / carried.sum().clamp(min=1e-6)


def dice_loss(logits: Tensor, label: Tensor) -> Tensor:
    """`1 - 2 |P T| / (|P| + |T|)`, mean over the classes present in the batch (Milletari 2016).

    Args:
      logits: (B,K,H,W) float.
      label: (B,H,W) integer class index, 255 ignored.

    Returns:
      () float32; 0 if no pixel is valid.
    """
    truth = label_to_one_hot(label, logits.shape[1])  # (B,K,H,W)
    valid = (label != IGNORE_INDEX)[:, None]
    predicted = logits.float().softmax(1) * valid
    both = (predicted * truth).sum((0, 2, 3))  # (K,)
    dice = 2 * both / (predicted.sum((0, 2, 3)) + truth.sum((0, 2, 3))).clamp(min=1e-6)
    present = truth.sum((0, 2, 3)) > 0
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


def auxiliary_loss(aux: dict[str, Tensor], label: Tensor) -> Tensor:
    """Mean over the auxiliary heads of the cross-entropy at their stride, by class fractions."""
    losses = []
    for logits in aux.values():
        cell = label.shape[-1] // logits.shape[-1]
        fractions = F.avg_pool2d(label_to_one_hot(label, logits.shape[1]), cell)  # (B,K,h,w)
        losses.append(soft_cross_entropy(logits, fractions))
    return torch.stack(losses).mean()


def reliability_loss(reliability: list[Tensor], cloud: Tensor) -> Tensor:
    """Binary cross-entropy of the reliability against the clear share, mean over stages.

    Args:
      reliability: logits of r_s (B,1,h,w) at the stem and the stages.
      cloud: (B,H,W) 0 clear, 1 cloud or shadow (or a share between), 255 unknown.

    Returns:
      () float32; cells weigh by their known share; 0 without any stage or known pixel.
    """
    known = (cloud != IGNORE_INDEX)[:, None].float()  # (B,1,H,W)
    clear = (1 - cloud[:, None].float()) * known
    losses = [cloud.new_zeros((), dtype=torch.float32)]
    for logits in reliability:
        cell = cloud.shape[-1] // logits.shape[-1]
        weight = F.avg_pool2d(known, cell)  # (B,1,h,w)
        target = F.avg_pool2d(clear, cell) / weight.clamp(min=1e-6)
        cells = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
        losses.append((cells * weight).sum() / weight.sum().clamp(min=1e-6))
    return torch.stack(losses).sum() / max(1, len(reliability))


def restoration_loss(restored: Tensor, ground: Tensor) -> Tensor:
    """Mean absolute error () float32 of clear bands (B,12,H,W); `ground` is nan where unknown."""
    known = ~ground.isnan()
    apart = (restored.float() - torch.where(known, ground, 0.0)).abs() * known
    return apart.sum() / known.sum().clamp(min=1)
