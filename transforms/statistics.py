"""What a product tile holds, in square kilometres on the ellipsoid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.legend import NODATA_CODE, Legend
from transforms.area import pixel_areas
from transforms.grid import GeoBox
from transforms.layers import LAYERS

CLOUDY = 40
"""Cloud probability, percent, from which an area counts as cloudy."""


@dataclass
class TileStatistics:
    """Areas of one product tile, gathered window by window.

    Attributes:
      class_km2: area of each class, by class code.
      screened_km2: mapped area that something screened for clouds.
      cloudy_km2: part of the screened area that was cloudy.
    """

    class_km2: dict[int, float] = field(default_factory=dict)
    screened_km2: float = 0.0
    cloudy_km2: float = 0.0

    @property
    def mapped_km2(self) -> float:
        return sum(self.class_km2.values())

    def add(self, geobox: GeoBox, layers: dict[str, np.ndarray]) -> None:
        """Count one window.

        Args:
          geobox: of the window.
          layers: by name, (y, x); `lulc`, and `cloud` where the product has it.
        """
        km2 = pixel_areas(geobox) / 1e6
        lulc = layers["lulc"]
        add_areas(self.class_km2, km2, lulc)
        if "cloud" in layers:
            cloud = layers["cloud"]
            screened = (lulc != NODATA_CODE) & (cloud != LAYERS["cloud"].nodata)
            self.screened_km2 += float(km2 @ _count_rows(screened))
            cloudy = screened & (cloud >= CLOUDY)
            self.cloudy_km2 += float(km2 @ _count_rows(cloudy))

    def to_properties(self, legend: Legend) -> dict[str, Any]:
        """The properties of the tile's STAC item."""
        names = {c.code: c.name for c in legend.classes}
        areas = {names[code]: round(km2, 6) for code, km2 in sorted(self.class_km2.items())}
        return {
            "cloudlulc:class_area_km2": areas,
            "cloudlulc:mapped_km2": round(self.mapped_km2, 6),
            "cloudlulc:screened_km2": round(self.screened_km2, 6),
            "cloudlulc:cloudy_km2": round(self.cloudy_km2, 6),
        }


def add_areas(areas: dict[int, float], km2: np.ndarray, codes: np.ndarray) -> None:
    """Add the area of every code of a window, nodata left out, to what `areas` has by code.

    Args:
      km2: (y,) area of a pixel of each row.
      codes: (y, x) uint8.
    """
    there = np.zeros(256, bool)
    there[codes] = True
    for code in map(int, np.flatnonzero(there)):
        if code != NODATA_CODE:
            areas[code] = areas.get(code, 0.0) + float(km2 @ _count_rows(codes == code))


def _count_rows(mask: np.ndarray) -> np.ndarray:
    """(y,) how many pixels of each row are true: bits are counted faster than truth values."""
    return np.bitwise_count(np.packbits(mask, axis=1)).sum(axis=1)
