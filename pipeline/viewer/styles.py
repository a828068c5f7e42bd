"""How layers are coloured, and the legends that say so."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from pipeline.viewer.products import Product
from transforms.layers import LAYERS
from transforms.quicklook import RAMPS

Color = tuple[int, int, int, int]

_AGES = (-32767, -10, -5, -2, 0, 1, 3, 6, 11, 32768)
"""First day of each interval of ages, and the end of the last one."""

_AGE_COLORS = (
    # ColorBrewer RdYlBu, 9 classes, reversed: safe for colour-blind readers.
    *((69, 117, 180), (116, 173, 209), (171, 217, 233), (224, 243, 248)),
    (255, 255, 191),
    *((254, 224, 144), (253, 174, 97), (244, 109, 67), (215, 48, 39)),
)

_AGE_LABELS = (">10", "6–10", "3–5", "1–2", "0", "1–2", "3–5", "6–10", ">10")

_TITLES = {
    "lulc": "Land cover",
    "confidence": "Confidence",
    "reliability": "Reliability",
    "cloud": "Cloud",
    "optical_age": "Optical age",
    "sar_age": "SAR age",
}


def colormap(product: Product, layer: str) -> dict[int, Color] | list[tuple[tuple, Color]]:
    """Colours of a layer's values as rio-tiler takes them; values without one are transparent."""
    if layer == "lulc":
        return {c["code"]: (*bytes.fromhex(c["color"][1:]), 255) for c in product.classes}
    if layer in RAMPS:
        return {percent: _ramp_color(layer, percent) for percent in range(101)}
    intervals = list(pairwise(_AGES))
    return [(span, (*color, 255)) for span, color in zip(intervals, _AGE_COLORS, strict=True)]


def legend(layer: str) -> dict[str, Any]:
    """What a reader needs to know of a layer; the classes of `lulc` are the product's."""
    about = {"title": _TITLES[layer], "description": LAYERS[layer].description}
    if layer == "lulc":
        return about | {"kind": "classes"}
    if layer in RAMPS:
        return about | {"kind": "ramp", "stops": [_hex(color) for color in RAMPS[layer]]}
    entries = zip(_AGE_LABELS, _AGE_COLORS, strict=True)
    return about | {
        "kind": "intervals",
        "ends": ["days before the target date", "days after it"],
        "entries": [{"label": label, "color": _hex(color)} for label, color in entries],
    }


def _ramp_color(layer: str, percent: int) -> Color:
    stops = RAMPS[layer]
    step, rest = divmod(percent * (len(stops) - 1), 100)
    low, high = stops[step], stops[min(step + 1, len(stops) - 1)]
    return (*(round(a + (b - a) * rest / 100) for a, b in zip(low, high, strict=True)), 255)


def _hex(color: tuple[int, ...]) -> str:
    return f"#{bytes(color[:3]).hex()}"
