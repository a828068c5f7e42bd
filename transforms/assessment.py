"""From a filled sample table to accuracy and areas; and why a sample allows no interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from transforms.estimators import (
    NORMAL,
    RARE,
    Estimate,
    Sample,
    producers_accuracy,
    proportion,
    ratio,
)
from transforms.grid import GeoBox
from transforms.mosaic import Window, window_geobox
from transforms.published import Published, PublishedTile
from transforms.sample_table import OTHER, Row
from transforms.sampling import RANDOM
from transforms.strata import CLOUD_REGIMES, Strata, Stratification, count_strata, stratification

NEEDED = ("x", "y", "stratum", "stratum_pixels", "stratum_km2", "inclusion_probability")
"""Columns without which a sample is no probability sample of a product."""

_MOST_MISSING = 0.05  # of the drawn samples that may lack a reference class

INTERVALS = {
    NORMAL: "value -/+ 1.96 standard errors (Olofsson et al. 2014, Stehman 2014)",
    RARE: "rare hits or misses as Poisson counts: mid-p gamma (Fay and Kim 2017) joined with the "
    "normal part by variance recovery (Zou and Donner 2008)",
}


def assess(product: Published, rows: Sequence[Row]) -> dict[str, Any]:
    """Accuracy and areas of a product by an interpreted sample.

    Returns:
      JSON document: `counts` always; `refused` lists why there are no estimates, empty where
      there are.

    Raises:
      ValueError: the table has no reference class at all, or the product lacks a layer.
    """
    filled = [row for row in rows if row["reference_class"] is not None]
    if not filled:
        raise ValueError("sample table: column reference_class is empty in every row; fill it")
    classes = [c.name for c in product.legend.classes]
    refused, strata = why_no_intervals(product, rows)
    document: dict[str, Any] = {
        "product": product.id,
        "title": product.title,
        "samples": {
            "rows": len(rows),
            "interpreted": len(filled),
            "by_interpreter": dict(Counter(row["interpreter"] or "" for row in filled)),
        },
        "counts": _counts(filled, classes),
        "refused": refused,
    }
    if refused:
        return document
    position = {name: h for h, name in enumerate(strata.names)}
    sample = Sample(
        np.array([position[row["stratum"]] for row in filled]),
        strata.km2,
        strata.pixels,
        np.array([row["pixel_m2"] or 1.0 for row in filled]),
    )
    return document | _estimates(sample, strata, filled, classes)


def why_no_intervals(product: Published, rows: Sequence[Row]) -> tuple[list[str], Strata | None]:
    """Reasons why a sample is no probability sample of a product, [] where it is one.

    The product's strata are counted again, and every sample is looked up in it.

    Returns:
      The reasons, and the product's strata where the table's columns were enough to count them.
    """
    lacking = [name for name in NEEDED if all(row[name] is None for row in rows)]
    if lacking:
        return [
            f"the table has no {', '.join(lacking)}: without known chances of selection no "
            "interval holds; draw the sample with cloudlulc assess design"
        ], None
    reasons = []
    for name in NEEDED:
        if empty := [i for i, row in enumerate(rows, 1) if row[name] is None]:
            reasons.append(f"{name} is empty in row {_some(empty)}")
    chosen = [i for i, row in enumerate(rows, 1) if row["selection"] not in (RANDOM, None)]
    if chosen:
        reasons.append(
            f"row {_some(chosen)} was not drawn at random (column selection); leave such rows out"
        )
    if all(row["selection"] is None for row in rows):
        reasons.append("the table has no column selection that says that rows were drawn at random")
    if reasons:
        return reasons, None
    by_cloud = any("/" in row["stratum"] for row in rows)
    how = stratification(product, by_cloud)
    lookup = _Lookup(rows, how)
    strata = count_strata(product, how, lookup.look)
    return _against_product(rows, strata) + lookup.reasons(), strata


def _against_product(rows: Sequence[Row], strata: Strata) -> list[str]:
    reasons = []
    position = {name: h for h, name in enumerate(strata.names)}
    by_stratum: dict[str, list[Row]] = {}
    for row in rows:
        by_stratum.setdefault(row["stratum"], []).append(row)
    if foreign := sorted(set(by_stratum) - set(position)):
        reasons.append(f"the product has no stratum {', '.join(foreign)}")
    drawn_in_all = 0
    for name, h in position.items():
        of_stratum = by_stratum.get(name, [])
        if not of_stratum:
            reasons.append(f"no sample is in stratum {name} ({strata.km2[h]:,.2f} km2)")
            continue
        told = {row["stratum_pixels"] for row in of_stratum}
        if told != {int(strata.pixels[h])}:
            reasons.append(
                f"stratum {name} has {strata.pixels[h]} pixels in the product, in the table "
                f"{_some(sorted(told))}: the sample is of another product"
            )
        chances = {row["inclusion_probability"] for row in of_stratum}
        if len(chances) > 1 or not 0 < min(chances) <= 1:
            reasons.append(
                f"stratum {name} has inclusion probabilities {_some(sorted(chances))}, expected "
                "one, above 0 and at most 1"
            )
            continue
        drawn = round(min(chances) * strata.pixels[h])
        drawn_in_all += drawn
        interpreted = sum(row["reference_class"] is not None for row in of_stratum)
        if len(of_stratum) > drawn:
            reasons.append(
                f"stratum {name} has {len(of_stratum)} rows, and {drawn} were drawn: some were "
                "added by other means"
            )
        elif interpreted < min(2, strata.pixels[h]):
            reasons.append(f"stratum {name} has {interpreted} interpreted samples, expected 2")
    interpreted = sum(row["reference_class"] is not None for row in rows)
    if not reasons and drawn_in_all - interpreted > _MOST_MISSING * drawn_in_all:
        reasons.append(
            f"{drawn_in_all - interpreted} of {drawn_in_all} drawn samples have no reference "
            f"class; at most {_MOST_MISSING:.0%} may be missing, since what is hard to interpret "
            "is not missing at random"
        )
    return reasons


class _Lookup:
    """Looks each sample up in the blocks of a product."""

    def __init__(self, rows: Sequence[Row], how: Stratification):
        self._rows, self._how = rows, how
        self._at = np.array([(row["x"], row["y"]) for row in rows])
        self._found = np.full(len(rows), -2)  # position in the stratification's names

    def look(self, tile: PublishedTile, window: Window, stratum: np.ndarray) -> None:
        part = window_geobox(tile.geobox, window.rows, window.cols)
        inside, rows, cols = _pixels(part, self._at)
        self._found[inside] = stratum[rows, cols]

    def reasons(self) -> list[str]:
        names = self._how.names
        wrong = []
        for i, (row, found) in enumerate(zip(self._rows, self._found, strict=True), 1):
            here = names[found] if found >= 0 else "nothing mapped"
            if here != row["stratum"] or here.partition("/")[0] != row["map_class"]:
                wrong.append(f"row {i} says {row['stratum']}, the product has {here} there")
        return [f"the sample is of another product: {_some(wrong)}"] if wrong else []


def _pixels(geobox: GeoBox, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which points (point, xy) lie in a geobox, and rows and columns of those."""
    cols = np.floor((at[:, 0] - geobox.x0) / geobox.resolution).astype(int)
    rows = np.floor((geobox.y0 - at[:, 1]) / geobox.resolution).astype(int)
    inside = (rows >= 0) & (rows < geobox.height) & (cols >= 0) & (cols < geobox.width)
    return inside, rows[inside], cols[inside]


def _counts(filled: Sequence[Row], classes: Sequence[str]) -> dict[str, Any]:
    pairs = Counter((row["map_class"], row["reference_class"]) for row in filled)
    references = [*classes, OTHER]
    return {
        "map_by_reference": {
            m: {r: pairs[m, r] for r in references if pairs[m, r]} for m in classes
        },
        "right": sum(pairs[name, name] for name in classes),
        "of": len(filled),
    }


def _estimates(
    sample: Sample, strata: Strata, filled: Sequence[Row], classes: Sequence[str]
) -> dict[str, Any]:
    mapped = np.array([row["map_class"] for row in filled])
    truth = np.array([row["reference_class"] for row in filled])
    total = float(strata.km2.sum())
    right = mapped == truth
    of_class = np.array([name.partition("/")[0] for name in strata.names])
    by_class = {}
    for name in [*classes, OTHER]:
        here, there = mapped == name, truth == name
        if not (here.any() or there.any()):
            continue
        by_class[name] = {
            "mapped_km2": round(float(strata.km2[of_class == name].sum()), 6),
            "area_km2": _plain(proportion(sample, there).times(total)),
            "users_accuracy": _plain(ratio(sample, right & here, here)),
            "producers_accuracy": _plain(producers_accuracy(sample, here, there)),
        }
    regime = np.array([row["stratum"].partition("/")[2] for row in filled])
    by_cloud = {
        name: _plain(ratio(sample, right & (regime == name), regime == name))
        | {"samples": int((regime == name).sum())}
        for name in CLOUD_REGIMES
        if (regime == name).any()
    }
    return {
        "total_km2": round(total, 6),
        "overall_accuracy": _plain(proportion(sample, right)),
        "classes": by_class,
        "overall_accuracy_by_cloud": by_cloud,
        "error_matrix": {
            m: {
                r: round(proportion(sample, (mapped == m) & (truth == r)).value, 9)
                for r in [*classes, OTHER]
                if ((mapped == m) & (truth == r)).any()
            }
            for m in classes
            if (mapped == m).any()
        },
        "strata": {
            name: {
                "pixels": int(strata.pixels[h]),
                "km2": round(float(strata.km2[h]), 6),
                "interpreted": int((sample.stratum == h).sum()),
            }
            for h, name in enumerate(strata.names)
        },
        "intervals": INTERVALS,
        "method": "stratified estimators of Olofsson et al. 2014 and Stehman 2014, areas on the "
        "ellipsoid, 95 % intervals, finite population correction",
    }


def _plain(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "value": round(estimate.value, 9),
        "se": round(estimate.se, 9),
        "low": round(estimate.low, 9),
        "high": round(estimate.high, 9),
        "interval": estimate.interval,
        "normal": [round(limit, 9) for limit in estimate.normal],
    }


def _some(values: Sequence[Any]) -> str:
    more = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return ", ".join(str(value) for value in values[:3]) + more
