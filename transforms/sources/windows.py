"""Pixels of a scene's raster files on exactly the geobox that is asked for.

Where the geobox lies on a file's pixel grid the stored pixels are copied. Elsewhere each pixel is
sampled at its own centre, so that its value does not depend on the window it was read with: chips
overlap, and GDAL's warper chooses its approximations per window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from pyproj import Transformer
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from transforms.grid import GeoBox
from transforms.scene import QUALITY_BANDS, Asset, Raster, Scene, SourceUnavailable
from transforms.sources.headers import GDAL_SETTINGS, check_georeference, nodata_of
from transforms.sources.opened import lent

ON_GRID = 1e-6
"""How far a corner may lie from the file's pixel grid and still be on it, px."""

AT_ONCE = 4
"""Files of a scene that are read at a time: while one is waited for, another is decoded."""


class _Plane(NamedTuple):
    """One band on the geobox."""

    values: np.ndarray  # (y, x) of the file's dtype, stored numbers; `nodata` in holes
    inside: np.ndarray  # (y, x) bool, whether the file reaches there
    nodata: float | None  # of the band

    @property
    def valid(self) -> np.ndarray:
        """(y, x) bool."""
        return self.inside & ~_equals(self.values, self.nodata)


Attempt = Callable[[Callable[[str], _Plane], Asset], _Plane]
"""Calls a reader with an asset's href, perhaps signed; on failure perhaps again."""


def read_once(read: Callable[[str], _Plane], asset: Asset) -> _Plane:
    """The `Attempt` of files that need no signature: GDAL asks again where it makes sense."""
    return read(asset.href)


def read_scene(
    scene: Scene,
    geobox: GeoBox,
    bands: tuple[str, ...],
    attempt: Attempt = read_once,
    settings: Mapping[str, object] = MappingProxyType(GDAL_SETTINGS),
) -> Raster:
    """Pixels of `bands` on exactly `geobox`, in the order asked for.

    Off the file's grid: bilinear between the valid ones of the four nearest pixels, nodata where
    the nearest one is nodata; `SCL` takes the nearest.

    Args:
      scene: the scene.
      geobox: where.
      bands: which.
      attempt: how one band is read.
      settings: of GDAL.

    Raises:
      SourceUnavailable: a file could not be read.
      ValueError: the scene has no such band, or a file has no CRS, north-up grid or nodata.
    """
    by_file: dict[str, list[Asset]] = {}
    for asset in [_asset(scene, band) for band in bands]:
        by_file.setdefault(asset.href, []).append(asset)
    points: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def read_plane(asset: Asset, href: str) -> _Plane:
        with lent(asset._replace(href=href), settings) as dataset:
            check_georeference(scene, asset, dataset)
            window, *where = _window(scene, asset, dataset, geobox, points)
        return _sample(asset.band, window, *where) if where else window

    def read_file(assets: list[Asset]) -> dict[str, _Plane]:
        return {asset.band: _patiently(scene, asset, attempt, read_plane) for asset in assets}

    first, *rest = by_file.values()
    # Alone: it asks for the token and finds the positions that all of them use.
    planes = read_file(first)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for more in pool.map(read_file, rest):
            planes |= more
    return _stack(scene, geobox, bands, [planes[band] for band in bands])


def _patiently(
    scene: Scene, asset: Asset, attempt: Attempt, read: Callable[[Asset, str], _Plane]
) -> _Plane:
    try:
        return attempt(partial(read, asset), asset)
    except RasterioError as error:
        raise SourceUnavailable(
            f"scene {scene.id}, band {asset.band}: {asset.href} cannot be read: {error}"
        ) from error


def _asset(scene: Scene, band: str) -> Asset:
    asset = scene.asset(band)
    if asset is None:
        why = ": declared missing" if band in scene.missing else ""
        raise ValueError(
            f"scene {scene.id}: no band {band}{why}; it has {', '.join(scene.bands) or 'none'}"
        )
    return asset


def _window(
    scene: Scene, asset: Asset, dataset: DatasetReader, geobox: GeoBox, points: dict
) -> tuple:
    """What a file stores of a geobox; off its grid also the rest of what `_sample` asks for."""
    nodata = nodata_of(scene, asset, dataset)
    if dataset.crs.to_epsg() == geobox.epsg:
        corner = _on_grid(dataset, geobox)
        if corner is not None:
            return (_copy(dataset, asset.index, *corner, geobox.shape, nodata),)
        x, y = _centres(geobox)
    else:
        crs = dataset.crs.to_wkt()
        if crs not in points:  # the same for every file of the scene, and costly
            to_file = Transformer.from_crs(geobox.epsg, crs, always_xy=True)
            points[crs] = to_file.transform(*np.broadcast_arrays(*_centres(geobox)))
        x, y = points[crs]
    t = dataset.transform
    # Points that have no place in the file's CRS lie outside of the file.
    row, col = (np.where(np.isfinite(p), p, -9.0) for p in ((t.f - y) / -t.e, (x - t.c) / t.a))
    top, bottom = _range(row, dataset.height)
    left, right = _range(col, dataset.width)
    # One pixel more than there is on every side: invalid beyond the file's edge.
    shape = max(bottom - top, 0) + 2, max(right - left, 0) + 2
    window = _copy(dataset, asset.index, top - 1, left - 1, shape, nodata)
    return window, (top - 1, left - 1), row, col


def _centres(geobox: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """x (1, x) and y (y, 1) of pixel centres, CRS units."""
    x = geobox.x0 + (np.arange(geobox.width) + 0.5) * geobox.resolution
    y = geobox.y0 - (np.arange(geobox.height) + 0.5) * geobox.resolution
    return x[None, :], y[:, None]


def _on_grid(dataset: DatasetReader, geobox: GeoBox) -> tuple[int, int] | None:
    """(row, col) of the geobox's upper left pixel in the file; None if it is off its grid."""
    t = dataset.transform
    left, bottom, right, top = geobox.bounds
    col, row = (left - t.c) / t.a, (top - t.f) / t.e
    last_col, last_row = (right - t.c) / t.a, (bottom - t.f) / t.e
    expected = round(row), round(col), round(row) + geobox.height, round(col) + geobox.width
    got = row, col, last_row, last_col
    if max(abs(g - e) for g, e in zip(got, expected, strict=True)) > ON_GRID:
        return None
    return expected[0], expected[1]


def _copy(
    dataset: DatasetReader,
    index: int,
    row: int,
    col: int,
    shape: tuple[int, int],
    nodata: float | None,
) -> _Plane:
    """The window of `shape` whose upper left pixel is (row, col); it may reach beyond the file."""
    top, bottom = max(row, 0), min(row + shape[0], dataset.height)
    left, right = max(col, 0), min(col + shape[1], dataset.width)
    if (bottom - top, right - left) == shape:
        values = dataset.read(index, window=Window(left, top, right - left, bottom - top))
        return _Plane(values, np.ones(shape, bool), nodata)
    values = np.zeros(shape, dataset.dtypes[index - 1])
    inside = np.zeros(shape, bool)
    if top < bottom and left < right:
        part = slice(top - row, bottom - row), slice(left - col, right - col)
        values[part] = dataset.read(index, window=Window(left, top, right - left, bottom - top))
        inside[part] = True
    return _Plane(values, inside, nodata)


def _sample(
    band: str, window: _Plane, corner: tuple[int, int], row: np.ndarray, col: np.ndarray
) -> _Plane:
    """Values at fractional positions, px from the file's upper left corner.

    Args:
      band: whose values these are.
      window: of the file, with one pixel more on every side than the positions need.
      corner: (row, col) of its upper left pixel.
      row: (y, 1) or (y, x) float64.
      col: (1, x) or (y, x) float64.
    """
    (top, left), (rows, cols) = corner, window.values.shape

    def index(position: np.ndarray, first: int, count: int) -> np.ndarray:
        return np.clip(position - first, 0, count - 1).astype(np.intp)

    nearest = index(np.floor(row), top, rows), index(np.floor(col), left, cols)
    inside = _pick(window.inside, *nearest)
    if band == "SCL":
        return _Plane(_pick(window.values, *nearest), inside, window.nodata)

    # Integers of 16 bits and their weights fit float32: half the memory to go through.
    exact = np.result_type(window.values.dtype, np.float32)
    r0, c0 = np.floor(row - 0.5), np.floor(col - 0.5)
    between = (
        [index(r0 + step, top, rows) for step in (0, 1)],
        [index(c0 + step, left, cols) for step in (0, 1)],
        ((row - 0.5 - r0).astype(exact), (col - 0.5 - c0).astype(exact)),
    )
    usable = window.valid
    if usable.all():  # then the weights add up to 1, exactly
        value = _blend(window.values.astype(exact), *between)
    else:
        valid = _pick(usable, *nearest)
        value = _blend(np.where(usable, window.values, 0).astype(exact), *between)
        weight = _blend(usable.astype(exact), *between)
        np.divide(value, weight, out=value, where=valid)
        value[~valid] = 0 if window.nodata is None else window.nodata
    if window.values.dtype.kind != "f":
        value = np.rint(value, out=value)
    return _Plane(value.astype(window.values.dtype), inside, window.nodata)


def _pick(plane: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """`plane[row, col]`; whole rows at a time where all of them have the same columns."""
    if row.shape[1] == 1:
        return plane.take(row[:, 0], axis=0).take(col[0], axis=1)
    return plane[row, col]


def _blend(
    plane: np.ndarray,
    rows: list[np.ndarray],
    cols: list[np.ndarray],
    share: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Bilinear mean: between two columns first, then between two rows; (y, x) of its dtype.

    Args:
      plane: (row, col) of a float dtype.
      rows: upper and lower one, each (y, 1) or (y, x).
      cols: left and right one, each (1, x) or (y, x).
      share: of the lower and of the right one, 0-1.
    """
    down, right = share
    if down.shape[1] == 1:
        west, east = (plane.take(col[0], axis=1) for col in cols)
        across = (1 - right) * west + right * east
        upper, lower = (across.take(row[:, 0], axis=0) for row in rows)
    else:
        upper, lower = (
            (1 - right) * plane[row, cols[0]] + right * plane[row, cols[1]] for row in rows
        )
    upper *= 1 - down
    lower *= down
    upper += lower
    return upper


def _range(position: np.ndarray, size: int) -> tuple[int, int]:
    """First and one past the last pixel that bilinear sampling at the positions needs."""
    first, last = np.floor(position.min() - 0.5), np.floor(position.max() - 0.5) + 1
    return int(max(first, 0)), int(min(last + 1, size))


def _equals(values: np.ndarray, nodata: float | None) -> np.ndarray:
    if nodata is None:
        return np.zeros(values.shape, bool)
    return np.isnan(values) if np.isnan(nodata) else values == nodata


def _stack(scene: Scene, geobox: GeoBox, bands: tuple[str, ...], planes: list[_Plane]) -> Raster:
    """The planes in one array, with one value where there is no pixel."""
    dtype = np.result_type(*(p.values.dtype for p in planes))
    nodata = next(
        (p.nodata for b, p in zip(bands, planes, strict=True) if b not in QUALITY_BANDS),
        # 0 % is a probability, 0 of SCL is nodata.
        255 if "CLOUD_PROBABILITY" in bands else 0,
    )
    nodata = np.nan if dtype.kind == "f" else nodata
    out = np.empty((len(bands), *geobox.shape), dtype)
    for target, band, plane in zip(out, bands, planes, strict=True):
        # Holes of a cloud probability keep their own value: the common one may mean "clear".
        kept = plane.inside if band == "CLOUD_PROBABILITY" else plane.valid
        if kept.all():
            target[:] = plane.values
            continue
        # SCL says itself where it has no data, whatever the reflectances use.
        target[:] = 0 if band == "SCL" else nodata
        np.copyto(target, plane.values, where=kept)
    return Raster(out, geobox, bands, nodata)
