"""Strata of a product: its classes, and what the sky over them was like on the target date."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from model.legend import NODATA_CODE, Legend
from transforms.area import pixel_areas
from transforms.layers import LAYERS
from transforms.mosaic import Window, window_geobox
from transforms.published import Published, PublishedTile, read_blocks

CLOUD_REGIMES = ("clear", "doubtful", "cloudy", "no optical", "unscreened")
"""Cloud probability below 20, 20 to below 80, from 80 on; nothing seen; seen, but not screened."""

_CLEAR, _CLOUDY = 20, 80  # percent


class Strata(NamedTuple):
    """Strata that a product holds pixels of.

    Attributes:
      names: "forest/cloudy" (or "forest" where clouds do not count), in the legend's order.
      code: (stratum,) int, class code.
      pixels: (stratum,) int64.
      km2: (stratum,) float64, on the ellipsoid.
      by_block: (tile, block number) -> (stratum,) int64 pixels of the block.
    """

    names: tuple[str, ...]
    code: np.ndarray
    pixels: np.ndarray
    km2: np.ndarray
    by_block: dict[tuple[str, int], np.ndarray]


class Stratification(NamedTuple):
    """How pixels fall into strata.

    Attributes:
      legend: of the product.
      by_cloud: whether cloud regimes count.
    """

    legend: Legend
    by_cloud: bool

    @property
    def names(self) -> list[str]:
        """All strata there may be, in order: position = class * regimes + regime."""
        classes = [c.name for c in self.legend.classes]
        if not self.by_cloud:
            return classes
        return [f"{name}/{regime}" for name in classes for regime in CLOUD_REGIMES]

    @property
    def layers(self) -> tuple[str, ...]:
        return ("lulc", "cloud", "reliability") if self.by_cloud else ("lulc",)

    def of(self, layers: dict[str, np.ndarray]) -> np.ndarray:
        """Stratum of each pixel.

        Args:
          layers: `self.layers` by name, (y, x).

        Returns:
          (y, x) int16, position in `names`; -1 where the map is nodata.
        """
        table = np.full(256, -2, np.int16)
        table[NODATA_CODE] = -1
        for c in self.legend.classes:
            table[c.code] = c.index
        stratum = table[layers["lulc"]]
        if (stratum == -2).any():
            wrong = np.unique(layers["lulc"][stratum == -2])[:5].tolist()
            raise ValueError(f"product: lulc holds {wrong}, which its legend does not have")
        if self.by_cloud:
            regime = cloud_regimes(layers["cloud"], layers["reliability"])
            stratum = np.where(stratum < 0, -1, stratum * len(CLOUD_REGIMES) + regime)
        return stratum


def cloud_regimes(cloud: np.ndarray, reliability: np.ndarray) -> np.ndarray:
    """(y, x) int16, position in `CLOUD_REGIMES`, of the layers of these names."""
    regime = np.digitize(cloud, (_CLEAR, _CLOUDY)).astype(np.int16)
    unknown = cloud == LAYERS["cloud"].nodata
    # Without an optical pixel the network cannot have believed it.
    regime[unknown] = np.where(reliability[unknown] == 0, 3, 4)
    return regime


def stratification(product: Published, by_cloud: bool) -> Stratification:
    """Raises ValueError where cloud regimes are wanted and a tile lacks their layers."""
    wanted = Stratification(product.legend, by_cloud)
    for tile in product.tiles:
        if missing := [name for name in wanted.layers if name not in tile.layers]:
            raise ValueError(
                f"tile {tile.name} has no layer {', '.join(missing)}, and strata by cloud need it; "
                "use --strata class, or map with all layers"
            )
    return wanted


def count_strata(
    product: Published,
    how: Stratification,
    look: Callable[[PublishedTile, Window, np.ndarray], None] | None = None,
) -> Strata:
    """Count the pixels of a product's strata, block by block.

    Args:
      look: is shown each block with the (y, x) strata of its pixels, position in `how.names`.

    Returns:
      The strata that hold a pixel.

    Raises:
      ValueError: the product maps nothing, or has a class that its legend lacks.
    """
    count = len(how.names)
    km2, blocks = np.zeros(count), {}
    for tile in product.tiles:
        for number, window in read_blocks(tile, how.layers):
            stratum = how.of(window.layers)
            areas = pixel_areas(window_geobox(tile.geobox, window.rows, window.cols)) / 1e6
            by_row = _count_by_row(stratum, count)
            km2 += areas @ by_row
            blocks[tile.name, number] = by_row.sum(axis=0)
            if look:
                look(tile, window, stratum)
    pixels = sum(blocks.values())
    held = np.flatnonzero(pixels)
    if not held.size:
        raise ValueError(f"{product.url}: no pixel is mapped, so there is nothing to sample")
    classes = held // (len(CLOUD_REGIMES) if how.by_cloud else 1)
    return Strata(
        tuple(how.names[i] for i in held),
        np.array([how.legend.classes[i].code for i in classes]),
        pixels[held],
        km2[held],
        {key: block[held] for key, block in blocks.items()},
    )


def _count_by_row(stratum: np.ndarray, count: int) -> np.ndarray:
    """(y, stratum) int64 pixels."""
    height = len(stratum)
    position = np.arange(height)[:, None] * (count + 1) + stratum + 1
    counts = np.bincount(position.ravel(), minlength=height * (count + 1))
    return counts.reshape(height, count + 1)[:, 1:]
