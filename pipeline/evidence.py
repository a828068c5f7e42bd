"""What a run's report shows of its products: pictures, histograms and how much was covered."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from datetime import date
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from model.legend import NODATA_CODE, Legend
from transforms.layers import LAYERS
from transforms.published import Published, PublishedTile
from transforms.quicklook import paint_classes, paint_ramp
from transforms.rasters import open_raster
from transforms.scene import SENTINEL2, Scene
from transforms.seams import grid_position
from transforms.statistics import CLOUDY

SIDE = 900
"""Longest side of a picture, px."""

CLOUD_RULE = 0.35
"""Scenes above this share of cloud are skipped by Dynamic World (Brown et al. 2022, Scientific
Data 9:251: CLOUDY_PIXEL_PERCENTAGE <= 35 %)."""

PERCENT_LAYERS = ("confidence", "reliability", "cloud")
AGE_LAYERS = ("optical_age", "sar_age")


class Overview(NamedTuple):
    """All tiles of a product, thinned out."""

    step: int  # every so many pixels of the product one is shown
    layers: dict[str, np.ndarray]  # by name, (y, x), nodata where no tile is
    tile: np.ndarray  # (y, x) number of the tile, -1 for none


def thin_out(product: Published) -> Overview:
    """Every `step`-th pixel of a product's layers, by its COGs' overviews."""
    corners = [(*grid_position(tile.geobox), *tile.geobox.shape) for tile in product.tiles]
    left, top = min(c[0] for c in corners), min(c[1] for c in corners)
    right, bottom = max(c[0] + c[3] for c in corners), max(c[1] + c[2] for c in corners)
    step = max(1, ceil(max(right - left, bottom - top) / SIDE))
    shape = ceil((bottom - top) / step), ceil((right - left) / step)
    names = [name for name in LAYERS if all(name in tile.layers for tile in product.tiles)]
    layers = {name: np.full(shape, LAYERS[name].nodata, LAYERS[name].dtype) for name in names}
    number = np.full(shape, -1, np.int32)
    for i, (tile, corner) in enumerate(zip(product.tiles, corners, strict=True)):
        x, y, height, width = corner
        row, col = (y - top) // step, (x - left) // step
        size = min(shape[0] - row, ceil(height / step)), min(shape[1] - col, ceil(width / step))
        here = slice(row, row + size[0]), slice(col, col + size[1])
        number[here] = i
        for name in names:
            layers[name][here] = _read(tile, name, size)
    return Overview(step, layers, number)


def _read(tile: PublishedTile, layer: str, shape: tuple[int, int]) -> np.ndarray:
    with open_raster(tile.layers[layer]) as raster:
        return raster.read(1, out_shape=shape)


def pictures(overview: Overview, legend: Legend) -> dict[str, str]:
    """PNGs by layer, as data addresses."""
    painted = {"lulc": paint_classes(overview.layers["lulc"], legend)}
    for name in PERCENT_LAYERS:
        if name in overview.layers:
            painted[name] = paint_ramp(name, overview.layers[name])
    return {name: _data_address(pixels) for name, pixels in painted.items()}


def _data_address(pixels: np.ndarray) -> str:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(pixels).quantize(256).save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def histograms(overview: Overview) -> dict[str, list[tuple[str, float]]]:
    """Shares of the mapped pixels by tenths of a percentage, or by days: label and share."""
    mapped = overview.layers["lulc"] != NODATA_CODE
    found = {}
    for name in (*PERCENT_LAYERS, *AGE_LAYERS):
        if name not in overview.layers or not mapped.any():
            continue
        values = overview.layers[name][mapped]
        known = values[values != LAYERS[name].nodata]
        if name in AGE_LAYERS:
            counts = sorted(Counter(known.tolist()).items())
            bars = [(f"{day:+d} d", count / values.size) for day, count in counts]
        else:
            tenths = np.bincount(np.minimum(known // 10, 9), minlength=10)
            bars = [(f"{10 * i}-{10 * i + 10} %", n / values.size) for i, n in enumerate(tenths)]
        if known.size < values.size:
            bars.append(("none", 1 - known.size / values.size))
        found[name] = bars
    return found


def under_cloud_rule(
    overview: Overview, scenes: Sequence[Sequence[Scene]], target: date
) -> dict[str, Any] | None:
    """What would be left of the map if scenes above 35 % cloud were skipped and clouds masked.

    Args:
      scenes: of each tile of the product.

    Returns:
      `share`: of the mapped pixels, 0-1, seen clear in a scene of at most 35 % cloud; `unknown`:
      share whose scenes state no cloud cover, not counted as left. None where the product has no
      layer `cloud` or `optical_age`.
    """
    if not {"cloud", "optical_age"} <= set(overview.layers):
        return None
    mapped = overview.layers["lulc"] != NODATA_CODE
    if not mapped.any():
        return None
    clear = overview.layers["cloud"] < CLOUDY  # nodata is 255
    age = overview.layers["optical_age"]
    left, unknown = 0, 0
    for i, of_tile in enumerate(scenes):
        here = mapped & (overview.tile == i)
        for day in np.unique(age[here]):
            seen = here & (age == day)
            covers = [
                scene.cloud
                for scene in of_tile
                if scene.sensor == SENTINEL2 and scene.age(target) == day
            ]
            if day != LAYERS["optical_age"].nodata and (not covers or None in covers):
                unknown += int(seen.sum())
            elif covers and sum(covers) / len(covers) <= CLOUD_RULE:
                left += int((seen & clear).sum())
    total = int(mapped.sum())
    return {"share": left / total, "unknown": unknown / total}
