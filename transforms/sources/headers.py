"""Raster files opened, and what their headers tell before any pixel is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext

import fsspec
import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.io import DatasetReader

from model.inputs import INPUTS
from transforms.masking import mask_gdal
from transforms.scene import QUALITY_BANDS, SENTINEL2, Asset, Scene, SourceUnavailable

GDAL_SETTINGS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no listing of the folder, no sidecar files
    "GDAL_CACHEMAX": 128 * 2**20,  # bytes; by default 5 % of the memory, in every process
    "GDAL_INGESTED_BYTES_AT_OPEN": 32768,  # a COG's header in one request
    "GDAL_HTTP_MAX_RETRY": 3,
    "GDAL_HTTP_RETRY_DELAY": 1,
    "GDAL_HTTP_MULTIPLEX": True,  # one connection, many requests in flight
    "GDAL_HTTP_VERSION": "2TLS",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": True,  # the tiles of a row in one request
    "GDAL_HTTP_CONNECTTIMEOUT": 10,  # s
    "GDAL_HTTP_TIMEOUT": 60,  # s, of a whole request
    "VSI_CACHE": True,
}

mask_gdal()

_failed: set[str] = set()  # of this process; what cannot be opened now


def open_asset(asset: Asset) -> DatasetReader:
    """The asset's file, opened.

    Raises:
      RasterioError: GDAL cannot.
      ValueError: of an address that is neither local, gs://, s3:// nor https://.
    """
    path = _gdal_path(asset.href)
    # One driver: others would open documents that name further files, as VRT does.
    jpeg2000 = asset.href.partition("?")[0].lower().endswith((".jp2", ".j2k"))
    driver = "JP2OpenJPEG" if jpeg2000 else "GTiff"
    again = rasterio.Env(CPL_VSIL_CURL_NON_CACHED=path) if path in _failed else nullcontext()
    try:
        with again:
            dataset = rasterio.open(path, driver=driver)
    except RasterioError:
        _failed.add(path)
        raise
    _failed.discard(path)
    return dataset


def ask_again(asset: Asset) -> None:
    """Have the file really read when it is opened next, for it just failed.

    GDAL keeps for the life of the process that a file could not be opened, and what was left of
    an answer that was cut short.
    """
    _failed.add(_gdal_path(asset.href))


def check_georeference(scene: Scene, asset: Asset, dataset: DatasetReader) -> None:
    """Raises ValueError unless the file has the band, a CRS and a north-up grid."""
    where = f"scene {scene.id}, band {asset.band}: {asset.href}"
    if not dataset.crs and dataset.gcps[0]:
        raise ValueError(
            f"{where} carries only ground control points, as raw GRD does; "
            f"take it from a terrain-corrected collection"
        )
    if not dataset.crs:
        raise ValueError(f"{where} has no CRS; write it into the file, an item's is not enough")
    t = dataset.transform
    if t.b or t.d or t.a <= 0 or t.e >= 0:
        raise ValueError(f"{where} is not north-up, got {tuple(t)[:6]}; warp it first")
    if not 1 <= asset.index <= dataset.count:
        raise ValueError(f"{where} has {dataset.count} bands, the item wants number {asset.index}")


def nodata_of(scene: Scene, asset: Asset, dataset: DatasetReader) -> float | None:
    """The band's nodata: the item's, the file's, NaN of floats; None only for quality bands.

    Raises:
      ValueError: integers of reflectance or backscatter come without nodata that they can hold.
    """
    dtype = np.dtype(dataset.dtypes[asset.index - 1])
    nodata = asset.nodata
    if nodata is None and asset.band not in QUALITY_BANDS:
        nodata = dataset.nodatavals[asset.index - 1]
        nodata = np.nan if nodata is None and dtype.kind == "f" else nodata
    if dtype.kind == "f" or asset.band in QUALITY_BANDS:
        return nodata
    limits = np.iinfo(dtype)
    if nodata is None or not limits.min <= nodata <= limits.max:  # NaN is not between them
        raise ValueError(
            f"scene {scene.id}, band {asset.band}: {asset.href} holds {dtype} with nodata "
            f"{nodata}, expected a value of that type; declare it in raster:bands of the item"
        )
    return nodata


def check_scene(
    scene: Scene, declared: Mapping[str, str], bands: tuple[str, ...] | None = None
) -> None:
    """Open the header of every file of a scene.

    Args:
      scene: the scene.
      declared: href -> CRS that the item states, for those that it states.
      bands: that have to be there or be declared missing; the network's input bands by default.

    Raises:
      ValueError: a band is absent, or a local file is missing, unreadable, truncated, without CRS,
        not north-up, without nodata, or in another CRS than the item says.
      SourceUnavailable: a remote file could not be opened.
    """
    if bands is None:
        bands = INPUTS.optical.names if scene.sensor == SENTINEL2 else INPUTS.sar.names
    absent = [b for b in bands if b not in scene.bands and b not in scene.missing]
    if absent:
        raise ValueError(
            f"scene {scene.id} ({scene.link}): no asset for {', '.join(absent)}; add it, or "
            f"name the bands in the item's cloudlulc:missing_bands"
        )
    with rasterio.Env(**GDAL_SETTINGS):
        for asset in scene.assets:
            where = f"scene {scene.id}, band {asset.band}: {asset.href}"
            try:
                with open_asset(asset) as dataset:
                    check_georeference(scene, asset, dataset)
                    nodata_of(scene, asset, dataset)
                    _check_crs(where, declared.get(asset.href), dataset)
                    _check_length(where, asset, dataset)
            except RasterioError as error:
                remote = "://" in asset.href
                kind = SourceUnavailable if remote else ValueError
                raise kind(f"{where} cannot be opened: {error}") from error


def _check_crs(where: str, declared: str | None, dataset: DatasetReader) -> None:
    if declared is None:
        return
    try:
        expected = CRS.from_string(declared)
    except CRSError as error:
        raise ValueError(f"{where}: the item's CRS {declared!r} is unknown: {error}") from error
    if expected != dataset.crs and expected.to_epsg() != dataset.crs.to_epsg():
        raise ValueError(
            f"{where} is in {dataset.crs.to_string()}, but its item says {declared}; correct "
            f"proj:code (or proj:epsg) of the item"
        )


def _check_length(where: str, asset: Asset, dataset: DatasetReader) -> None:
    """Raises ValueError where a GeoTIFF's header points to pixels beyond the end of its file."""
    if dataset.driver != "GTiff":
        return
    size = fsspec.open(asset.href).fs.size(asset.href)
    rows, cols = dataset.block_shapes[asset.index - 1]
    for y in range(-(-dataset.height // rows)):
        for x in range(-(-dataset.width // cols)):
            start, count = (
                int(dataset.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", asset.index) or 0)
                for what in ("OFFSET", "SIZE")
            )
            if start + count > size:
                raise ValueError(
                    f"{where} is truncated: it has {size} bytes, block ({y}, {x}) ends at "
                    f"{start + count}; fetch it again"
                )


_GDAL_PREFIXES = {
    "gs": "/vsigs/",
    "s3": "/vsis3/",
    "https": "/vsicurl/https://",
    "http": "/vsicurl/http://",
}


def _gdal_path(href: str) -> str:
    if "://" not in href:
        return os.path.abspath(href)  # "WMS:..." would be a service to GDAL, not a file
    scheme, _, path = href.partition("://")
    prefix = _GDAL_PREFIXES.get(scheme)
    if prefix is None:
        raise ValueError(
            f"asset {href}: got {scheme}://, expected a local path, gs://, s3:// or https://"
        )
    return prefix + path
