"""Writes product tiles: a Zarr group with all layers, a Cloud-Optimised GeoTIFF per layer.

Both are streamed by windows, so that memory does not grow with the tile, and hold no time of
creation: same inputs, same bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from model.legend import NODATA_CODE, Legend
from transforms import cf, store
from transforms.grid import GeoBox
from transforms.layers import Layer
from transforms.mosaic import Window

ZARR_CHUNK = 512
ZARR_SHARD = 2048
"""Sides in px; the mosaic's windows are whole shards."""

COG_BLOCK = 512

_GDAL_CACHE = 128 * 2**20  # bytes


def write_zarr(
    url: str,
    geobox: GeoBox,
    layers: tuple[Layer, ...],
    windows: Iterable[Window],
    legend: Legend,
    attributes: dict[str, Any],
) -> None:
    """Write all layers of a product tile as one Zarr v3 group, georeferenced for xarray.

    Args:
      windows: as from `mosaic_windows`, with size `ZARR_SHARD`.
      attributes: of the group (title, target date, licence, ...), JSON.

    Raises:
      ValueError: another product lies there.
    """
    import zarr

    arrays = cf.coordinate_arrays(geobox) | {
        layer.name: store.ArraySpec(
            geobox.shape,
            (ZARR_CHUNK,) * 2,
            (ZARR_SHARD,) * 2,
            layer.dtype,
            layer.nodata,
            ("y", "x"),
            cf.layer_attributes(layer, legend),
        )
        for layer in layers
    }
    store.create_cube(url, arrays, attributes | cf.group_attributes(geobox))
    group = store.open_group(url, "r+")
    cf.write_coordinates(group, geobox)
    for window in windows:
        for name, pixels in window.layers.items():
            group[name][window.rows, window.cols] = pixels
    with warnings.catch_warnings():
        # Consolidated metadata is not in the Zarr v3 specification yet; xarray reads it.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(group.store)
    # Zarr lists the arrays in the order of the file system; keys in order make equal bytes.
    document = store.join(url, "zarr.json")
    store.write_json(document, store.read_json(document))


def read_zarr(url: str, layer: Layer) -> Iterator[Window]:
    """The windows of one layer of a product's Zarr group, one per shard."""
    array = store.open_group(url, "r")[layer.name]
    height, width = array.shape
    for top in range(0, height, ZARR_SHARD):
        for left in range(0, width, ZARR_SHARD):
            rows = slice(top, min(top + ZARR_SHARD, height))
            cols = slice(left, min(left + ZARR_SHARD, width))
            yield Window(rows, cols, {layer.name: array[rows, cols]})


def write_cog(
    url: str,
    geobox: GeoBox,
    layer: Layer,
    windows: Iterable[Window],
    legend: Legend,
    tags: dict[str, str],
) -> None:
    """Write one layer of a product tile as a Cloud-Optimised GeoTIFF.

    `lulc` carries its colour table and its class names, as `CLASS_<code>` in the band's metadata;
    its overviews hold the most frequent class, those of other layers the nearest pixel.

    Args:
      tags: of the file (title, target date, licence, ...).
    """
    import rasterio
    import rasterio.shutil

    left, dx, _, top, _, dy = geobox.gdal_transform
    profile = {
        "driver": "GTiff",
        "width": geobox.width,
        "height": geobox.height,
        "count": 1,
        "dtype": layer.dtype,
        "nodata": layer.nodata,
        "crs": f"EPSG:{geobox.epsg}",
        "transform": rasterio.Affine(dx, 0, left, 0, dy, top),
        "tiled": True,
        "blockxsize": COG_BLOCK,
        "blockysize": COG_BLOCK,
        "compress": "ZSTD",
        "zstd_level": 1,
        "bigtiff": "IF_SAFER",
    }
    with store.publishing(url) as path, rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE):
        plain = path.with_suffix(".plain.tif")
        with rasterio.open(plain, "w", **profile) as raster:
            for window in windows:
                raster.write(
                    window.layers[layer.name], 1, window=_raster_window(window.rows, window.cols)
                )
            raster.set_band_description(1, layer.name)
            raster.update_tags(**tags)
            raster.update_tags(1, DESCRIPTION=layer.description)
            raster.units = (layer.unit,)
            if layer.name == "lulc":
                raster.write_colormap(1, legend.color_table())
                raster.update_tags(1, **class_names(legend))
        rasterio.shutil.copy(
            plain,
            path,
            driver="COG",
            compress="DEFLATE",
            blocksize=COG_BLOCK,
            overview_resampling="MODE" if layer.name == "lulc" else "NEAREST",
            bigtiff="IF_SAFER",
            num_threads="ALL_CPUS",
        )


def class_names(legend: Legend) -> dict[str, str]:
    """ "CLASS_<code>" -> name, in the order of the codes."""
    classes = sorted(legend.classes, key=lambda c: c.code)
    return {f"CLASS_{NODATA_CODE}": "nodata"} | {f"CLASS_{c.code}": c.name for c in classes}


def _raster_window(rows: slice, cols: slice) -> tuple[tuple[int, int], tuple[int, int]]:
    return (rows.start, rows.stop), (cols.start, cols.stop)
