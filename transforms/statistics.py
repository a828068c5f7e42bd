"""What a product tile holds, in square kilometres on the ellipsoid."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from model.legend import NODATA_CODE
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
        for code in np.unique(lulc):
            if code != NODATA_CODE:
                area = float(km2 @ np.count_nonzero(lulc == code, axis=1))
                self.class_km2[int(code)] = self.class_km2.get(int(code), 0.0) + area
        if "cloud" in layers:
            cloud = layers["cloud"]
            screened = (lulc != NODATA_CODE) & (cloud != LAYERS["cloud"].nodata)
            self.screened_km2 += float(km2 @ np.count_nonzero(screened, axis=1))
            cloudy = screened & (cloud >= CLOUDY)
            self.cloudy_km2 += float(km2 @ np.count_nonzero(cloudy, axis=1))
