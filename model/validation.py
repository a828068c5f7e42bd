"""Scores of a network on a split under simulated clouds of every cover, and its calibration."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from model.clouds import simulate_clouds
from model.dataset import Patches
from model.evaluate import BINS, cloud_bin
from model.legend import IGNORE_INDEX, LULC6
from model.metrics import area_under_curve, confusion_matrix, scores

COVERS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


class Validation(NamedTuple):
    """Scores of one pass; plain numbers."""

    overall_accuracy: float
    mean_iou: float
    by_cover: dict[str, dict[str, float]]  # bin of cloud + shadow cover, % -> oa, miou, patches
    iou: dict[str, float]  # class name -> IoU; nan without truth
    reliability_auc: float  # how well r_s at stride 4 parts clear from clouded pixels
    loss: float  # mean cross-entropy, nats

    def to_dict(self) -> dict:
        """Plain JSON: rounded, None for what is not defined."""

        def plain(value):
            if isinstance(value, dict):
                return {k: plain(v) for k, v in value.items()}
            if isinstance(value, int):
                return value
            return None if np.isnan(value) else round(float(value), 4)

        return plain(self._asdict())


def validate(
    network: nn.Module, patches: Patches, batch: int, autocast: AbstractContextManager
) -> tuple[Validation, float]:
    """Scores a network and finds the temperature that calibrates it.

    Args:
      network: a `CloudLULCNet` in evaluation mode.
      patches: the split; the i-th clear image gets clouds of the i-th cover of `COVERS`, in turn,
        always the same ones. A patch without one is scored as it comes, and is in no bin.
      batch: patches per run of the network.
      autocast: context manager for the run.

    Returns:
      The scores, and the temperature with the lowest cross-entropy (Guo et al. 2017).
    """
    classes = len(LULC6.classes)
    matrices = {name: np.zeros((classes, classes), np.int64) for name in BINS}
    counts = dict.fromkeys(BINS, 0)
    unbinned = np.zeros((classes, classes), np.int64)
    logits_kept, labels_kept, reliability, clear = [], [], [], []
    for first in range(0, len(patches.label), batch):
        numbers = range(first, min(first + batch, len(patches.label)))
        under = [_under_cloud(patches, i) for i in numbers]
        optical = torch.from_numpy(np.stack([u[0] for u in under]).astype(np.float32))
        sar = torch.from_numpy(patches.sar[numbers.start : numbers.stop].astype(np.float32))
        with torch.inference_mode(), autocast:
            output = network(optical, sar)
        logits = output.logits.float()
        predicted = logits.argmax(1).to(torch.uint8).numpy()
        for i, (_, mask), p in zip(numbers, under, predicted, strict=True):
            matrix = confusion_matrix(patches.label[i], p, classes)
            if mask is None:
                unbinned += matrix
                continue
            name = cloud_bin(mask.mean())
            matrices[name] += matrix
            counts[name] += 1
        # Every fifth pixel each way is enough for the calibration and the reliability.
        logits_kept.append(logits[..., ::5, ::5].permute(0, 2, 3, 1).reshape(-1, classes))
        labels_kept.append(
            torch.from_numpy(patches.label[numbers.start : numbers.stop, ::5, ::5].ravel().copy())
        )
        if output.reliability:
            r = F.interpolate(output.reliability[1].float(), size=predicted.shape[1:])
            for of_patch, (_, mask) in zip(r[:, 0, ::5, ::5].numpy(), under, strict=True):
                if mask is not None:
                    reliability.append(of_patch.ravel())
                    clear.append(~mask[::5, ::5].ravel())
    logits, labels = torch.cat(logits_kept), torch.cat(labels_kept).long()

    def cross_entropy(temperature: float) -> float:
        return float(F.cross_entropy(logits / temperature, labels, ignore_index=IGNORE_INDEX))

    total = scores(unbinned + sum(matrices.values()))
    by_cover = {}
    for name, matrix in matrices.items():
        s = scores(matrix)
        by_cover[name] = {"oa": s.overall_accuracy, "miou": s.mean_iou, "patches": counts[name]}
    auc = area_under_curve(np.concatenate(reliability), np.concatenate(clear)) if clear else np.nan
    result = Validation(
        total.overall_accuracy,
        total.mean_iou,
        by_cover,
        {c.name: float(total.iou[c.index]) for c in LULC6.classes},
        auc,
        cross_entropy(1.0),
    )
    return result, min(np.geomspace(0.5, 4.0, 61).tolist(), key=cross_entropy)


def _under_cloud(patches: Patches, i: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The i-th image under simulated cloud, and its mask; as it comes where none is clear."""
    if not patches.clear[i].any():
        return patches.cloudy[i], None
    rng = np.random.default_rng([7, i])
    cloudy = simulate_clouds(patches.clear[i], rng, COVERS[i % len(COVERS)])
    return cloudy.optical, cloudy.mask()
