"""The layers of a map and of a product: the class of each pixel and the evidence for it."""

from __future__ import annotations

from typing import NamedTuple


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
"""By name, in the order of the product."""


def choose_layers(names: tuple[str, ...]) -> tuple[Layer, ...]:
    """Layers of these names in the order of the product; `lulc` is always one of them.

    Raises:
      ValueError: there is no such layer.
    """
    unknown = [name for name in names if name not in LAYERS]
    if unknown:
        raise ValueError(f"layers: got {unknown}, expected some of {list(LAYERS)}")
    return tuple(layer for layer in LAYERS.values() if layer.name in {"lulc", *names})
