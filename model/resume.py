"""The state of a training run between two steps: safetensors, and JSON for the rest.

Random numbers need no state: every step draws from a generator made of the seed and the step.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

_KEY = "cloudlulc-training"


class State(NamedTuple):
    """What changes from step to step."""

    modules: dict[str, nn.Module]  # by name; the network and what is trained along
    average: dict[str, Tensor]  # exponential moving average of the network's state
    optimizer: torch.optim.Optimizer


def save(path: Path, state: State, step: int, arguments: dict) -> None:
    """Writes the state after `step` steps: a temporary file, then a rename.

    Args:
      path: file to write.
      state: see `State`.
      step: steps done.
      arguments: plain JSON; a run may only go on with equal arguments.
    """
    tensors = {f"average/{k}": v for k, v in state.average.items()}
    for name, module in state.modules.items():
        tensors |= {f"module/{name}/{k}": v for k, v in module.state_dict().items()}
    for i, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{i}/{k}": v for k, v in moments.items()}
    about = json.dumps({"step": step, "arguments": arguments}, sort_keys=True)
    temporary = path.with_suffix(".writing")
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary, {_KEY: about}
    )
    os.replace(temporary, path)


def load(path: Path, state: State, arguments: dict) -> int:
    """Puts a saved state back in place; returns the steps done.

    Raises:
      ValueError: the file cannot be read, or belongs to a run with other arguments.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[_KEY])
            tensors = {k: file.get_tensor(k) for k in file.keys()}
    except (OSError, SafetensorError, KeyError) as e:
        raise ValueError(f"training state {path}: cannot be read: {e!r}; remove it") from e
    before = about["arguments"]
    other = sorted(k for k in before.keys() | arguments.keys() if before.get(k) != arguments.get(k))
    if other:
        changes = {k: (before.get(k), arguments.get(k)) for k in other}
        raise ValueError(
            f"training state {path}: made with other arguments (before, now): {changes}; use the "
            "same ones, another output folder, or start over with resume=False"
        )
    for name, module in state.modules.items():
        prefix = f"module/{name}/"
        module.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
    for key, value in state.average.items():
        value.copy_(tensors[f"average/{key}"])
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, i, name = key.split("/")
            moments.setdefault(int(i), {})[name] = value
    known = state.optimizer.state_dict()
    state.optimizer.load_state_dict({**known, "state": moments})
    return about["step"]
