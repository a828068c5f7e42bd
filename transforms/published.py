"""A product as it lies there: its tiles, layers and classes, read block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from model.legend import LandCoverClass, Legend
from transforms import store
from transforms.grid import GeoBox
from transforms.mosaic import Window
from transforms.rasters import open_raster

BLOCK = 2048
"""Side of the blocks that a tile is read by, px."""

_GDAL_CACHE = 64 * 2**20  # bytes


class PublishedTile(NamedTuple):
    name: str
    geobox: GeoBox
    layers: dict[str, str]  # address of the COG by layer name


class Published(NamedTuple):
    """Attributes: as the collection and the items of the product say."""

    url: str  # of the collection
    id: str
    title: str
    legend: Legend
    tiles: tuple[PublishedTile, ...]  # by name


def open_product(url: str) -> Published:
    """The product at `url`.

    Args:
      url: folder of a run or of a product, or its collection.json; local or gs://.

    Raises:
      ValueError: no product lies there, or it has no tile, or is no land-cover map.
    """
    address = _collection(url)
    collection = store.read_json(address)
    tiles, classes = [], None
    for link in collection["links"]:
        if link["rel"] == "item":
            item_address = store.resolve(address, link["href"])
            item = store.read_json(item_address)
            tiles.append(_tile(item, item_address))
            if "lulc" not in item["assets"]:
                raise ValueError(f"{item_address} has no layer lulc: it is no land-cover map")
            classes = item["assets"]["lulc"]["classification:classes"]
    if not tiles:
        raise ValueError(f"{address}: the product has no tile; run cloudlulc mosaic first")
    title = collection.get("title", collection["id"])
    return Published(address, collection["id"], title, _legend(classes), tuple(sorted(tiles)))


def read_blocks(
    tile: PublishedTile, layers: Sequence[str], only: set[int] | None = None
) -> Iterator[tuple[int, Window]]:
    """Blocks of a tile, row by row, each with its number; memory does not grow with the tile.

    Args:
      layers: names; each has to be in the tile.
      only: numbers of the blocks to read; None: all.
    """
    import rasterio

    height, width = tile.geobox.shape
    corners = [(top, left) for top in range(0, height, BLOCK) for left in range(0, width, BLOCK)]
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE))
        rasters = {name: stack.enter_context(open_raster(tile.layers[name])) for name in layers}
        for number, (top, left) in enumerate(corners):
            if only is not None and number not in only:
                continue
            rows = slice(top, min(top + BLOCK, height))
            cols = slice(left, min(left + BLOCK, width))
            window = (rows.start, rows.stop), (cols.start, cols.stop)
            yield (
                number,
                Window(rows, cols, {name: r.read(1, window=window) for name, r in rasters.items()}),
            )


def run_folder(product: Published) -> str:
    """The folder that holds the product's: that of its run."""
    return store.resolve(product.url, "..")


def _collection(url: str) -> str:
    candidates = [store.join(url, "product", "collection.json"), store.join(url, "collection.json")]
    if url.endswith(".json"):
        candidates = [url]
    for candidate in candidates:
        if store.exists(candidate):
            return candidate
    raise ValueError(
        f"product: neither {' nor '.join(candidates)} is there; expected the folder of a run or of "
        "a product (cloudlulc mosaic writes it)"
    )


def _tile(item: dict, address: str) -> PublishedTile:
    properties = item["properties"]
    step, _, x0, _, _, y0 = properties["proj:transform"][:6]
    height, width = properties["proj:shape"]
    epsg = int(properties["proj:code"].removeprefix("EPSG:"))
    layers = {
        name: store.resolve(address, asset["href"])
        for name, asset in item["assets"].items()
        if asset["type"].startswith("image/tiff")
    }
    return PublishedTile(item["id"], GeoBox(epsg, x0, y0, step, width, height), layers)


def _legend(classes: Sequence[dict]) -> Legend:
    return Legend(
        "product",
        tuple(
            LandCoverClass(i, c["value"], c["name"], tuple(bytes.fromhex(c["color_hint"])))
            for i, c in enumerate(c for c in classes if not c.get("nodata"))
        ),
    )
