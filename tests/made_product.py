"""Small products with given pixels, written as the mosaic job writes them."""

from datetime import date
from pathlib import Path

import numpy as np

from model.legend import LULC6
from transforms import store
from transforms.export import write_cog
from transforms.grid import GeoBox
from transforms.layers import LAYERS
from transforms.mosaic import Window
from transforms.product import ProductTile, cog_url, collection_url, item_url
from transforms.stac_product import ProductRun, product_collection, product_item

DEGREE = 12_000
"""Pixels of the product grid per degree."""


def geobox(west: float, north: float, width: int, height: int, epsg: int = 4326) -> GeoBox:
    return GeoBox(epsg, west, north, 1 / DEGREE if epsg == 4326 else 10.0, width, height)


def make_product(root: Path, tiles: dict[str, tuple[GeoBox, dict[str, np.ndarray]]]) -> str:
    """Write a product of tiles with these layers, (y, x) by name; returns the run's folder."""
    names = next(iter(tiles.values()))[1]
    run = ProductRun(
        id="cloudlulc-test",
        region="somewhere",
        target_date=date(2024, 6, 15),
        legend=LULC6,
        layers=tuple(LAYERS[name] for name in LAYERS if name in names),
        checkpoint="micro",
        checkpoint_digest="0" * 64,
        version="0",
    )
    published = []
    for name, (box, layers) in tiles.items():
        tile = ProductTile(name, box)
        for layer in run.layers:
            pixels = layers[layer.name].astype(layer.dtype)
            window = Window(slice(0, box.height), slice(0, box.width), {layer.name: pixels})
            write_cog(cog_url(str(root), name, layer.name), box, layer, [window], LULC6, {})
        store.write_json(item_url(str(root), name), product_item(str(root), tile, run, []))
        published.append(tile)
    store.write_json(collection_url(str(root)), product_collection(str(root), run, published, []))
    return str(root)


def patchwork(rng: np.random.Generator, height: int, width: int) -> dict[str, np.ndarray]:
    """All layers of a made-up place: fields of classes under bands of cloud, a corner unmapped."""
    codes = np.array([c.code for c in LULC6.classes])
    coarse = rng.choice(
        6, (height // 10 + 1, width // 10 + 1), p=(0.05, 0.4, 0.25, 0.02, 0.03, 0.25)
    )
    lulc = codes[coarse.repeat(10, 0).repeat(10, 1)[:height, :width]]
    lulc[:15, :15] = 0
    bands = rng.choice([5, 50, 90, 255], height // 10 + 1).repeat(10)[:height]
    cloud = np.broadcast_to(bands[:, None], (height, width))
    return {
        "lulc": lulc,
        "confidence": rng.integers(30, 100, (height, width)),
        "reliability": np.where(cloud == 255, 0, 80),
        "cloud": cloud,
        "optical_age": np.where(cloud == 255, -32768, -2),
        "sar_age": np.full((height, width), 3),
    }
