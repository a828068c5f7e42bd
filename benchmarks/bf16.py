"""How far bfloat16 changes a map: a checkpoint in both precisions, pixel by pixel.

    python -m benchmarks.bf16 CHECKPOINT [--real DATA] [--set DATASET] [--samples 24]

Prints one JSON line per kind of chip: the share of pixels whose class stays the same, among those
with a confidence of 60 and more in float32 and among the others; the largest change of confidence
that 99.9 % of the pixels stay below. Real chips are the scenes of `real_scenes`, their central 256
pixels; rendered ones are patches of the test split. Both also lie under simulated clouds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.real_scenes import scenes
from model.checkpoint import load
from model.clouds import simulate_clouds
from model.dataset import read_split
from model.patch import read_patch
from model.precision import PRECISIONS
from model.predict import UNKNOWN, Predictor

CONFIDENT = 60
COVER = 0.5
Chip = tuple[np.ndarray, np.ndarray]


class Agreement(NamedTuple):
    """Of two maps of the same pixels; shares are nan without pixels."""

    confident: float  # share of the pixels of confidence >= 60 with the same class
    others: float
    share_confident: float  # of all mapped pixels
    pixels: int
    confidence_change: float  # percent points; 99.9 % of the pixels stay below


def agreement(full: Predictor, half: Predictor, chips: list[Chip]) -> Agreement:
    """Compares a checkpoint in bfloat16 with itself in float32.

    Args:
      full: in float32.
      half: in bfloat16.
      chips: optical (12,y,x) uint16 reflectance x 1e4 and SAR (2,y,x) int16 dB x 100 of each.
    """
    same, confidence, change = [], [], []
    for optical, sar in chips:
        a = full.predict(optical[None], sar[None])
        b = half.predict(optical[None], sar[None])
        mapped = a.confidence != UNKNOWN
        same.append((a.lulc == b.lulc)[mapped])
        confidence.append(a.confidence[mapped])
        change.append(np.abs(a.confidence[mapped].astype(int) - b.confidence[mapped]))
    same, confidence, change = (np.concatenate(x) for x in (same, confidence, change))
    sure = confidence >= CONFIDENT
    return Agreement(
        float(same[sure].mean()) if sure.any() else np.nan,
        float(same[~sure].mean()) if (~sure).any() else np.nan,
        float(sure.mean()),
        same.size,
        float(np.quantile(change, 0.999)),
    )


def clouded(chips: list[Chip]) -> list[Chip]:
    return [
        (simulate_clouds(optical, np.random.default_rng(i), COVER).optical, sar)
        for i, (optical, sar) in enumerate(chips)
    ]


def real_chips(data: Path) -> Iterator[Chip]:
    for scene in scenes(data):
        height, width = (min(256, n - n % 32) for n in scene.optical.shape[1:])
        y, x = ((n - m) // 2 for n, m in zip(scene.optical.shape[1:], (height, width), strict=True))
        window = (..., slice(y, y + height), slice(x, x + width))
        yield scene.optical[window], scene.sar[window]


def rendered_chips(dataset: Path) -> Iterator[Chip]:
    for row in read_split(dataset, "test"):
        patch = read_patch(row)
        yield patch.clear, patch.sar


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--real", type=Path, metavar="DATA")
    parser.add_argument("--set", type=Path, metavar="DATASET")
    parser.add_argument("--samples", type=int, default=24, help="rendered patches")
    args = parser.parse_args()
    checkpoint = load(args.checkpoint)
    ways = [Predictor(checkpoint, threads=1, precision=name) for name in PRECISIONS]
    kinds = {}
    if args.real:
        kinds["real"] = list(real_chips(args.real))
    if args.set:
        kinds["rendered"] = list(islice(rendered_chips(args.set), args.samples))
    for kind, chips in kinds.items():
        seen = [c for c in chips if c[0].any()]
        for name, some in ((kind, chips), (f"{kind}, simulated clouds", clouded(seen))):
            line = {k: round(v, 5) for k, v in agreement(*ways, some)._asdict().items()}
            print(json.dumps({"chips": name, "number": len(some), **line}), flush=True)


if __name__ == "__main__":
    main()
