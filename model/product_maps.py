"""Rasters of an existing land-cover product, cut to the samples of a data set, as class indices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from model.legend import CROSSWALKS
from model.patch import Row, Sample


class ProductMaps:
    """A folder of rasters, one band each, named as the samples and of their size.

    Calling it with a sample gives its map: (y,x) uint8 class index, 255 where the product has no
    data or no counterpart.

    Args:
      folder: of the rasters, `NAME.tif`.
      product: whose codes they hold, a name in `CROSSWALKS`.

    Raises:
      ValueError: there is no such folder or product.
    """

    def __init__(self, folder: str | Path, product: str):
        self.folder = Path(folder)
        if product not in CROSSWALKS:
            raise ValueError(f"crosswalk: got {product!r}, expected one of {sorted(CROSSWALKS)}")
        if not self.folder.is_dir():
            raise ValueError(f"product: there is no folder {folder}")
        self._crosswalk = CROSSWALKS[product]

    def __call__(self, sample: Sample) -> np.ndarray:
        return self.read(sample.name, sample.size)

    def read(self, name: str, size: tuple[int, int]) -> np.ndarray:
        """The map of a sample of this size.

        Raises:
          ValueError: the raster is missing, unreadable, of another size, or holds codes that are
            not the product's.
        """
        path = self.folder / f"{name}.tif"
        if not path.is_file():
            raise ValueError(f"product: {path} is missing; expected a raster for every sample")
        try:
            with rasterio.open(path) as file:
                codes = file.read()
        except RasterioError as error:
            raise ValueError(f"product: {path} cannot be read: {error}") from error
        if codes.shape != (1, *size):
            raise ValueError(
                f"product: {path} has shape {codes.shape} (band, y, x), expected {(1, *size)}"
            )
        return self._crosswalk.indices(codes[0], f"product: {path}")

    def check(self, rows: Sequence[Row]) -> None:
        """Reads the raster of every row. Raises ValueError that names the row."""
        for row in rows:
            with rasterio.open(row.files["label"]) as label:
                size = label.shape
            try:
                self.read(row.name, size)
            except ValueError as error:
                raise ValueError(f"{row.where}: {error}") from error
