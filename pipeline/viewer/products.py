"""What the viewer shows: products read from their STAC documents, with what is missing named."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from transforms import store
from transforms.layers import LAYERS
from transforms.product import product_url

_READERS = 16  # documents read at a time: a continent has hundreds of tiles

Bounds = tuple[float, float, float, float]
"""(west, south, east, north), degrees."""


class ViewTile(NamedTuple):
    """A product tile whose STAC item lies there."""

    name: str
    bounds: Bounds
    cogs: dict[str, str]  # URL by layer
    properties: dict[str, Any]  # of the item
    links: tuple[dict[str, str], ...]  # of the item
    classes: tuple[dict[str, Any], ...]  # {"code", "name", "color": "#rrggbb"}, by code
    missing: tuple[str, ...]  # layers whose COG does not lie there
    date: str  # target date, ISO
    dates: str | None  # URL of the layer that holds each pixel's, where several were merged


@dataclass(frozen=True)
class Product:
    """One product as the viewer knows it.

    Attributes:
      key: names it in addresses; unique among those that are shown.
      folder: URL that holds collection.json and a folder per tile.
      root: the run's folder, where plans lie; None where the product was moved out of it.
      name: of the region.
      date: target date, ISO; of merged products the newest.
      tiles: finished tiles, by name.
      notices: what is missing of the product, sentences for its reader.
    """

    key: str
    folder: str
    root: str | None
    name: str
    date: str
    tiles: tuple[ViewTile, ...]
    notices: tuple[str, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that some tile has, in the order of the product."""
        return tuple(name for name in LAYERS if any(name in tile.cogs for tile in self.tiles))

    @property
    def classes(self) -> tuple[dict[str, Any], ...]:
        return self.tiles[0].classes

    def tiles_within(self, bounds: Bounds) -> list[ViewTile]:
        """Tiles that share area with a box, by name."""
        west, south, east, north = bounds
        return [
            tile
            for tile in self.tiles
            if tile.bounds[0] < east
            and tile.bounds[2] > west
            and tile.bounds[1] < north
            and tile.bounds[3] > south
        ]


def open_products(urls: Sequence[str]) -> dict[str, Product]:
    """Products by key, in the order given.

    Args:
      urls: each a run's output folder, a product's folder or its collection.json; local or gs://.

    Raises:
      ValueError: there is no product, or none of its tiles is finished.
    """
    products: dict[str, Product] = {}
    for url in urls:
        product = _open_product(url, taken=set(products))
        products[product.key] = product
    return products


def _open_product(url: str, taken: set[str]) -> Product:
    folder, root = _locate(url.rstrip("/"))
    collection_url = store.join(folder, "collection.json")
    collection = store.read_json(collection_url) if store.exists(collection_url) else None
    names = store.list_folder(folder)
    with ThreadPoolExecutor(_READERS) as readers:
        read = list(readers.map(lambda name: _read_tile(folder, name), names))
    tiles = tuple(tile for tile in read if tile)
    listed = _listed(collection) if collection else []
    absent = sorted(set(listed) - {tile.name for tile in tiles})
    if not tiles:
        raise ValueError(
            f"{folder}: no product tile is finished; make them with "
            f"`cloudlulc mosaic --out {root or 'RUN'}`, which goes on where it stopped"
        )
    notices = []
    if collection is None:
        notices.append(
            "The product is incomplete: there is no collection.json, which is written last. "
            f"{_tiles(len(tiles))} shown; `cloudlulc mosaic` goes on with the rest."
        )
    if absent:
        notices.append(
            f"{_tiles(len(absent))} listed in collection.json but missing: {_some(absent)}. Copy "
            "the whole product folder, or make them again with `cloudlulc mosaic`."
        )
    for layer in LAYERS:
        without = [tile.name for tile in tiles if layer in tile.missing]
        if without:
            notices.append(
                f"Layer {layer} is missing in {_some(without)}, though the STAC items list it."
            )
    date = max(tile.date for tile in tiles)
    name = _name(collection, date) or folder.rpartition("/")[2]
    key = _key(f"{name}-{date}", taken)
    return Product(key, folder, root, name, date, tiles, tuple(notices))


def run_url(root: str) -> str:
    """What marks a run's folder; `pipeline.config` writes it, and takes seconds to import."""
    return store.join(root, "run.json")


def _locate(url: str) -> tuple[str, str | None]:
    """The product's folder, and the run's where there is one."""
    if store.is_local(url):
        url = os.path.abspath(store.local_path(url))
    if url.endswith("/collection.json"):
        url = url.removesuffix("/collection.json")
    if store.exists(product_url(url)):
        return product_url(url), url if store.exists(run_url(url)) else None
    if store.exists(run_url(url)):
        raise ValueError(
            f"{url}: the run has no product yet; finish it with `cloudlulc run --out {url}`"
        )
    if not store.exists(url):
        raise ValueError(f"{url}: there is nothing; expected a run's output folder or its product/")
    above = url.rpartition("/")[0]
    return url, above if store.exists(run_url(above)) else None


def _read_tile(folder: str, name: str) -> ViewTile | None:
    """A finished tile; None where a folder holds no STAC item of its name."""
    url = store.join(folder, name, f"{name}.json")
    if not store.exists(url):
        return None
    item = store.read_json(url)
    if "lulc" not in item.get("assets", {}):
        raise ValueError(
            f"{url} has no layer lulc: it is no land-cover map (maps of change open in QGIS)"
        )
    try:
        assets = {layer: item["assets"][layer] for layer in LAYERS if layer in item["assets"]}
        urls = {layer: _inside(url, asset["href"]) for layer, asset in assets.items()}
        there = {layer: cog for layer, cog in urls.items() if store.exists(cog)}
        return ViewTile(
            name,
            tuple(item["bbox"]),
            there,
            item["properties"],
            tuple(item["links"]),
            _classes(assets["lulc"]["classification:classes"]),
            tuple(layer for layer in urls if layer not in there),
            item["properties"]["cloudlulc:target_date"],
            _inside(url, item["assets"]["date"]["href"]) if "date" in item["assets"] else None,
        )
    except KeyError as error:
        raise ValueError(
            f"{url}: expected the STAC item of a product tile, {error} is missing; "
            "make the tile again with `cloudlulc mosaic`"
        ) from error


def _inside(item_url: str, href: str) -> str:
    """Address of an asset: a document must not make the viewer open what lies elsewhere."""
    plain = href.removeprefix("./")
    if not re.fullmatch(r"[\w.-]+", plain) or plain.startswith("."):
        raise ValueError(f"{item_url}: asset {href!r} does not lie beside the item; not opened")
    return store.join(item_url.rpartition("/")[0], plain)


def _classes(classes: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"code": c["value"], "name": c["title"], "color": f"#{c['color_hint'].lower()}"}
        for c in sorted(classes, key=lambda c: c["value"])
        if not c.get("nodata")
    )


def _listed(collection: dict[str, Any]) -> list[str]:
    links = (link for link in collection["links"] if link["rel"] == "item")
    return [link["href"].rpartition("/")[2].removesuffix(".json") for link in links]


def _name(collection: dict[str, Any] | None, date: str) -> str:
    """The region in "Land cover of REGION on DATE"; "" where there is no such title."""
    title = (collection or {}).get("title", "")
    return title.removeprefix("Land cover of ").removesuffix(f" on {date}")


def _key(text: str, taken: set[str]) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "product"
    number = next(n for n in range(1, len(taken) + 2) if _numbered(plain, n) not in taken)
    return _numbered(plain, number)


def _numbered(plain: str, number: int) -> str:
    return plain if number == 1 else f"{plain}-{number}"


def _tiles(count: int) -> str:
    return "1 tile is" if count == 1 else f"{count} tiles are"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
