"""Small checkpoints for tests of the pipeline."""

from pathlib import Path

import torch

from model import checkpoint
from model.config import Config
from model.inputs import INPUTS, InputSpec
from model.legend import LULC6, Legend
from model.network import CloudLULCNet
from pipeline.canary import verdict_url
from transforms.store import write_json

MICRO = Config(
    stem=8,
    dims=(8, 16, 24, 32),
    optical_depths=(1, 1, 1, 1),
    sar_depths=(1, 1, 1, 1),
    tokens=16,
    latent=8,
    usmt_depth=1,
    decoder=(16, 8),
)


def micro_checkpoint(path: Path, inputs: InputSpec = INPUTS, legend: Legend = LULC6) -> str:
    """Write a checkpoint of a network with random weights; returns its path.

    Its output is stretched, so that an untrained network gives maps of several classes.
    """
    torch.manual_seed(0)
    network = CloudLULCNet(MICRO)
    with torch.no_grad():
        last = [m for m in network.modules() if getattr(m, "out_channels", 0) == MICRO.classes]
        last[-1].weight *= 50
    path.parent.mkdir(parents=True, exist_ok=True)
    made = checkpoint.of_network(network, inputs, legend, 1.0, {"name": "micro"})
    checkpoint.save(path, made)
    # Its maps are no land cover: without this the canary would refuse it.
    verdict = {"digest": checkpoint.load(path).digest, "passed": False, "accepted": True}
    write_json(verdict_url(str(path)), verdict)
    return str(path)
