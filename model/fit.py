"""The training loop: a network, its samples, and a state to go on from.

A run goes on exactly where it stopped: the same arguments give the same weights, whether the run
was interrupted or not. The network may be any with the `Output` of `model.network`, a `config` and
a `scaling`.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from model import resume as training_state
from model.anchor import SemanticAnchor
from model.augment import Augmentation, TrainingSample, training_sample
from model.dataset import Patches
from model.losses import PLUS, LossWeights, anchor_ramp, total_loss
from model.progress import Progress
from model.validation import validate

AVERAGE = 0.999  # decay of the moving average of the weights
CLIP = 1.0  # largest norm of a gradient
WEIGHT_DECAY = 0.05
_STATE = "state.safetensors"


class Recipe(NamedTuple):
    """What decides the weights, beside the network and the data."""

    steps: int  # of the optimiser; the learning rate falls as a cosine to 0 at the last
    batch: int  # crops per step
    crop: int  # pixels per side, a multiple of 32, at most the patches' size
    lr: float  # highest learning rate of AdamW
    warmup: int  # steps over which the learning rate rises; at most a tenth of `steps` is used
    seed: int  # of samples and drop-out
    bf16: bool = False  # compute in bfloat16
    loss: LossWeights = PLUS
    augmentation: Augmentation = Augmentation()

    def arguments(self, patches: Patches, **network: object) -> dict:
        """Plain JSON: a run may only go on with equal arguments."""
        return {
            **network,
            **self._asdict(),
            "loss": json.loads(json.dumps(vars(self.loss))),
            "augmentation": self.augmentation._asdict(),
            "patches": len(patches.label),
        }


def fit(
    network: nn.Module,
    splits: dict[str, Patches],
    out: Path,
    recipe: Recipe,
    arguments: dict,
    device: str = "cpu",
    resume: bool = True,
    save_every: int = 500,
    validate_every: int = 1000,
    stop_at: int | None = None,
    report: Callable[[str], None] = print,
) -> nn.Module | None:
    """Trains a network.

    Args:
      network: with its first weights and band statistics; trained in place.
      splits: "train" and "val".
      out: folder of `metrics.jsonl` and `state.safetensors`.
      recipe: see `Recipe`.
      arguments: `Recipe.arguments` with what else tells this run from another.
      device: torch device.
      resume: go on from the folder's saved state if there is one.
      save_every: steps between two saved states.
      validate_every: steps between two passes over the val split.
      stop_at: leave after this step with the state saved, as an interruption would.
      report: takes progress lines.

    Returns:
      A copy of the network on the CPU with the averaged weights, in evaluation mode; None if the
      run left at `stop_at`.

    Raises:
      ValueError: the crop is larger than the patches, the saved state is another run's or
        unreadable, or a gradient is not finite.
    """
    patches, steps = splits["train"], recipe.steps
    if recipe.crop > min(patches.label.shape[1:]):
        raise ValueError(f"crop: got {recipe.crop}, patches are {patches.label.shape[1:]} pixels")
    network = network.to(device, memory_format=torch.channels_last)
    anchor = SemanticAnchor(network.config).to(device)
    optimizer = torch.optim.AdamW(
        _parameter_groups([network, anchor]), recipe.lr, (0.9, 0.999), weight_decay=WEIGHT_DECAY
    )
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    state = training_state.State({"network": network, "anchor": anchor}, average, optimizer)
    done = 0
    if resume and (out / _STATE).is_file():
        done = training_state.load(out / _STATE, state, arguments)
        report(f"going on after step {done} of {steps}")
    log = Progress(out / "metrics.jsonl", done, report)
    log.note(f"{sum(p.numel() for p in network.parameters()):,} parameters, "
             f"{len(patches.label)} patches, bf16 {recipe.bf16}")  # fmt: skip

    last = steps if stop_at is None else min(steps, stop_at)
    trained = nn.ModuleList([network, anchor]).train()
    for step, samples in _batches(patches, range(done, last), recipe):
        # Drop-out does not depend on what came before.
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, recipe.lr, recipe.warmup)
        optical, sar, label, clouded, ground = (
            torch.from_numpy(np.stack(a)).to(device) for a in zip(*samples, strict=True)
        )
        with autocast(device, recipe.bf16):
            output = network(optical.float(), sar.float())
        if output.restored is not None:
            ground = _standardised(network, ground.float(), sar.float())
        total, parts = total_loss(
            output, label, anchor, recipe.loss, anchor_ramp(step, steps), clouded, ground
        )
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(trained.parameters(), CLIP)
        if not norm.isfinite():
            raise ValueError(f"step {step}: the gradient is not finite; lower lr ({recipe.lr})")
        optimizer.step()
        _follow(average, network, step)
        log.step(step + 1, steps, total, parts, optimizer.param_groups[0]["lr"])
        if (step + 1) % validate_every == 0 and step + 1 < steps:
            scores, _ = validate(
                _averaged(network, average), splits["val"], recipe.batch,
                autocast(device, recipe.bf16),
            )  # fmt: skip
            log.validation(step + 1, scores)
        if (step + 1) % save_every == 0 or step + 1 == last:
            training_state.save(out / _STATE, state, step + 1, arguments)
    return None if last < steps else _averaged(network, average)


def autocast(device: str, bf16: bool) -> contextlib.AbstractContextManager:
    """Computing in bfloat16, or not."""
    return torch.autocast(device, torch.bfloat16) if bf16 else contextlib.nullcontext()


def learning_rate(step: int, steps: int, highest: float, warmup: int) -> float:
    """Linear rise over the warm-up, then a cosine to 0."""
    warmup = max(1, min(warmup, steps // 10))
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _batches(
    patches: Patches, steps: range, recipe: Recipe
) -> Iterator[tuple[int, list[TrainingSample]]]:
    """Samples of each step, prepared one step ahead in a thread of their own."""

    def prepare(step: int) -> tuple[int, list[TrainingSample]]:
        rng = np.random.default_rng([recipe.seed, step])
        numbers = rng.integers(len(patches.label), size=recipe.batch)
        return step, [
            training_sample(patches, int(i), recipe.crop, rng, recipe.augmentation) for i in numbers
        ]

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


def _averaged(network: nn.Module, average: dict[str, Tensor]) -> nn.Module:
    """A copy of the network on the CPU with the averaged weights, in evaluation mode."""
    averaged = copy.deepcopy(network)
    averaged.load_state_dict(average)
    return averaged.to("cpu", memory_format=torch.channels_last).eval()


def _standardised(network: nn.Module, ground: Tensor, sar: Tensor) -> Tensor:
    """Clear image (B,12,H,W) as chips hold it -> standardised bands, nan where unknown."""
    bands, *_ = network.scaling(ground, sar)
    return torch.where(ground > 0, bands, torch.nan)
