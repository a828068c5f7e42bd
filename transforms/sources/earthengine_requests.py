"""Requests for pixels: how they are cut to Earth Engine's limit, and what their answers hold."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from transforms.grid import GeoBox
from transforms.scene import SENTINEL1, Raster
from transforms.sources.patience import Transient

REQUEST_LIMIT = 50_331_648
"""Bytes that one computePixels may answer with, before compression (48 MiB)."""

MASK_BYTES = 1
"""Earth Engine counts a byte of mask for every pixel of every band."""


class Stored(NamedTuple):
    """How a band's pixels are asked for."""

    dtype: str  # numpy, as sent
    hole: float  # sent where a pixel is masked: no value of the data


REFLECTANCE = Stored("<u2", 0)
_STORED = {
    "SCL": Stored("|u1", 0),
    "CLOUD_PROBABILITY": Stored("|u1", 255),
    "VV": Stored("<f4", -9999),
    "VH": Stored("<f4", -9999),
}


class Part(NamedTuple):
    """The bands and rows of one request."""

    bands: tuple[str, ...]
    row: int  # first one
    rows: int


def stored(band: str) -> Stored:
    return _STORED.get(band, REFLECTANCE)


def request_bytes(bands: Sequence[str], height: int, width: int) -> int:
    """What Earth Engine counts for a request: (item size + 1) x pixels, over the bands."""
    return height * width * sum(np.dtype(stored(b).dtype).itemsize + MASK_BYTES for b in bands)


def split(
    bands: Sequence[str], height: int, width: int, limit: int = REQUEST_LIMIT
) -> tuple[Part, ...]:
    """Requests that together fetch `bands`: by bands, and by rows where one band is too large.

    Raises:
      ValueError: not even one row of a band fits.
    """
    parts: list[Part] = []
    together: tuple[str, ...] = ()
    for band in bands:
        if request_bytes((*together, band), height, width) <= limit:
            together += (band,)
            continue
        if together:
            parts.append(Part(together, 0, height))
            together = ()
        if request_bytes((band,), height, width) <= limit:
            together = (band,)
        else:
            parts += _split_rows(band, height, width, limit)
    return (*parts, Part(together, 0, height)) if together else tuple(parts)


def _split_rows(band: str, height: int, width: int, limit: int) -> list[Part]:
    rows = limit // request_bytes((band,), 1, width)
    if not rows:
        raise ValueError(
            f"band {band}: one row of {width} px takes {request_bytes((band,), 1, width)} bytes, "
            f"Earth Engine answers at most {limit}; use a smaller block"
        )
    return [Part((band,), row, min(rows, height - row)) for row in range(0, height, rows)]


def rows_of(geobox: GeoBox, part: Part) -> GeoBox:
    """The rows of a geobox that a part covers."""
    return geobox._replace(y0=geobox.y0 - part.row * geobox.resolution, height=part.rows)


def grid_of(geobox: GeoBox) -> dict:
    """The geobox as computePixels takes it: exact CRS, affine transform and dimensions."""
    return {
        "crsCode": f"EPSG:{geobox.epsg}",
        "affineTransform": {
            "scaleX": geobox.resolution,
            "shearX": 0,
            "translateX": geobox.x0,
            "shearY": 0,
            "scaleY": -geobox.resolution,
            "translateY": geobox.y0,
        },
        "dimensions": {"width": geobox.width, "height": geobox.height},
    }


def decode(answer: bytes, bands: Sequence[str], shape: tuple[int, int]) -> np.ndarray:
    """(y, x) structured array, one field per band, of an answer in NPY format.

    Raises:
      Transient: the answer is cut short or no such array; the next one may be whole.
    """
    try:
        pixels = np.load(io.BytesIO(answer), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise Transient(f"answer of {len(answer)} bytes is no whole array: {error}") from error
    expected = np.dtype([(band, stored(band).dtype) for band in bands])
    if pixels.dtype != expected or pixels.shape != shape:
        raise Transient(f"answer is {pixels.shape} of {pixels.dtype}, expected {shape} {expected}")
    return pixels


def assemble(sensor: str, geobox: GeoBox, planes: dict[str, np.ndarray]) -> Raster:
    """The planes (y, x) of all bands in one array, with one value where a pixel is masked.

    Beside reflectance a cloud probability keeps its own 255 in the holes inside of the scene: the
    common nodata, 0, would mean "clear" there.
    """
    bands = tuple(planes)
    holes = {band: planes[band] == stored(band).hole for band in bands}
    reflectance = [holes[band] for band in bands if stored(band) == REFLECTANCE]
    if sensor == SENTINEL1:
        nodata, dtype = np.nan, np.float32
    elif reflectance:
        nodata, dtype = 0, np.uint16
        if "CLOUD_PROBABILITY" in holes:
            holes["CLOUD_PROBABILITY"] = np.logical_and.reduce(reflectance)
    else:
        nodata, dtype = (255 if "CLOUD_PROBABILITY" in bands else 0), np.uint8
    out = np.empty((len(bands), *geobox.shape), dtype)
    for target, band in zip(out, bands, strict=True):
        target[:] = planes[band]
        target[holes[band]] = nodata
    return Raster(out, geobox, bands, nodata)
