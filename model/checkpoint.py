"""Checkpoints: weights with their meaning, in one safetensors file.

The tensors are the state of a `CloudLULCNet`; everything else is one JSON text in the file's
metadata. Equal content gives equal bytes, and the digest of those bytes names the checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from model.card import METADATA_KEY
from model.config import Config
from model.inputs import InputSpec
from model.legend import Legend
from model.network import CloudLULCNet

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and what it needs to be used rightly."""

    config: Config
    inputs: InputSpec  # bands, units, scale and nodata of its chips
    legend: Legend  # what its classes mean
    state: dict[str, torch.Tensor]  # float32 tensors by name, on the CPU
    temperature: float = 1.0  # logits are divided by it before the softmax
    card: dict = field(default_factory=dict)  # licence, training data, scores: plain JSON
    digest: str = ""  # sha256 of the file, hexadecimal; "" before it is saved

    def network(self) -> CloudLULCNet:
        """The network with these weights, ready for inference."""
        network = _fresh(self.config)
        network.load_state_dict(self.state)
        return network.eval()


def save(path: str | Path, checkpoint: Checkpoint, half: bool = False) -> Checkpoint:
    """Writes a checkpoint: a temporary file beside `path`, then a rename.

    Args:
      path: file to write, usually `*.safetensors`; replaced if it exists.
      checkpoint: what to write; its digest is not looked at.
      half: store float16, at half the size.

    Returns:
      The checkpoint as `load` gives it back, rounded to float16 if `half`, with its digest.

    Raises:
      ValueError: the state does not fit the config, the legend does not fit the classes, or a
        weight is not finite once stored.
    """
    path = Path(path)
    _check(str(path), checkpoint)
    dtype = torch.float16 if half else torch.float32
    stored = {k: v.detach().cpu().to(dtype).contiguous() for k, v in checkpoint.state.items()}
    broken = sorted(k for k, v in stored.items() if not v.isfinite().all())
    if broken:
        raise ValueError(f"checkpoint {path}: weights that are not finite as {dtype}: {broken[:5]}")
    about = {
        "format": FORMAT,
        "config": checkpoint.config.to_dict(),
        "inputs": checkpoint.inputs.to_dict(),
        "legend": checkpoint.legend.to_dict(),
        "temperature": checkpoint.temperature,
        "card": checkpoint.card,
    }
    text = json.dumps(about, sort_keys=True, allow_nan=False)
    data = to_bytes(stored, {METADATA_KEY: text})
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as f:
        temporary = Path(f.name)
    try:
        temporary.write_bytes(data)
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return load(path)


def load(path: str | Path) -> Checkpoint:
    """Reads a checkpoint; float16 weights become float32.

    Raises:
      ValueError: there is no such file, it is not a checkpoint of this project, or its parts do
        not fit each other.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        with safe_open(path, framework="pt") as f:
            metadata = f.metadata() or {}
            state = {k: f.get_tensor(k) for k in f.keys()}
    except (OSError, SafetensorError) as e:
        raise ValueError(f"checkpoint {path}: not a readable safetensors file: {e}") from e
    if METADATA_KEY not in metadata:
        raise ValueError(
            f"checkpoint {path}: metadata key {METADATA_KEY!r} is missing (found "
            f"{sorted(metadata)}); expected a file written by `cloudlulc train`"
        )
    try:
        about = json.loads(metadata[METADATA_KEY])
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']}, expected {FORMAT}")
        checkpoint = Checkpoint(
            config=Config.from_dict(about["config"]),
            inputs=InputSpec.from_dict(about["inputs"]),
            legend=Legend.from_dict(about["legend"]),
            state={k: v.float() for k, v in state.items()},
            temperature=about["temperature"],
            card=about["card"],
            digest=hashlib.sha256(data).hexdigest(),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ValueError(f"checkpoint {path}: metadata cannot be used: {e!r}") from e
    _check(str(path), checkpoint)
    return checkpoint


def of_network(
    network: CloudLULCNet, inputs: InputSpec, legend: Legend, temperature: float, card: dict
) -> Checkpoint:
    """A checkpoint of a network's present weights, copied to the CPU as float32."""
    state = {k: v.detach().cpu().float().clone() for k, v in network.state_dict().items()}
    return Checkpoint(network.config, inputs, legend, state, temperature, card)


def require_match(checkpoint: Checkpoint, inputs: InputSpec, legend: Legend) -> None:
    """Stops when a cube and a checkpoint do not speak of the same bands and classes.

    Raises:
      ValueError: bands, units or scales differ, or the legend does; both are printed.
    """
    name = f"checkpoint {checkpoint.digest[:12] or '(not saved)'}"
    if checkpoint.inputs != inputs:
        raise ValueError(
            f"{name}: other inputs than the chips: checkpoint takes {checkpoint.inputs}, chips "
            f"hold {inputs}; use a checkpoint trained on these bands, or make the chips anew"
        )
    if checkpoint.legend != legend:
        raise ValueError(
            f"{name}: other legend than the map: checkpoint has {checkpoint.legend}, map has "
            f"{legend}; use a checkpoint of this legend, or another output folder"
        )


def _fresh(config: Config) -> CloudLULCNet:
    """A network of random weights; the caller's random numbers stay where they are.

    (Not on torch's meta device: its first use imports for seven seconds.)
    """
    with torch.random.fork_rng(devices=[]):
        return CloudLULCNet(config)


def _check_size(path: str, checkpoint: Checkpoint) -> None:
    """Raises ValueError where a config asks for more weights than there are.

    A network is made to compare its tensors with those of the file: a config of nonsense must not
    take all memory first. Each count below is of weights that every network of it has.
    """
    c = checkpoint.config
    depths = [max(pair) for pair in zip(c.optical_depths, c.sar_depths, strict=True)]
    least = sum(n * d * d for n, d in zip(depths, c.dims, strict=True))
    least += c.stem + c.tokens * c.tokens + c.latent + sum(c.decoder) + c.usmt_depth
    least += c.classes * c.class_tokens
    stored = sum(tensor.numel() for tensor in checkpoint.state.values())
    if least > stored:
        raise ValueError(
            f"checkpoint {path}: config is of at least {least} weights, the file holds {stored}; "
            "tensors do not fit the config"
        )


def _check(path: str, checkpoint: Checkpoint) -> None:
    """Raises ValueError when config, legend, temperature and tensors do not fit together."""
    classes, legend = checkpoint.config.classes, checkpoint.legend
    if classes != len(legend.classes):
        raise ValueError(
            f"checkpoint {path}: config has {classes} classes, legend {legend.name!r} has "
            f"{len(legend.classes)}"
        )
    temperature = checkpoint.temperature
    if not (isinstance(temperature, int | float) and 0 < temperature < float("inf")):
        raise ValueError(f"checkpoint {path}: temperature {temperature!r:.80}, expected > 0")
    _check_size(path, checkpoint)
    expected = {k: tuple(v.shape) for k, v in _fresh(checkpoint.config).state_dict().items()}
    got = {k: tuple(v.shape) for k, v in checkpoint.state.items()}
    if got != expected:
        missing, unknown = (
            sorted(expected.keys() - got.keys()),
            sorted(got.keys() - expected.keys()),
        )
        other = sorted(k for k in got.keys() & expected.keys() if got[k] != expected[k])
        shapes = {k: f"{got[k]}, expected {expected[k]}" for k in other[:3]}
        raise ValueError(
            f"checkpoint {path}: tensors do not fit the config: missing {missing[:3]} "
            f"({len(missing)}), unknown {unknown[:3]} ({len(unknown)}), "
            f"shapes {shapes} ({len(other)})"
        )
