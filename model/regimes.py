"""Regimes: which sensors map a block. How far a map can be right depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Regime(StrEnum):
    """What of the two sensors a block has; the words stand in plans, cards and products."""

    BOTH = "both"
    SAR_STALE = "sar stale"  # both, but the SAR lies further from the optical pass than usual
    ONE_ORBIT = "one orbit"  # both, but of two orbit directions only one is within reach
    SAR_ONLY = "sar only"
    OPTICAL_ONLY = "optical only"
    NONE = "none"


def expected_accuracy(card: Mapping[str, Any], regime: Regime) -> dict[str, Any]:
    """What a checkpoint's card says of its accuracy in a regime.

    The card's `regimes` are those of `model.regime_scores`: by regime `oa` (overall accuracy, 0-1),
    `patches` (how many were scored) and `data` (what they are), or `oa` null and a `reason`.

    Returns:
      expected_accuracy, with patches and data; or null, with the reason.

    Raises:
      ValueError: the card's accuracy is no number from 0 to 1.
    """
    table = card.get("regimes")
    if table is None:
        return _unknown("the checkpoint's card holds no accuracy by regime")
    if regime is Regime.NONE:
        return _unknown("nothing was seen, so nothing is mapped")
    if regime not in table:
        return _unknown("the checkpoint's card does not hold this regime")
    stated = table[regime]
    if stated.get("oa") is None:
        return _unknown(stated.get("reason", "not measured"))
    if not 0 <= stated["oa"] <= 1:
        raise ValueError(
            f"checkpoint's card, regime {regime}: oa is {stated['oa']}, expected 0 to 1; score it "
            "anew with benchmarks/score_regimes.py"
        )
    named = {name: stated[name] for name in ("patches", "data") if name in stated}
    return {"expected_accuracy": stated["oa"], **named}


def _unknown(reason: str) -> dict[str, Any]:
    return {"expected_accuracy": None, "reason": reason}
