"""The synthetic planet: classes, smooth fields and noise as functions of the place alone.

Smooth fields are sums of plane waves through space that the sphere cuts, so that they have no seam
at zone borders, the antimeridian or the poles. Noise belongs to the absolute number of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import floor

import numpy as np
from pyproj import Transformer

from transforms.grid import GeoBox

WATER, FOREST, GRASSLAND, BARREN, BUILT_UP, CROPLAND = range(6)
"""Class indices, those of LULC6."""

_CELL = 32  # px between the points at which phases are computed; see `interpolate`
_EARTH_RADIUS = 6_371_000.0  # m


@lru_cache(maxsize=4)
def ground_at(seed: int, geobox: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """(y, x) uint8 class index and (y, x) float32 texture of unit deviation."""
    wet = Waves.make((seed, 1), 900.0, 9000.0)
    tended = Waves.make((seed, 2), 600.0, 5000.0)
    green = Waves.make((seed, 3), 400.0, 3000.0)
    wetness, tending, greenness = (w.field(geobox) for w in (wet, tended, green))
    classes = np.full(geobox.shape, GRASSLAND, np.uint8)
    classes[greenness > green.level(0.6)] = FOREST
    classes[greenness < green.level(0.15)] = BARREN
    classes[tending > tended.level(0.65)] = CROPLAND
    classes[tending > tended.level(0.92)] = BUILT_UP
    classes[wetness > wet.level(0.85)] = WATER
    texture = Waves.make((seed, 4), 80.0, 400.0).field(geobox)
    classes.flags.writeable = texture.flags.writeable = False  # shared by the cache
    return classes, texture


@dataclass(frozen=True)
class Waves:
    """A sum of plane waves through space, sampled on the sphere: smooth, and without a seam."""

    vectors: np.ndarray  # (wave, 3) float64, turns / m
    phases: np.ndarray  # (wave,) float64, turns

    @staticmethod
    @lru_cache(maxsize=64)
    def make(key: tuple[int, ...], shortest: float, longest: float, count: int = 5) -> Waves:
        """Waves of lengths between `shortest` and `longest`, m."""
        random = np.random.default_rng(key)
        direction = random.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = np.geomspace(shortest, longest, count)[:, None]
        return Waves(direction / length, random.uniform(0, 1, count))

    def field(
        self, geobox: GeoBox, offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ) -> np.ndarray:
        """(y, x) float32 of unit deviation, at places moved by `offset`, m."""
        longitude, latitude = np.radians(nodes(geobox))
        place = _EARTH_RADIUS * np.stack(
            [
                np.cos(latitude) * np.cos(longitude),
                np.cos(latitude) * np.sin(longitude),
                np.sin(latitude),
            ]
        )
        place += np.array(offset)[:, None, None]
        total = np.zeros(geobox.shape, np.float32)
        for vector, phase in zip(self.vectors, self.phases, strict=True):
            # Spelled out: a matrix product may round differently from window to window.
            turns = vector[0] * place[0] + vector[1] * place[1] + vector[2] * place[2] + phase
            turns = interpolate(turns, geobox)
            # Whole turns go before float32, whose sine is the faster one.
            turns -= np.floor(turns)
            total += np.sin(np.float32(2 * np.pi) * turns.astype(np.float32))
        return total * np.float32(np.sqrt(2 / len(self.phases)))

    def level(self, share: float) -> float:
        """The value that the field stays below over `share` of the planet."""
        return _level(len(self.phases), share)


@lru_cache(maxsize=64)
def _level(count: int, share: float) -> float:
    # Far apart, the waves' phases are independent.
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, (count, 100_000))
    return float(np.quantile(np.sin(angles).sum(axis=0) * np.sqrt(2 / count), share))


def _steps(first: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Absolute pixel centres, in cells, and the numbers of the nodes around them."""
    position = (first + np.arange(count) + 0.5) / _CELL
    nodes = np.arange(floor(position[0]), floor(position[-1]) + 2)
    return position, nodes


def _axes(geobox: GeoBox) -> tuple[tuple, tuple]:
    """`_steps` of x, and of y counted southward."""
    # Nodes are numbered from the CRS's origin, so that all windows share them.
    step = geobox.resolution
    return _steps(geobox.x0 / step, geobox.width), _steps(-geobox.y0 / step, geobox.height)


def nodes(geobox: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """(y, x) longitude and latitude of the nodes, degrees."""
    (_, columns), (_, rows) = _axes(geobox)
    x, y = np.meshgrid(columns * _CELL * geobox.resolution, -rows * _CELL * geobox.resolution)
    if geobox.epsg == 4326:
        return x, y
    return _transformer(geobox.epsg).transform(x, y)


@lru_cache(maxsize=8)
def _transformer(epsg: int) -> Transformer:
    return Transformer.from_crs(epsg, 4326, always_xy=True)


def interpolate(values: np.ndarray, geobox: GeoBox) -> np.ndarray:
    """Values at nodes -> values at pixels, bilinear.

    Places between nodes 320 m apart are off by millimetres, and sines cost far less than
    coordinate transformations of every pixel.
    """
    (x, columns), (y, rows) = _axes(geobox)
    for axis, position, first in ((0, y, rows[0]), (1, x, columns[0])):
        left = np.floor(position)
        weight = np.expand_dims(position - left, 1 - axis)
        at = (left - first).astype(np.intp)
        low, high = np.take(values, at, axis), np.take(values, at + 1, axis)
        values = low + weight * (high - low)
    return values


def seed_of(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def pixel_noise(key: int, geobox: GeoBox) -> np.ndarray:
    """(y, x) float64 in (0, 1), uniform, by the absolute number of the pixel."""
    column = np.floor(geobox.x0 / geobox.resolution + np.arange(geobox.width) + 0.5)
    row = np.floor(-geobox.y0 / geobox.resolution + np.arange(geobox.height) + 0.5)

    def mixed(numbers: np.ndarray, salt: int) -> np.ndarray:
        return _scramble(numbers.astype(np.int64).astype(np.uint32) ^ np.uint32(salt))

    line = mixed(row, key)[:, None]
    return (_scramble(line ^ mixed(column, key ^ 0x9E3779B9)[None, :]) + 0.5) / 2.0**32


def _scramble(x: np.ndarray) -> np.ndarray:
    """uint32 -> uint32: the finalizer of MurmurHash3 (A. Appleby, public domain)."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))
