"""Real observations for the training set: cloudy series, a clear scene, cloud decks.

None of these places is scored by `score_real.py`. Bands that a source lacks are left as nodata.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.enums import Resampling
from scipy.ndimage import zoom

from model.inputs import INPUTS
from model.layout import BUILT, CROP, FOREST, WATER
from model.legend import IGNORE_INDEX, crosswalk
from model.render import IMAGE_BANDS

BANDS = INPUTS.optical.names
# WorldCereal's legend of the series' LC layer -> class index.
_SERIES_TO_LULC6 = {11: 5, 13: 2, 60: 4}
_CLEAR = (4, 5, 6)  # scene classification: vegetation, soil, water


# The clear scene T48QUE (Indochina, 2020-02-23), outlined by eye, px: (left, top, right, bottom).
_VILLAGES = (
    (159, 254, 200, 300), (165, 300, 215, 362), (88, 442, 157, 500), (181, 2, 225, 25),
    (668, 125, 737, 210), (705, 186, 737, 293), (759, 100, 818, 142), (615, 0, 646, 44),
    (769, 181, 803, 225), (598, 396, 661, 416), (891, 367, 928, 416), (859, 435, 876, 489),
    (823, 504, 862, 534), (534, 504, 558, 563), (893, 460, 925, 499), (44, 754, 88, 779),
    (78, 774, 157, 813), (112, 749, 166, 779), (995, 800, 1038, 850), (1020, 780, 1068, 815),
    (742, 629, 757, 676), (808, 563, 840, 595), (632, 1040, 656, 1068),
)  # fmt: skip
_MARSHES = (
    (298, 60, 534, 460), (534, 60, 590, 190), (386, 705, 435, 808), (200, 876, 270, 955),
    (345, 612, 381, 830),
)  # fmt: skip
_PADDIES = (190, 640, 480, 1068)


class Series(NamedTuple):
    """One place of 640 m through a year and more, at 10 m (20 m bands interpolated)."""

    optical: np.ndarray  # (date, 12, y, x) uint16, reflectance x 1e4, 0 nodata
    cover: np.ndarray  # (date,) float, share of pixels that are not clear
    sar: np.ndarray  # (date, 2, y, x) int16, dB x 100, -32768 nodata; nearest pass of each date
    label: np.ndarray  # (y, x) uint8, class index, 255 unknown


def read_series(folder: Path) -> Series:
    """Reads `OUTPUT*.nc`, `S1*.nc`, `S2*_20m*.nc` and, where there, `S2*_10m*.nc`."""
    (s1,), (s2,) = folder.glob("S1*.nc"), folder.glob("S2*20m*.nc")
    (labels,) = folder.glob("OUTPUT*.nc")
    codes, _ = _variable(labels, "LC")
    label = crosswalk(codes[0].astype(np.uint8), _SERIES_TO_LULC6)
    scene, date = _variable(s2, "SCL")
    optical = np.zeros((len(date), len(BANDS), *label.shape), np.uint16)
    for band in ("B05", "B06", "B07", "B8A", "B11", "B12"):
        optical[:, BANDS.index(band)] = _twice(_variable(s2, band)[0])
    for path in folder.glob("S2*10m*.nc"):
        for band in ("B02", "B03", "B04", "B08"):
            optical[:, BANDS.index(band)] = _variable(path, band)[0]
    channels = []
    for name in ("VV", "VH"):
        coded, passed = _variable(s1, name)  # dB x 1e4, 0 nodata
        nearest = np.abs(passed[None] - date[:, None]).argmin(1)
        known = _twice((coded != 0).astype(np.float32)) > 0.99
        decibel = np.where(known, _twice(coded * 1e-2), INPUTS.sar.nodata)
        channels.append(np.rint(decibel).astype(np.int16)[nearest])
    cover = 1.0 - np.isin(scene, _CLEAR).mean(axis=(1, 2))
    return Series(optical, cover, np.stack(channels, 1), label)


def _variable(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A variable (date, y, x) and its times, s."""
    with rasterio.open(f"netcdf:{path}:{name}") as file:
        times = file.tags().get("NETCDF_DIM_timestamp_VALUES", "{0}")
        return file.read(), np.array([float(t) for t in times.strip("{}").split(",")])


def _twice(a: np.ndarray) -> np.ndarray:
    return zoom(a, (1, 2, 2), order=1, mode="nearest", grid_mode=True)


def series_sample(
    places: list[Series], size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A mosaic of 640 m tiles: cloudy and clear optical, SAR of the cloudy dates, label."""
    cloudy, clear = (np.zeros((len(BANDS), size, size), np.uint16) for _ in range(2))
    sar = np.full((2, size, size), INPUTS.sar.nodata, np.int16)
    label = np.full((size, size), IGNORE_INDEX, np.uint8)
    side = places[0].label.shape[0]
    for y in range(0, size, side):
        for x in range(0, size, side):
            place = places[rng.integers(len(places))]
            date = rng.integers(len(place.cover))
            best = rng.choice(np.flatnonzero(place.cover < 0.05))
            turns, flip = int(rng.integers(4)), 1 - 2 * int(rng.integers(2))
            for out, tile in (
                (cloudy, place.optical[date]),
                (clear, place.optical[best]),
                (sar, place.sar[date]),
                (label, place.label),
            ):
                turned = np.rot90(tile, turns, (-2, -1))[..., ::flip]
                out[..., y : y + side, x : x + side] = turned[..., : size - y, : size - x]
    return cloudy, clear, sar, label


def read_clear_scene(data: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """T48QUE: bands of `IMAGE_BANDS` (7, y, x) float32, every pixel's likely class, the sure ones.

    Classes follow from indices and the outlines above: water, dark closed forest, houses and roads
    inside villages, paddies, and what is bare in a land of fields. What may be either (young
    plantations, marsh, gardens) is 255 in the last array.
    """
    (folder,) = (data / "optical" / "majortom_s2l2a").glob("*/*/*T48QUE*")
    image = np.maximum(_at_10m(folder, IMAGE_BANDS), 10.0)
    bands = dict(zip(IMAGE_BANDS, image, strict=True))
    green, red, nir, swir = (bands[b] for b in ("B03", "B04", "B08", "B11"))
    ndvi = (nir - red) / (nir + red)
    wet = (green - swir) / (green + swir)

    def within(*boxes: tuple[int, int, int, int]) -> np.ndarray:
        inside = np.zeros(red.shape, bool)
        for left, top, right, bottom in boxes:
            inside[top:bottom, left:right] = True
        return inside

    village, marsh, paddy = within(*_VILLAGES), within(*_MARSHES), within(_PADDIES)
    water = (wet > 0.1) & (ndvi < 0.2)
    likely = np.select([water, village & (ndvi < 0.5), ndvi > 0.5], [WATER, BUILT, FOREST], CROP)
    likely[paddy & ~water] = CROP
    sure = np.full(red.shape, IGNORE_INDEX, np.uint8)
    field = (ndvi < 0.4) & (swir > 2000) & ~village & ~paddy
    sure[field | (paddy & (ndvi > 0.45))] = CROP
    sure[(ndvi > 0.6) & (green < 650) & ~paddy] = FOREST
    sure[village & (ndvi < 0.5)] = BUILT
    sure[village & (ndvi >= 0.5)] = IGNORE_INDEX
    sure[marsh] = IGNORE_INDEX
    sure[(wet > 0.25) & (ndvi < 0.1)] = WATER
    return image, likely.astype(np.uint8), sure


def _at_10m(folder: Path, bands: tuple[str, ...]) -> np.ndarray:
    layers = []
    for band in bands:
        with rasterio.open(folder / f"{band}.tif") as file:
            layers.append(file.read(1, out_shape=(1068, 1068), resampling=Resampling.bilinear))
    return np.stack(layers).astype(np.float32)


def read_decks(data: Path) -> list[np.ndarray]:
    """Real scenes that are cloud all over: (12, y, x) float32, reflectance x 1e4."""
    (africa,) = (data / "optical" / "majortom_s2l2a").glob("0U/*/*T33NZA*")
    with rasterio.open(data / "optical" / "hydro" / "patch_1.tif") as file:
        cumulus = file.read()[:, :, 64:192]  # the rest of it is sea
    # Baseline N0400 and later carry an offset of 1000.
    return [np.maximum(a.astype(np.float32) - 1000, 1) for a in (_at_10m(africa, BANDS), cumulus)]
