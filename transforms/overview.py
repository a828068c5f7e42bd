"""Overview of a product: the most frequent class in cells of about 100 m and 1 km, over all tiles.

Cells lie on multiples of their size, so that those of neighbouring products are the same. The
tiles are read once, by windows, whatever their number; where they lie on both sides of the
antimeridian the overview runs on beyond 180 degrees, in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from xml.etree import ElementTree

import numpy as np

from model.legend import NODATA_CODE, Legend
from transforms import store
from transforms.canvas import Canvas, Cells, canvas_of
from transforms.export import category_element, cog_writer, raster_window
from transforms.grid import GeoBox
from transforms.layers import LAYERS, Layer
from transforms.mosaic import Window
from transforms.published import Published
from transforms.rasters import open_raster
from transforms.stac_assets import COG_TYPE

WINDOW = 5000
"""Side of the windows that are read, about, px."""

_VRT_TYPE = "application/x-ogc-vrt"
_RASTER_TYPES = {"uint8": "Byte", "int16": "Int16"}


def count_classes(lulc: np.ndarray, codes: list[int], cell: int) -> np.ndarray:
    """Pixels of each class in square cells.

    Args:
      lulc: (y, x) uint8 class codes; sides are multiples of `cell`.
      cell: side, px.

    Returns:
      (class, cell y, cell x) uint32, in the order of `codes`.
    """
    height, width = lulc.shape[0] // cell, lulc.shape[1] // cell
    counts = np.empty((len(codes), height, width), np.uint32)
    for number, code in enumerate(codes):
        rows = (lulc == code).reshape(height, cell, width * cell).sum(1, dtype=np.uint16)
        counts[number] = rows.reshape(height, width, cell).sum(2, dtype=np.uint32)
    return counts


def most_frequent(counts: np.ndarray, codes: list[int]) -> np.ndarray:
    """Code of the most frequent class of each cell, of equals the lowest; nodata where none is.

    Args:
      counts: as from `count_classes`.
      codes: ascending.

    Returns:
      (cell y, cell x) uint8.
    """
    table = np.array(codes, np.uint8)
    return np.where(counts.any(axis=0), table[counts.argmax(axis=0)], NODATA_CODE).astype(np.uint8)


def overview_url(product: Published) -> str:
    return store.join(product.url.rpartition("/")[0], "overview")


def write_overview(product: Published) -> list[str]:
    """Write the overview beside a product's tiles, and list it in the product's collection.

    In the folder `overview`: `lulc_100m.tif`, `lulc_1km.tif`, `class_share_1km.tif` (percent of
    each class, a band each), and a VRT per layer over all tiles: `lulc.vrt` shows colours and
    class names and has the two rasters for overviews, so that GDAL and QGIS open a continent.

    Returns:
      Names of the files.
    """
    cells = Cells.of(product.tiles[0].geobox)
    canvas = canvas_of(product, cells)
    folder = overview_url(product)
    codes = sorted(c.code for c in product.legend.classes)
    names = {c.code: c.name for c in product.legend.classes}
    lulc, tags = LAYERS["lulc"], {"title": product.title, "license": "CC-BY-4.0"}
    shares = tuple(
        Layer(names[code], "uint8", 255, "percent", f"Share of {names[code]}") for code in codes
    )
    outputs = {
        "lulc_100m.tif": (cells.small, (lulc,)),
        "lulc_1km.tif": (cells.large, (lulc,)),
        "class_share_1km.tif": (cells.large, shares),
    }
    with ExitStack() as stack:
        small, large, share = (
            stack.enter_context(
                cog_writer(
                    store.join(folder, name), coarse(canvas, cell), bands, product.legend, tags
                )
            )
            for name, (cell, bands) in outputs.items()
        )
        for window in _read_canvas(canvas, cells.large):
            counts = count_classes(window.layers["lulc"], codes, cells.small)
            _write(small, window, cells.small, most_frequent(counts, codes)[None])
            n, height, width = counts.shape
            counts = counts.reshape(n, height // 10, 10, width // 10, 10).sum((2, 4))
            _write(large, window, cells.large, most_frequent(counts, codes)[None])
            percent = np.rint(100 * counts / cells.large**2).astype(np.uint8)
            percent[:, ~counts.any(axis=0)] = 255
            _write(share, window, cells.large, percent)
    written = list(outputs)
    for layer in LAYERS.values():
        if all(layer.name in tile.layers for tile in product.tiles):
            levels = ("lulc_100m.tif", "lulc_1km.tif") if layer.classes else ()
            document = vrt(canvas, layer, product.legend, folder, levels)
            store.write_bytes(store.join(folder, f"{layer.name}.vrt"), document)
            written.append(f"{layer.name}.vrt")
    _list_in_collection(product, written)
    return written


def coarse(canvas: Canvas, cell: int) -> GeoBox:
    """The canvas in cells."""
    box = canvas.geobox
    return box._replace(
        resolution=box.resolution * cell, width=box.width // cell, height=box.height // cell
    )


def _read_canvas(canvas: Canvas, cell: int) -> Iterator[Window]:
    """Windows of `lulc` on the canvas that a tile lies in; sides are multiples of `cell`."""
    size = max(1, WINDOW // cell) * cell
    height, width = canvas.geobox.shape
    for top in range(0, height, size):
        rows = slice(top, min(top + size, height))
        near = [place for place in canvas.places if _meet(place[1], rows)]
        with ExitStack() as stack:
            rasters = [stack.enter_context(open_raster(t.layers["lulc"])) for t, _, _ in near]
            for left in range(0, width, size):
                cols = slice(left, min(left + size, width))
                pixels = None
                for raster, (_, tile_rows, tile_cols) in zip(rasters, near, strict=True):
                    if not _meet(tile_cols, cols):
                        continue
                    if pixels is None:
                        pixels = np.zeros((rows.stop - top, cols.stop - left), np.uint8)
                    into_y, from_y = _overlap(rows, tile_rows)
                    into_x, from_x = _overlap(cols, tile_cols)
                    window = raster_window(from_y, from_x)
                    pixels[into_y, into_x] = raster.read(1, window=window)
                if pixels is not None:
                    yield Window(rows, cols, {"lulc": pixels})


def _meet(a: slice, b: slice) -> bool:
    return a.start < b.stop and b.start < a.stop


def _overlap(window: slice, tile: slice) -> tuple[slice, slice]:
    """Where a tile meets a window: counted in the window, and in the tile."""
    first, last = max(window.start, tile.start), min(window.stop, tile.stop)
    return (
        slice(first - window.start, last - window.start),
        slice(first - tile.start, last - tile.start),
    )


def _write(raster, window: Window, cell: int, bands: np.ndarray) -> None:
    rows, cols = (
        slice(span.start // cell, span.stop // cell) for span in (window.rows, window.cols)
    )
    raster.write(bands, window=raster_window(rows, cols))


def vrt(
    canvas: Canvas, layer: Layer, legend: Legend, folder: str, levels: tuple[str, ...]
) -> bytes:
    """GDAL's virtual raster of one layer over all tiles.

    Args:
      folder: where the document will lie; links in it are relative to that.
      levels: rasters in that folder, of the same extent, that serve as overviews.
    """
    box = canvas.geobox
    dataset = ElementTree.Element(
        "VRTDataset", rasterXSize=str(box.width), rasterYSize=str(box.height)
    )
    _text(dataset, "SRS", f"EPSG:{box.epsg}")
    _text(dataset, "GeoTransform", ", ".join(repr(float(n)) for n in box.gdal_transform))
    kind = _RASTER_TYPES[layer.dtype]
    band = ElementTree.SubElement(dataset, "VRTRasterBand", dataType=kind, band="1")
    _text(band, "Description", layer.name)
    _text(band, "NoDataValue", str(layer.nodata))
    if layer.classes:
        _text(band, "ColorInterp", "Palette")
        band.append(category_element(legend))
        colors, table = legend.color_table(), ElementTree.SubElement(band, "ColorTable")
        for value in range(max(colors) + 1):
            numbers = zip(("c1", "c2", "c3", "c4"), colors.get(value, (0, 0, 0, 0)), strict=True)
            ElementTree.SubElement(table, "Entry", {name: str(n) for name, n in numbers})
    for tile, rows, cols in canvas.places:
        source = ElementTree.SubElement(band, "SimpleSource")
        href = store.relative(tile.layers[layer.name], folder)
        inside = "0" if "://" in href else "1"
        address = href.replace("gs://", "/vsigs/", 1)
        _text(source, "SourceFilename", address).set("relativeToVRT", inside)
        _text(source, "SourceBand", "1")
        height, width = tile.geobox.shape
        sizes = {"xSize": str(width), "ySize": str(height)}
        ElementTree.SubElement(
            source,
            "SourceProperties",
            RasterXSize=str(width),
            RasterYSize=str(height),
            DataType=kind,
        )
        ElementTree.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0"} | sizes)
        where = {"xOff": str(cols.start), "yOff": str(rows.start)}
        ElementTree.SubElement(source, "DstRect", where | sizes)
    for name in levels:
        level = ElementTree.SubElement(band, "Overview")
        _text(level, "SourceFilename", name).set("relativeToVRT", "1")
        _text(level, "SourceBand", "1")
    ElementTree.indent(dataset)
    return ElementTree.tostring(dataset) + b"\n"


def _text(parent: ElementTree.Element, name: str, text: str) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name)
    element.text = text
    return element


def _list_in_collection(product: Published, names: list[str]) -> None:
    """Add the files to the collection's assets; publishing a tile anew takes them off again."""
    document = store.read_json(product.url)
    document["assets"] = document.get("assets", {}) | {
        f"overview_{name.replace('.', '_')}": {
            "href": f"./overview/{name}",
            "type": COG_TYPE if name.endswith(".tif") else _VRT_TYPE,
            "title": f"{product.title}: {name}",
            "roles": ["overview"],
        }
        for name in names
    }
    store.write_json(product.url, document)
