"""How often the 95 % intervals of `cloudlulc assess` hold the truth, by simulation.

A map of 10,000 km2 with known truth is sampled again and again by the design that `cloudlulc
assess design` would make, and estimated as `cloudlulc assess estimate` does. Prints a JSON line
per figure: how often the interval held the truth, the plain normal interval beside it, and how
often the figure was too rare for the normal one.

  python -m benchmarks.assess_coverage --draws 2000
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from transforms.estimators import NORMAL, Estimate, Sample, producers_accuracy, proportion, ratio
from transforms.sample_design import design

CLASSES = ("water", "forest", "grassland", "barren", "built-up", "cropland")
REGIMES = ("clear", "doubtful", "cloudy", "no optical")

# Shares of the map and accuracies of the size that 10 m maps of the tropics have (Venter et al.
# 2022, Remote Sensing 14:4101, for the order of the classes); cloudy pixels are mapped worse.
CLASS_SHARE = (0.03, 0.42, 0.22, 0.01, 0.02, 0.30)
REGIME_SHARE = (0.45, 0.15, 0.30, 0.10)
USERS_ACCURACY = (0.95, 0.92, 0.75, 0.65, 0.80, 0.82)
REGIME_FACTOR = (1.0, 0.97, 0.90, 0.85)
MISTAKEN_FOR = (  # row: mapped class; where its errors belong
    (0.00, 0.30, 0.30, 0.20, 0.05, 0.15),
    (0.03, 0.00, 0.60, 0.01, 0.02, 0.34),
    (0.02, 0.30, 0.00, 0.06, 0.05, 0.57),
    (0.10, 0.05, 0.40, 0.00, 0.25, 0.20),
    (0.02, 0.08, 0.30, 0.20, 0.00, 0.40),
    (0.01, 0.22, 0.70, 0.03, 0.04, 0.00),
)
PIXELS = 10**8


def population() -> tuple[list[str], np.ndarray]:
    """Names of the strata, and (stratum, reference class) int64 pixels."""
    names, truth = [], []
    for c, name in enumerate(CLASSES):
        for regime, share, factor in zip(REGIMES, REGIME_SHARE, REGIME_FACTOR, strict=True):
            right = USERS_ACCURACY[c] * factor
            parts = (1 - right) * np.array(MISTAKEN_FOR[c])
            parts[c] = right
            names.append(f"{name}/{regime}")
            truth.append(np.round(PIXELS * CLASS_SHARE[c] * share * parts))
    return names, np.array(truth, np.int64)


def coverage(
    draws: int, seed: int, minimum: int = 30, standard_error: float = 0.0125
) -> Iterator[dict[str, Any]]:
    """Draw samples by the design and compare every interval with the truth."""
    names, truth = population()
    pixels = truth.sum(axis=1)
    km2 = pixels / 1e4
    mapped = np.repeat(np.arange(len(CLASSES)), len(REGIMES))
    plan = design(names, pixels, km2, "0.8", standard_error, minimum=minimum)
    right = truth[np.arange(len(names)), mapped]
    known = {"overall accuracy": right.sum() / pixels.sum()}
    for k, name in enumerate(CLASSES):
        own = right[mapped == k].sum()
        known[f"area of {name}"] = truth[:, k].sum() / pixels.sum()
        known[f"user's accuracy of {name}"] = own / pixels[mapped == k].sum()
        known[f"producer's accuracy of {name}"] = own / truth[:, k].sum()

    rng = np.random.default_rng(seed)
    held = {figure: np.zeros(3) for figure in known}
    stratum = np.repeat(np.arange(len(names)), plan.sizes)
    for _ in range(draws):
        counts = [
            rng.multivariate_hypergeometric(row, n)
            for row, n in zip(truth, plan.sizes, strict=True)
        ]
        reference = np.concatenate([np.repeat(np.arange(len(CLASSES)), row) for row in counts])
        sample = Sample(stratum, km2, pixels)
        for figure, estimate in _figures(sample, mapped[stratum], reference).items():
            low, high = estimate.normal
            held[figure] += (
                estimate.low <= known[figure] <= estimate.high,
                low <= known[figure] <= high,
                estimate.interval != NORMAL,
            )
    for figure, sums in held.items():
        chosen, normal, rare = (sums / draws).tolist()
        yield {
            "figure": figure,
            "truth": round(float(known[figure]), 4),
            "coverage": round(chosen, 4),
            "coverage_of_normal": round(normal, 4),
            "not_normal": round(rare, 4),
            "draws": draws,
            "samples": int(plan.sizes.sum()),
        }


def _figures(sample: Sample, mapped: np.ndarray, truth: np.ndarray) -> dict[str, Estimate]:
    right = mapped == truth
    figures = {"overall accuracy": proportion(sample, right)}
    for k, name in enumerate(CLASSES):
        here, there = mapped == k, truth == k
        figures[f"area of {name}"] = proportion(sample, there)
        figures[f"user's accuracy of {name}"] = ratio(sample, right & here, here)
        figures[f"producer's accuracy of {name}"] = producers_accuracy(sample, here, there)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minimum", type=int, default=30)
    parser.add_argument("--standard-error", type=float, default=0.0125)
    args = parser.parse_args()
    for line in coverage(args.draws, args.seed, args.minimum, args.standard_error):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
