"""An assessment and a sample's design as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transforms.estimators import RARE
from transforms.strata import Strata


def design_text(strata: Strata, sizes: np.ndarray, expected_se: float) -> str:
    """Strata with their sizes, and what the sample is expected to reach."""
    lines = [f"{'stratum':24} {'pixels':>14} {'km2':>14} {'share':>7} {'samples':>8}"]
    share = strata.km2 / strata.km2.sum()
    for h, name in enumerate(strata.names):
        lines.append(
            f"{name:24} {strata.pixels[h]:14,} {strata.km2[h]:14,.3f} {share[h]:7.2%} {sizes[h]:8}"
        )
    lines.append(
        f"{'all':24} {strata.pixels.sum():14,} {strata.km2.sum():14,.3f} {1:7.0%} {sizes.sum():8}"
    )
    lines.append(
        f"expected standard error of overall accuracy: {expected_se:.4f}, if the expected "
        "accuracies hold"
    )
    return "\n".join(lines)


def assessment_text(document: dict[str, Any]) -> str:
    """Counts, then estimates or the reasons why there are none."""
    counts, samples = document["counts"], document["samples"]
    lines = [
        document["title"],
        f"{samples['interpreted']} of {samples['rows']} samples interpreted; plain counts, rows "
        "map, columns reference:",
        *_matrix(counts["map_by_reference"]),
        f"{counts['right']} of {counts['of']} samples agree; that is no accuracy of the map: the "
        "strata were not sampled alike",
    ]
    if document["refused"]:
        lines.append("no estimates and no intervals:")
        return "\n".join(lines + [f"  {reason}" for reason in document["refused"]])
    lines += [
        "",
        f"overall accuracy  {_percent(document['overall_accuracy'])}",
        *(
            f"  {name:16}{_percent(estimate)}  ({estimate['samples']} samples)"
            for name, estimate in document["overall_accuracy_by_cloud"].items()
        ),
        "",
        f"{'class':12} {'user accuracy':>22} {'producer accuracy':>22} {'mapped km2':>13} "
        f"{'area km2, 95 % interval':>40}",
    ]
    for name, figures in document["classes"].items():
        area = figures["area_km2"]
        accuracies = (figures["users_accuracy"], figures["producers_accuracy"])
        shown = " ".join(f"{_percent(a) if a else 'no sample':>22}" for a in accuracies)
        interval = f"{area['value']:,.3f} ({area['low']:,.3f} to {area['high']:,.3f}){_mark(area)}"
        lines.append(f"{name:12} {shown} {figures['mapped_km2']:13,.3f} {interval:>40}")
    lines.append(f"95 % intervals; * {document['intervals'][RARE]}; others normal")
    return "\n".join(lines)


def _percent(estimate: dict[str, Any]) -> str:
    low, high = 100 * estimate["low"], 100 * estimate["high"]
    return f"{100 * estimate['value']:.1f} % ({low:.1f} to {high:.1f}){_mark(estimate)}"


def _mark(estimate: dict[str, Any]) -> str:
    return "*" if estimate["interval"] == RARE else " "


def _matrix(counts: dict[str, dict[str, int]]) -> Sequence[str]:
    names = [*counts, *sorted({r for row in counts.values() for r in row} - set(counts))]
    lines = [" " * 12 + "".join(f"{name:>11}" for name in names)]
    for name, row in counts.items():
        lines.append(f"{name:12}" + "".join(f"{row.get(r, 0):11}" for r in names))
    return lines
