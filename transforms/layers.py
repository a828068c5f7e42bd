"""The layers of a map and of a product: the class of each pixel and the evidence for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from model.legend import LULC6


class Layer(NamedTuple):
    name: str
    dtype: str  # numpy dtype at rest
    nodata: int
    unit: str  # UDUNITS; "" where values are codes
    description: str
    classes: bool = False  # whether values are codes of a legend


LAYERS = {
    layer.name: layer
    for layer in (
        Layer("lulc", "uint8", 0, "", "Land-cover class on the target date", classes=True),
        Layer("confidence", "uint8", 255, "percent", "Highest class probability after calibration"),
        Layer(
            "reliability",
            "uint8",
            255,
            "percent",
            "How far the network believed the optical pixel; 0 where there was none",
        ),
        Layer("cloud", "uint8", 255, "percent", "Cloud probability of the optical pixel"),
        # CF's "day", not "days": xarray would turn the latter into time differences.
        Layer(
            "optical_age",
            "int16",
            -32768,
            "day",
            "Days from the target date to the optical acquisition, negative before it",
        ),
        Layer(
            "sar_age",
            "int16",
            -32768,
            "day",
            "Days from the target date to the SAR acquisition, negative before it",
        ),
    )
}
"""The layers of a map unless others are asked for: by name, in the order of the product."""

PROBABILITIES = "probabilities"
"""Stands for the probability layers of all classes."""

_ON_DEMAND = (
    Layer(
        "quality",
        "uint8",
        255,
        "",
        "Bits: 1 cloud, 2 shadow, 4 snow, 8 no optical, 16 no SAR, 32 SAR moved onto the optical, "
        "64 not screened for clouds",
    ),
    *(
        Layer(
            f"probability_{c.name}", "uint8", 255, "percent", f"Calibrated probability of {c.name}"
        )
        for c in sorted(LULC6.classes, key=lambda c: c.code)
    ),
)

ALL_LAYERS = LAYERS | {layer.name: layer for layer in _ON_DEMAND}
"""With those that are made on demand alone."""


def choose_layers(names: Iterable[str]) -> tuple[Layer, ...]:
    """Layers of these names in the order of the product; `lulc` is always one of them.

    Args:
      names: "probabilities" stands for the probability of every class.

    Raises:
      ValueError: there is no such layer.
    """
    wanted = {"lulc", *names}
    if PROBABILITIES in wanted:
        wanted = wanted - {PROBABILITIES} | {n for n in ALL_LAYERS if n.startswith("probability_")}
    unknown = sorted(wanted - ALL_LAYERS.keys())
    if unknown:
        raise ValueError(
            f"layers: got {unknown}, expected some of {[*ALL_LAYERS]}, or {PROBABILITIES}"
        )
    return tuple(layer for layer in ALL_LAYERS.values() if layer.name in wanted)
