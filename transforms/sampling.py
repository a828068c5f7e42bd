"""Draws a stratified random sample of a product's pixels, by blocks, the same for the same seed."""

from __future__ import annotations

import zlib
from collections import defaultdict
from typing import Any

import numpy as np
from pyproj import Transformer

from transforms.area import pixel_areas
from transforms.grid import GeoBox
from transforms.layers import LAYERS
from transforms.mosaic import Window, window_geobox
from transforms.published import Published, PublishedTile, read_blocks
from transforms.strata import Strata, Stratification

RANDOM = "random"
"""How a row was selected; whatever else stands in that column makes the sample no random one."""


def draw(
    product: Published, how: Stratification, strata: Strata, sizes: np.ndarray, seed: int
) -> list[dict[str, Any]]:
    """Draw pixels: in each stratum every pixel has the same chance, none is drawn twice.

    Args:
      strata: of this product, as counted by this stratification.
      sizes: (stratum,) samples to draw, at most as many as pixels.

    Returns:
      Rows of the sample table, in random order, so that a reader learns nothing from a
      neighbouring row. What the interpreter fills is empty.
    """
    ranks = {name: _ranks(strata, h, sizes, seed) for h, name in enumerate(strata.names)}
    wanted = _by_block(strata, ranks)
    rows = []
    for tile in product.tiles:
        numbers = {number for name, number in wanted if name == tile.name}
        if not numbers:
            continue
        layers = tuple(name for name in LAYERS if name in tile.layers)
        for number, window in read_blocks(tile, layers, numbers):
            stratum = how.of(window.layers)
            for h, within in wanted[tile.name, number]:
                of_stratum = np.flatnonzero(stratum == how.names.index(strata.names[h]))
                picked = np.unravel_index(of_stratum[within], stratum.shape)
                rows += _rows(tile, window, picked, how, strata, h, sizes)
    order = np.random.default_rng(seed).permutation(len(rows))
    digits = len(str(len(rows)))
    return [{"sample_id": f"{i + 1:0{digits}d}"} | rows[k] for i, k in enumerate(order)]


def _ranks(strata: Strata, h: int, sizes: np.ndarray, seed: int) -> np.ndarray:
    """Sorted ranks of the drawn pixels among all of the stratum, in the order of the blocks."""
    rng = np.random.default_rng([seed, zlib.crc32(strata.names[h].encode())])
    return np.sort(rng.choice(strata.pixels[h], sizes[h], replace=False, shuffle=False))


def _by_block(
    strata: Strata, ranks: dict[str, np.ndarray]
) -> dict[tuple[str, int], list[tuple[int, np.ndarray]]]:
    """(tile, block number) -> (stratum, ranks inside the block), where any was drawn."""
    wanted, first = defaultdict(list), np.zeros(len(strata.names), np.int64)
    for block, pixels in strata.by_block.items():
        for h, drawn in enumerate(ranks.values()):
            here = drawn[
                np.searchsorted(drawn, first[h]) : np.searchsorted(drawn, first[h] + pixels[h])
            ]
            if here.size:
                wanted[block].append((h, here - first[h]))
        first += pixels
    return wanted


def _rows(
    tile: PublishedTile,
    window: Window,
    picked: tuple[np.ndarray, np.ndarray],
    how: Stratification,
    strata: Strata,
    h: int,
    sizes: np.ndarray,
) -> list[dict[str, Any]]:
    part = window_geobox(tile.geobox, window.rows, window.cols)
    xs, ys, lons, lats = centres(part, *picked)
    areas = pixel_areas(part)
    code = int(strata.code[h])
    names = {c.code: c.name for c in how.legend.classes}
    rows = []
    for row, col, x, y, lon, lat in zip(*picked, xs, ys, lons, lats, strict=True):
        evidence = {}
        for name, pixels in window.layers.items():
            if name != "lulc":
                value = int(pixels[row, col])
                evidence[name] = None if value == LAYERS[name].nodata else value
        rows.append(
            {
                "lon": round(float(lon), 7),
                "lat": round(float(lat), 7),
                "x": round(float(x), 7),
                "y": round(float(y), 7),
                "crs": f"EPSG:{tile.geobox.epsg}",
                "tile": tile.name,
                "pixel_m2": round(float(areas[row]), 4),
                "stratum": strata.names[h],
                "stratum_pixels": int(strata.pixels[h]),
                "stratum_km2": round(float(strata.km2[h]), 9),
                "stratum_weight": round(float(strata.km2[h] / strata.km2.sum()), 12),
                "inclusion_probability": float(sizes[h] / strata.pixels[h]),
                "selection": RANDOM,
                "map_class": names[code],
                **evidence,
            }
        )
    return rows


def centres(geobox: GeoBox, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, ...]:
    """x, y in the CRS and longitude, latitude in degrees of pixel centres, each (pixel,)."""
    x = geobox.x0 + (np.asarray(cols) + 0.5) * geobox.resolution
    y = geobox.y0 - (np.asarray(rows) + 0.5) * geobox.resolution
    if geobox.epsg == 4326:
        return x, y, x, y
    return x, y, *Transformer.from_crs(geobox.epsg, 4326, always_xy=True).transform(x, y)
