"""A picture of a product tile for people: the map with legend and scale, and its evidence.

Pixels come from the overviews of the tile's COGs; text is set in Pillow's own font, so that the
same product gives the same bytes on every machine.
"""

from __future__ import annotations

import io
import unicodedata
from math import floor, log10
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pyproj import Geod, Transformer

from model.legend import NODATA_CODE, Legend
from transforms import store
from transforms.layers import LAYERS
from transforms.rasters import open_raster

_MARGIN, _GAP = 40, 44
_MAP_BOX = (1040, 960)  # largest (width, height) of the map, px
_SIDE = 420  # width of the column beside it, px
_PANEL_HEIGHT = 190

_PAPER, _INK, _PALE, _RULE = (255, 255, 255), (33, 37, 41), (110, 117, 125), (150, 156, 162)
_NODATA = (236, 238, 240)
_GOOD = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))  # viridis
_SKY = ((18, 44, 94), (84, 128, 184), (176, 200, 224), (255, 255, 255))
RAMPS = {"confidence": _GOOD, "reliability": _GOOD, "cloud": _SKY}
"""Colours of percentages, from 0 to 100, by layer."""


class _Ground(NamedTuple):
    """Extent of a tile on the ground, through its centre."""

    width: float  # m
    height: float  # m
    lon: float  # of the centre, degrees
    lat: float


def write_quicklook(
    url: str,
    cogs: dict[str, str],
    legend: Legend,
    title: str,
    subtitle: str,
    attribution: str,
) -> None:
    """Write a PNG of a product tile, at most 1580 px wide.

    Args:
      cogs: URL by layer name; `lulc`, and those of confidence, reliability and cloud that there
        are become panels beside the map.
      title: the region's name, say.
      subtitle: target date and tile, say; the place is added.
      attribution: the line at the bottom.
    """
    with open_raster(cogs["lulc"]) as raster:
        ground = _ground(raster)
        width, height = _fit(ground, *_MAP_BOX)
        lulc = _read(raster, width, height)
    panels = {}
    for name in RAMPS:
        if name in cogs:
            with open_raster(cogs[name]) as raster:
                panels[name] = _read(raster, *_fit(ground, _SIDE, _PANEL_HEIGHT))

    picture = Image.new("RGB", (2 * _MARGIN + width + _GAP + _SIDE, 4000), _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((_MARGIN, 30), _printable(title), _INK, _font(38))
    place = f"{abs(ground.lat):.2f}° {'NS'[ground.lat < 0]}, "
    place += f"{abs(ground.lon):.2f}° {'EW'[ground.lon < 0]}"
    draw.text((_MARGIN, 80), f"{_printable(subtitle)}  ·  {place}", _PALE, _font(20))

    top, side = 128, _MARGIN + width + _GAP
    _paste(picture, draw, paint_classes(lulc, legend), _MARGIN, top)
    below_map = _draw_scale(draw, ground, width, _MARGIN, top + height + 16)
    below = _draw_legend(draw, lulc, legend, side, top)
    for name, values in panels.items():
        below = _draw_panel(picture, draw, name, values, side, below + 26)

    bottom = max(below_map, below) + 24
    draw.line((_MARGIN, bottom, picture.width - _MARGIN, bottom), _NODATA, 2)
    draw.text((_MARGIN, bottom + 12), _printable(attribution), _PALE, _font(15))
    whole = picture.crop((0, 0, picture.width, bottom + 48))
    data = io.BytesIO()
    whole.save(data, "PNG")
    store.write_bytes(url, data.getvalue())


def _read(raster, width: int, height: int) -> np.ndarray:
    """(y, x) of the layer at the picture's size, by nearest neighbour."""
    return raster.read(1, out_shape=(height, width))


def _ground(raster) -> _Ground:
    left, bottom, right, top = raster.bounds
    x, y = (left + right) / 2, (bottom + top) / 2
    to_geographic = Transformer.from_crs(raster.crs, 4326, always_xy=True)
    lon, lat = to_geographic.transform([left, right, x, x, x], [y, y, bottom, top, y])
    geod = Geod(ellps="WGS84")
    width = (
        geod.inv(lon[0], lat[0], lon[4], lat[4])[2] + geod.inv(lon[4], lat[4], lon[1], lat[1])[2]
    )
    height = geod.inv(lon[2], lat[2], lon[3], lat[3])[2]
    return _Ground(width, height, lon[4], lat[4])


def _fit(ground: _Ground, width: int, height: int) -> tuple[int, int]:
    """Largest (width, height) in px with the ground's proportions inside of a box."""
    scale = min(width / ground.width, height / ground.height)
    return max(1, round(ground.width * scale)), max(1, round(ground.height * scale))


def paint_classes(lulc: np.ndarray, legend: Legend) -> np.ndarray:
    """Class codes (y, x) -> the legend's colours (y, x, RGB) uint8; grey where nothing is."""
    colors = np.full((256, 3), _NODATA, np.uint8)
    for c in legend.classes:
        colors[c.code] = c.color
    return colors[lulc]


def paint_ramp(name: str, values: np.ndarray) -> np.ndarray:
    """Percentages (y, x) of a layer -> its ramp's colours (y, x, RGB) uint8; grey for nodata."""
    stops = np.array(RAMPS[name], float)
    at = np.linspace(0, 100, len(stops))
    colors = np.full((256, 3), _NODATA, np.uint8)
    for channel in range(3):
        colors[:101, channel] = np.interp(np.arange(101), at, stops[:, channel]).round()
    return colors[values]


def _paste(
    picture: Image.Image, draw: ImageDraw.ImageDraw, pixels: np.ndarray, x: int, y: int
) -> None:
    height, width = pixels.shape[:2]
    picture.paste(Image.fromarray(pixels), (x, y))
    draw.rectangle((x - 1, y - 1, x + width, y + height), outline=_RULE)


def _draw_legend(
    draw: ImageDraw.ImageDraw, lulc: np.ndarray, legend: Legend, x: int, y: int
) -> int:
    """Classes with their share of the mapped pixels; returns where it ends."""
    mapped = max(1, np.count_nonzero(lulc != NODATA_CODE))
    draw.text((x, y - 4), "Land cover", _INK, _font(22))
    draw.text((x + _SIDE, y - 2), "share of the map", _PALE, _font(16), anchor="ra")
    y += 36
    for c in sorted(legend.classes, key=lambda c: c.code):
        share = 100 * np.count_nonzero(lulc == c.code) / mapped
        draw.rectangle((x, y, x + 34, y + 22), fill=c.color, outline=_RULE)
        draw.text((x + 48, y), c.name.capitalize(), _INK, _font(19))
        text = "< 1 %" if 0 < share < 1 else f"{share:.0f} %"
        draw.text((x + _SIDE, y), text, _INK, _font(19), anchor="ra")
        y += 32
    if mapped < lulc.size:
        draw.rectangle((x, y, x + 34, y + 22), fill=_NODATA, outline=_RULE)
        draw.text((x + 48, y), "Not mapped", _PALE, _font(19))
        y += 32
    return y


def _draw_panel(
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    name: str,
    values: np.ndarray,
    x: int,
    y: int,
) -> int:
    """One layer of evidence with its ramp; returns where it ends."""
    height, width = values.shape
    known = values[values != LAYERS[name].nodata]
    mean = f"mean {known.mean():.0f} %" if known.size else "unknown"
    draw.text((x, y), name.capitalize(), _INK, _font(22))
    draw.text((x + _SIDE, y + 2), mean, _PALE, _font(16), anchor="ra")
    y += 34
    _paste(picture, draw, paint_ramp(name, values), x, y)
    # Beside a narrow panel the ramp stands upright, under a wide one it lies.
    if width < _SIDE - 110:
        _paste(picture, draw, paint_ramp(name, _steps(14, height)), x + width + 18, y)
        draw.text((x + width + 42, y - 2), "100 %", _PALE, _font(15))
        draw.text((x + width + 42, y + height), "0 %", _PALE, _font(15), anchor="ld")
        return y + height
    lying = _steps(12, width).T[:, ::-1]
    _paste(picture, draw, paint_ramp(name, lying), x, y + height + 10)
    draw.text((x, y + height + 28), "0 %", _PALE, _font(15))
    draw.text((x + width, y + height + 28), "100 %", _PALE, _font(15), anchor="ra")
    return y + height + 46


def _steps(width: int, height: int) -> np.ndarray:
    """(y, x) uint8 from 100 at the top to 0 at the bottom."""
    column = np.linspace(100, 0, height).round().astype(np.uint8)
    return np.repeat(column[:, None], width, 1)


def _draw_scale(draw: ImageDraw.ImageDraw, ground: _Ground, width: int, x: int, y: int) -> int:
    """A bar of a round length, about a quarter of the map, and north; returns where it ends."""
    # On a narrow map the bar is longer: its labels need the room.
    length = _round_length(ground.width * max(0.25, min(0.8, 120 / width)))
    half = round(length / 2 * width / ground.width)
    draw.rectangle((x, y, x + 2 * half, y + 8), fill=_PAPER, outline=_INK)
    draw.rectangle((x, y, x + half, y + 8), fill=_INK)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    draw.text((x, y + 14), "0", _INK, _font(16))
    draw.text((x + 2 * half, y + 14), text, _INK, _font(16), anchor="ma")
    right = x + width - 12
    draw.polygon(((right, y - 4), (right - 9, y + 18), (right, y + 13), (right + 9, y + 18)), _INK)
    draw.text((right, y + 20), "N", _INK, _font(16), anchor="ma")
    return y + 40


def _round_length(length: float) -> float:
    """The largest of 1, 2, 5 x 10^n that is not longer."""
    power = 10.0 ** floor(log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length)


def _printable(text: str) -> str:
    """Text in the signs that Pillow's font has: accents are dropped, other scripts become "?"."""
    letters = unicodedata.normalize("NFKD", text)
    return "".join(
        sign if sign.isascii() or sign in "°·" else "?"
        for sign in letters
        if not unicodedata.combining(sign)
    )


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
