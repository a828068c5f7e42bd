"""The canary: a new checkpoint maps a few real chips before it maps a country.

Two checkpoints are compared on the same golden chips: shares of the classes, agreement pixel by
pixel, what they say of themselves. A network that is broken, of other inputs or off by a class
shows itself here in seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.checkpoint import Checkpoint
from model.legend import Legend
from model.predict import UNKNOWN, Prediction, Predictor

GOLDEN = Path(__file__).parent / "canary.npz"
"""Chips of real scenes: see model/weights/README.md."""

MOST_DRIFT = 0.25
"""Share of the pixels that may change hands between classes, in sum: total variation."""

LEAST_AGREEMENT = 0.5
"""Share of the pixels that have to get the class that the other checkpoint gives them."""


class Golden(NamedTuple):
    """Chips to compare checkpoints on."""

    optical: np.ndarray  # (n,12,y,x) uint16 reflectance x 1e4, 0 nodata
    sar: np.ndarray  # (n,2,y,x) int16 dB x 100, -32768 nodata


class Comparison(NamedTuple):
    """A checkpoint beside another one."""

    digest: str
    against: str  # digest of the other one
    drift: float  # total variation between the shares of the classes, 0-1
    agreement: float  # share of the pixels with one class, 0-1
    shares: dict[str, tuple[float, float]]  # by class: of the checkpoint, of the other one
    confidence: tuple[float, float]  # means, percent
    reliability: tuple[float, float]  # means, percent

    @property
    def passed(self) -> bool:
        return self.drift <= MOST_DRIFT and self.agreement >= LEAST_AGREEMENT

    def to_dict(self) -> dict:
        return self._asdict() | {"passed": self.passed}


def golden_chips() -> Golden:
    with np.load(GOLDEN, allow_pickle=False) as chips:
        return Golden(chips["optical"], chips["sar"])


def compare(checkpoint: Checkpoint, against: Checkpoint, chips: Golden) -> Comparison:
    """Map the chips with both and compare the maps.

    Raises:
      ValueError: the checkpoints have different legends.
    """
    if checkpoint.legend != against.legend:
        raise ValueError(
            f"canary: legends {checkpoint.legend.name!r} and {against.legend.name!r} differ, their "
            "maps cannot be compared; name a checkpoint of the same legend by --against"
        )
    new, old = (Predictor(c, threads=1).predict(*chips) for c in (checkpoint, against))
    both = [_shares(maps, checkpoint.legend) for maps in (new, old)]
    names = [c.name for c in checkpoint.legend.classes]
    return Comparison(
        checkpoint.digest,
        against.digest,
        round(sum(abs(both[0][name] - both[1][name]) for name in names) / 2, 4),
        round(float((new.lulc == old.lulc).mean()), 4),
        {name: (round(both[0][name], 4), round(both[1][name], 4)) for name in names},
        tuple(_mean(maps.confidence) for maps in (new, old)),
        tuple(_mean(maps.reliability) for maps in (new, old)),
    )


def _shares(maps: Prediction, legend: Legend) -> dict[str, float]:
    return {c.name: float((maps.lulc == c.code).mean()) for c in legend.classes}


def _mean(values: np.ndarray) -> float:
    return round(float(values[values != UNKNOWN].mean()), 2)
