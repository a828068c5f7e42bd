"""Training of CloudLULC-Net on a data set in CloudLULC-Set's layout.

A run is a folder: `metrics.jsonl` (one line per report), `state.safetensors` (to go on from),
`decoded/` (the data set as memory-mapped arrays) and, at the end, `checkpoint.safetensors`. The
same arguments give the same weights, whether the run was interrupted or not.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model import resume as training_state
from model.anchor import SemanticAnchor
from model.augment import Augmentation, TrainingSample, training_sample
from model.checkpoint import Checkpoint, load, of_network
from model.checkpoint import save as save_checkpoint
from model.dataset import Patches, decode
from model.inputs import INPUTS
from model.legend import LULC6
from model.losses import PLUS, LossWeights, anchor_ramp, total_loss
from model.network import PRESETS, CloudLULCNet
from model.progress import Progress
from model.validation import validate

AVERAGE = 0.999  # decay of the moving average of the weights
CLIP = 1.0  # largest norm of a gradient
WEIGHT_DECAY = 0.05
_STATE = "state.safetensors"
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
    augmentation = augmentation or Augmentation()
    decoded = {s: decode(dataset, s, out / "decoded", labels_from_1) for s in ("train", "val")}
    patches = decoded["train"]
    if crop > min(patches.label.shape[1:]):
        raise ValueError(f"crop: got {crop}, patches are {patches.label.shape[1:]} pixels")
    if threads is not None:
        torch.set_num_threads(threads)
    fast = _bf16_is_fast(device) if bf16 is None else bf16
    autocast = torch.autocast(device, torch.bfloat16) if fast else contextlib.nullcontext()
    if loss.classes is None and balance:
        loss = LossWeights(**{**vars(loss), "classes": class_weights(patches.label)})
    first = None if start is None else load(start)
    if first is not None and first.config != PRESETS[preset]:
        raise ValueError(
            f"start {start}: got config {first.config}, expected preset {preset!r}: "
            f"{PRESETS[preset]}"
        )
    arguments = {
        "preset": preset, "start": first and first.digest, "steps": steps, "batch": batch,
        "crop": crop, "lr": lr,
        "warmup": warmup, "seed": seed, "bf16": fast, "loss": json.loads(json.dumps(vars(loss))),
        "augmentation": augmentation._asdict(), "patches": len(patches.label),
    }  # fmt: skip

    torch.manual_seed(seed)
    network = CloudLULCNet(PRESETS[preset])
    if first is None:
        network.set_statistics(*statistics(network, patches))
    else:
        network.load_state_dict(first.state)
    network = network.to(device, memory_format=torch.channels_last)
    anchor = SemanticAnchor(PRESETS[preset]).to(device)
    optimizer = torch.optim.AdamW(
        _parameter_groups([network, anchor]), lr, (0.9, 0.999), weight_decay=WEIGHT_DECAY
    )
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    state = training_state.State({"network": network, "anchor": anchor}, average, optimizer)
    done = 0
    if resume and (out / _STATE).is_file():
        done = training_state.load(out / _STATE, state, arguments)
        report(f"going on after step {done} of {steps}")
    log = Progress(out / "metrics.jsonl", done, report)
    log.note(f"{preset}: {sum(p.numel() for p in network.parameters()):,} parameters, "
             f"{len(patches.label)} patches, bf16 {fast}")  # fmt: skip

    last = steps if stop_at is None else min(steps, stop_at)
    trained = nn.ModuleList([network, anchor]).train()
    for step, samples in _batches(patches, range(done, last), batch, crop, seed, augmentation):
        torch.manual_seed(seed * 1_000_003 + step)  # drop-out does not depend on what came before
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, lr, warmup)
        optical, sar, label, clouded = (
            torch.from_numpy(np.stack(a)).to(device) for a in zip(*samples, strict=True)
        )
        with autocast:
            output = network(optical.float(), sar.float())
        total, parts = total_loss(output, label, anchor, loss, anchor_ramp(step, steps), clouded)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(trained.parameters(), CLIP)
        if not norm.isfinite():
            raise ValueError(f"step {step}: the gradient is not finite; lower lr ({lr})")
        optimizer.step()
        _follow(average, network, step)
        log.step(step + 1, steps, total, parts, optimizer.param_groups[0]["lr"])
        if (step + 1) % validate_every == 0 and step + 1 < steps:
            scores, _ = validate(_averaged(network, average), decoded["val"], batch, autocast)
            log.validation(step + 1, scores)
        if (step + 1) % save_every == 0 or step + 1 == last:
            training_state.save(out / _STATE, state, step + 1, arguments)
    if last < steps:
        return None

    final = _averaged(network, average)
    scores, temperature = validate(final, decoded["val"], batch, autocast)
    log.validation(steps, scores)
    about = {
        "arguments": arguments,
        "validation": {"patches": len(decoded["val"].label), **scores.to_dict()},
        "torch": torch.__version__.split("+")[0],
        **(card or {}),
    }
    checkpoint = of_network(final, INPUTS, LULC6, temperature, about)
    return save_checkpoint(out / _CHECKPOINT, checkpoint, half)


def learning_rate(step: int, steps: int, highest: float, warmup: int) -> float:
    """Linear rise over the warm-up, then a cosine to 0."""
    warmup = max(1, min(warmup, steps // 10))
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def class_weights(label: np.ndarray) -> tuple[float, ...]:
    """Root of median class frequency over class frequency, clipped to 0.5-3."""
    count = np.bincount(label.reshape(-1)[::7], minlength=256)[: len(LULC6.classes)]
    ratio = np.sqrt(np.median(count[count > 0]) / np.maximum(count, 1))
    return tuple(round(float(w), 3) for w in np.clip(ratio, 0.5, 3.0))


def statistics(network: CloudLULCNet, patches: Patches) -> tuple[list[float], list[float]]:
    """Means and standard deviations of the scaled bands of up to 256 cloudy patches."""
    some = np.linspace(0, len(patches.label) - 1, min(256, len(patches.label))).astype(int)
    sums = np.zeros((3, len(network.scaling.mean)))
    for i in some:
        optical, sar, exists = network.scaling.scaled(
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


def _batches(
    patches: Patches, steps: range, batch: int, crop: int, seed: int, how: Augmentation
) -> Iterator[tuple[int, list[TrainingSample]]]:
    """Samples of each step, prepared one step ahead in a thread of their own."""

    def prepare(step: int) -> tuple[int, list[TrainingSample]]:
        rng = np.random.default_rng([seed, step])
        numbers = rng.integers(len(patches.label), size=batch)
        return step, [training_sample(patches, int(i), crop, rng, how) for i in numbers]

    with ThreadPoolExecutor(1) as ahead:
        waiting = [ahead.submit(prepare, step) for step in steps[:2]]
        for step in steps:
            ready = waiting.pop(0).result()
            if step + 2 in steps:
                waiting.append(ahead.submit(prepare, step + 2))
            yield ready


def _parameter_groups(modules: list[nn.Module]) -> list[dict]:
    """Weight decay for kernels and matrices only: not for biases, norms, scales and tokens."""
    named = [(n, p) for m in modules for n, p in m.named_parameters()]
    tokens = ("semantic", "prototypes", "missing")
    bare = [p.ndim < 2 or any(t in n and "attention" not in n for t in tokens) for n, p in named]
    return [
        {"params": [p for (_, p), b in zip(named, bare, strict=True) if not b]},
        {"params": [p for (_, p), b in zip(named, bare, strict=True) if b], "weight_decay": 0.0},
    ]


def _follow(average: dict[str, Tensor], network: nn.Module, step: int) -> None:
    """Moves the average; early on it follows faster, so that the first weights are forgotten."""
    decay = min(AVERAGE, (1 + step) / (10 + step))
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)


def _averaged(network: CloudLULCNet, average: dict[str, Tensor]) -> CloudLULCNet:
    """A copy of the network on the CPU with the averaged weights, in evaluation mode."""
    copy = CloudLULCNet(network.config)
    copy.load_state_dict(average)
    return copy.to(memory_format=torch.channels_last).eval()


def _bf16_is_fast(device: str) -> bool:
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    return device == "cpu" and torch.cpu._is_avx512_bf16_supported()
