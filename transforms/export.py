"""Writes product tiles: a Zarr group with all layers, a Cloud-Optimised GeoTIFF per layer.

Both are streamed by windows, so that memory does not grow with the tile, and hold no time of
creation: same inputs, same bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from xml.etree import ElementTree

from model.legend import NODATA_CODE, Legend
from transforms import cf, cubes, store
from transforms.grid import GeoBox
from transforms.layers import Layer
from transforms.mosaic import Window
from transforms.product import ProductTile, cog_url, zarr_url

ZARR_CHUNK = 512
ZARR_SHARD = 2048
"""Sides in px; the mosaic's windows are whole shards."""

COG_BLOCK = 512

_GDAL = {
    "GDAL_CACHEMAX": 128 * 2**20,  # bytes
    # Overviews lie in a file until all are made; to compress that takes a fifth of a COG's time.
    "COG_TMP_COMPRESSION": "NONE",
}


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
        layer.name: cubes.ArraySpec(
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
    cubes.create_cube(url, arrays, attributes | cf.group_attributes(geobox))
    group = cubes.open_group(url, "r+")
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


def read_zarr(url: str, names: Sequence[str]) -> Iterator[Window]:
    """The windows of some layers of a product's Zarr group, one per shard."""
    group = cubes.open_group(url, "r")
    arrays = {name: group[name] for name in names}
    height, width = arrays[names[0]].shape
    for top in range(0, height, ZARR_SHARD):
        for left in range(0, width, ZARR_SHARD):
            rows = slice(top, min(top + ZARR_SHARD, height))
            cols = slice(left, min(left + ZARR_SHARD, width))
            yield Window(rows, cols, {name: array[rows, cols] for name, array in arrays.items()})


def write_cog(
    url: str,
    geobox: GeoBox,
    layer: Layer,
    windows: Iterable[Window],
    legend: Legend,
    tags: dict[str, str],
) -> None:
    """Write one layer of a product tile as a Cloud-Optimised GeoTIFF.

    A layer of classes carries its colour table and its class names, as `CLASS_<code>` in the
    band's metadata; its overviews hold the most frequent class, those of other layers the nearest
    pixel.

    Args:
      tags: of the file (title, target date, licence, ...).
    """
    with cog_writer(url, geobox, (layer,), legend, tags) as raster:
        for window in windows:
            _write_window(raster, window, layer.name)


@contextmanager
def cog_writer(
    url: str, geobox: GeoBox, bands: Sequence[Layer], legend: Legend, tags: dict[str, str]
) -> Iterator[Any]:
    """A rasterio dataset to write windows to, in any order, that becomes a COG at the end.

    Beside a raster of classes lies `<file>.aux.xml` with their names where GDAL and QGIS look for
    them: GeoTIFF has no place for names.

    Args:
      bands: of the raster, alike in data type, nodata and in whether they hold classes.
    """
    import rasterio
    import rasterio.shutil

    left, dx, _, top, _, dy = geobox.gdal_transform
    classes = bands[0].classes
    profile = {
        "driver": "GTiff",
        "width": geobox.width,
        "height": geobox.height,
        "count": len(bands),
        "dtype": bands[0].dtype,
        "nodata": bands[0].nodata,
        "crs": f"EPSG:{geobox.epsg}",
        "transform": rasterio.Affine(dx, 0, left, 0, dy, top),
        "tiled": True,
        "blockxsize": COG_BLOCK,
        "blockysize": COG_BLOCK,
        "compress": "ZSTD",
        "zstd_level": 1,
        "bigtiff": "IF_SAFER",
    }
    with store.publishing(url) as path, rasterio.Env(**_GDAL):
        plain = path.with_suffix(".plain.tif")
        with rasterio.open(plain, "w", **profile) as raster:
            yield raster
            raster.update_tags(**tags)
            for number, layer in enumerate(bands, 1):
                raster.set_band_description(number, layer.name)
                raster.update_tags(number, DESCRIPTION=layer.description)
            raster.units = tuple(layer.unit for layer in bands)
            if classes:
                raster.write_colormap(1, legend.color_table())
                raster.update_tags(1, **class_names(legend))
        rasterio.shutil.copy(
            plain,
            path,
            driver="COG",
            compress="DEFLATE",
            blocksize=COG_BLOCK,
            overview_resampling="MODE" if classes else "NEAREST",
            bigtiff="IF_SAFER",
            num_threads="ALL_CPUS",
        )
    if classes:
        store.write_bytes(f"{url}.aux.xml", _category_names(legend))


def _category_names(legend: Legend) -> bytes:
    """GDAL's companion file of a raster: the name of every value, in the order of the values."""
    dataset = ElementTree.Element("PAMDataset")
    band = ElementTree.SubElement(dataset, "PAMRasterBand", band="1")
    band.append(category_element(legend))
    return ElementTree.tostring(dataset) + b"\n"


def category_element(legend: Legend) -> ElementTree.Element:
    """Names of the values from 0 to the last code, as GDAL's XML formats have them."""
    names = {NODATA_CODE: "nodata"} | {c.code: c.name for c in legend.classes}
    element = ElementTree.Element("CategoryNames")
    for value in range(max(names) + 1):
        ElementTree.SubElement(element, "Category").text = names.get(value, "")
    return element


def write_tile(
    root: str,
    tile: ProductTile,
    layers: tuple[Layer, ...],
    windows: Iterable[Window],
    legend: Legend,
    about: dict[str, str],
) -> dict[str, str]:
    """Write the pixels of a product tile, as one Zarr group and as a COG per layer.

    Args:
      windows: as for `write_zarr`; read once.
      about: attributes of the group and tags of the files (title, target date, licence, ...).

    Returns:
      The COGs' addresses by layer name.
    """
    cogs = {layer.name: cog_url(root, tile.name, layer.name) for layer in layers}
    with ExitStack() as stack:
        rasters = {
            layer.name: stack.enter_context(
                cog_writer(cogs[layer.name], tile.geobox, (layer,), legend, about)
            )
            for layer in layers
        }
        write_zarr(
            zarr_url(root, tile.name),
            tile.geobox,
            layers,
            _also_written(windows, rasters),
            legend,
            about,
        )
    return cogs


def _also_written(windows: Iterable[Window], rasters: dict[str, Any]) -> Iterator[Window]:
    """The windows, once each layer of them stands in the raster of its name."""
    for window in windows:
        for name, raster in rasters.items():
            _write_window(raster, window, name)
        yield window


def _write_window(raster, window: Window, name: str) -> None:
    raster.write(window.layers[name], 1, window=raster_window(window.rows, window.cols))


def class_names(legend: Legend) -> dict[str, str]:
    """ "CLASS_<code>" -> name, in the order of the codes."""
    classes = sorted(legend.classes, key=lambda c: c.code)
    return {f"CLASS_{NODATA_CODE}": "nodata"} | {f"CLASS_{c.code}": c.name for c in classes}


def raster_window(rows: slice, cols: slice) -> tuple[tuple[int, int], tuple[int, int]]:
    return (rows.start, rows.stop), (cols.start, cols.stop)
