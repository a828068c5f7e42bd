"""Training of CloudLULC-Net on a data set in CloudLULC-Set's layout.

A run is a folder: `metrics.jsonl` (one line per report), `state.safetensors` (to go on from),
`decoded/` (the data set as memory-mapped arrays) and, at the end, `checkpoint.safetensors`. The
same arguments give the same weights, whether the run was interrupted or not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from model.augment import Augmentation
from model.checkpoint import Checkpoint, load, of_network
from model.checkpoint import save as save_checkpoint
from model.config import PRESETS
from model.dataset import Patches, decode
from model.fit import Recipe, autocast, fit
from model.inputs import INPUTS
from model.legend import LULC6
from model.losses import PLUS, LossWeights
from model.network import CloudLULCNet
from model.precision import bfloat16_is_fast
from model.progress import Progress
from model.scaling import Scaling
from model.validation import validate

_CHECKPOINT = "checkpoint.safetensors"


def train(
    dataset: str | Path,
    out: str | Path,
    preset: str = "tiny",
    start: str | Path | None = None,
    steps: int = 40_000,
    batch: int = 16,
    crop: int = 256,
    lr: float = 4e-4,
    warmup: int = 1500,
    seed: int = 0,
    device: str = "cpu",
    threads: int | None = None,
    bf16: bool | None = None,
    resume: bool = True,
    save_every: int = 500,
    validate_every: int = 1000,
    labels_from_1: bool = False,
    balance: bool = True,
    loss: LossWeights = PLUS,
    augmentation: Augmentation | None = None,
    card: dict | None = None,
    half: bool = True,
    stop_at: int | None = None,
    report: Callable[[str], None] = print,
) -> Checkpoint | None:
    """Trains a network and writes its checkpoint.

    Args:
      dataset: root of the data set; see `model.dataset`. Checked as a whole before the first step.
      out: folder of the run; created.
      preset: name of a config in `PRESETS`.
      start: checkpoint whose weights and band statistics are taken at the first step; its config
        has to be the preset's. None: random weights, statistics of this data set.
      steps: optimiser steps in all; the learning rate falls as a cosine to 0 at the last.
      batch: crops per step.
      crop: pixels per side of a crop, a multiple of 32, at most the patches' size.
      lr: highest learning rate of AdamW.
      warmup: steps over which the learning rate rises; at most a tenth of `steps` is used.
      seed: of weights, samples and drop-out.
      device: torch device.
      threads: torch threads; None leaves torch's own number.
      bf16: compute in bfloat16; None: where the device does that fast.
      resume: go on from the folder's saved state if there is one.
      save_every: steps between two saved states.
      validate_every: steps between two passes over the val split.
      labels_from_1: labels are 1-6, and 0 is unknown.
      balance: weigh classes by the root of their inverse frequency, clipped to 0.5-3.
      loss: weights of the loss.
      augmentation: of the samples; the default of `Augmentation` if None.
      card: added to the checkpoint's card: what the data are, licences, limits. Plain JSON.
      half: store float16 weights.
      stop_at: leave after this step with the state saved, as an interruption would.
      report: takes progress lines.

    Returns:
      The checkpoint as stored, or None if the run left at `stop_at`.

    Raises:
      ValueError: an argument or a file of the data set is wrong; the message names it.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset: got {preset!r}, expected one of {sorted(PRESETS)}")
    if crop % 32 or min(steps, batch, crop, save_every, validate_every) < 1:
        raise ValueError(
            f"steps {steps}, batch {batch}, crop {crop}, save_every {save_every}, validate_every "
            f"{validate_every}: expected positive numbers, crop a multiple of 32"
        )
    out = Path(out)
    splits = {s: decode(dataset, s, out / "decoded", labels_from_1) for s in ("train", "val")}
    if threads is not None:
        torch.set_num_threads(threads)
    if loss.classes is None and balance:
        loss = LossWeights(**{**vars(loss), "classes": class_weights(splits["train"].label)})
    first = None if start is None else load(start)
    if first is not None and first.config != PRESETS[preset]:
        raise ValueError(
            f"start {start}: got config {first.config}, expected preset {preset!r}: "
            f"{PRESETS[preset]}"
        )
    fast = bfloat16_is_fast(device) if bf16 is None else bf16
    recipe = Recipe(
        steps, batch, crop, lr, warmup, seed, fast, loss, augmentation or Augmentation()
    )
    arguments = recipe.arguments(splits["train"], preset=preset, start=first and first.digest)

    torch.manual_seed(seed)
    network = CloudLULCNet(PRESETS[preset])
    if first is None:
        network.scaling.set_statistics(*statistics(network.scaling, splits["train"]))
    else:
        network.load_state_dict(first.state)
    final = fit(
        network, splits, out, recipe, arguments, device, resume, save_every, validate_every,
        stop_at, report,
    )  # fmt: skip
    if final is None:
        return None

    scores, temperature = validate(final, splits["val"], batch, autocast(device, fast))
    Progress(out / "metrics.jsonl", steps, report).validation(steps, scores)
    about = {
        "arguments": arguments,
        "validation": {"patches": len(splits["val"].label), **scores.to_dict()},
        "torch": torch.__version__.split("+")[0],
        **(card or {}),
    }
    checkpoint = of_network(final, INPUTS, LULC6, temperature, about)
    return save_checkpoint(out / _CHECKPOINT, checkpoint, half)


def class_weights(label: np.ndarray) -> tuple[float, ...]:
    """Root of median class frequency over class frequency, clipped to 0.5-3."""
    count = np.bincount(label.reshape(-1)[::7], minlength=256)[: len(LULC6.classes)]
    ratio = np.sqrt(np.median(count[count > 0]) / np.maximum(count, 1))
    return tuple(round(float(w), 3) for w in np.clip(ratio, 0.5, 3.0))


def statistics(scaling: Scaling, patches: Patches) -> tuple[list[float], list[float]]:
    """Means and standard deviations of the scaled bands of up to 256 cloudy patches."""
    some = np.linspace(0, len(patches.label) - 1, min(256, len(patches.label))).astype(int)
    sums = np.zeros((3, len(scaling.mean)))
    for i in some:
        optical, sar, exists = scaling.scaled(
            torch.from_numpy(patches.cloudy[i].astype(np.float32))[None],
            torch.from_numpy(patches.sar[i].astype(np.float32))[None],
        )
        x, known = torch.cat([optical, sar], 1).double(), exists.double()
        for row, term in zip(sums, (known, known * x, known * x * x), strict=True):
            row += term.sum((0, 2, 3)).numpy()
    count = np.maximum(sums[0], 1)
    mean = sums[1] / count
    std = np.sqrt(np.maximum(sums[2] / count - mean**2, 1e-4))
    return mean.tolist(), std.tolist()
