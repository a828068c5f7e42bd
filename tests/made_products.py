"""Small published products, made without a network: what commands on products are tested on."""

from datetime import UTC, date, datetime

import numpy as np

from model.legend import LULC6, Legend
from transforms import store
from transforms.export import ZARR_SHARD, write_tile
from transforms.grid import GeoBox
from transforms.layers import LAYERS, choose_layers
from transforms.mosaic import Window
from transforms.product import ProductTile, collection_url, item_url
from transforms.scene import SENTINEL2, Scene
from transforms.stac_product import ProductRun, attribution, product_collection, product_item

EVERYWHERE = (-180.0, -90.0, 180.0, 90.0)
DAY = date(2024, 6, 15)

DEGREE = 12_000
"""Pixels of the product grid per degree."""


def geobox(west: float, north: float, width: int, height: int, epsg: int = 4326) -> GeoBox:
    return GeoBox(epsg, west, north, 1 / DEGREE if epsg == 4326 else 10.0, width, height)


def scene(name: str, day: date) -> Scene:
    moment = datetime(day.year, day.month, day.day, 10, tzinfo=UTC)
    return Scene(name, SENTINEL2, moment, moment, moment, EVERYWHERE, link=f"https://a.b/{name}")


def make_product(
    root: str,
    day: date,
    tiles: dict[ProductTile, dict[str, np.ndarray]],
    scenes: dict[str, list[str]] | None = None,
    checkpoint: str = "ab" * 32,
    legend: Legend = LULC6,
) -> str:
    """Publish tiles with these layers.

    Args:
      tiles: layers by name, (y, x), of each tile; of any type that holds their values.
      scenes: by tile's name, what it was made from; by default a scene of the day.

    Returns:
      root.
    """
    names = tuple(next(iter(tiles.values())))
    run = ProductRun("made", "nowhere", day, legend, choose_layers(names), "made", checkpoint, "0")
    used = {}
    for tile, pixels in tiles.items():
        ids = (scenes or {}).get(tile.name, [f"S2_{day}"])
        used[tile] = [scene(name, day) for name in ids]
        about = {"title": "made", "attribution": attribution(used[tile])}
        write_tile(root, tile, run.layers, windows(pixels), legend, about)
        store.write_json(item_url(root, tile.name), product_item(root, tile, run, used[tile]))
    everything = [s for tile in used.values() for s in tile]
    document = product_collection(root, run, list(tiles), everything)
    store.write_json(collection_url(root), document)
    return root


def windows(pixels: dict[str, np.ndarray], size: int = ZARR_SHARD):
    height, width = pixels["lulc"].shape
    for top in range(0, height, size):
        for left in range(0, width, size):
            rows = slice(top, min(top + size, height))
            cols = slice(left, min(left + size, width))
            part = {n: layer[rows, cols].astype(LAYERS[n].dtype) for n, layer in pixels.items()}
            yield Window(rows, cols, part)


def layers(lulc: np.ndarray, confidence: int | np.ndarray, age: int = 0) -> dict[str, np.ndarray]:
    """`lulc`, `confidence` and `optical_age` of a tile, nodata where `lulc` is."""
    nothing = lulc == 0
    full = {"confidence": confidence, "optical_age": age}
    return {"lulc": lulc.astype(np.uint8)} | {
        name: np.where(nothing, LAYERS[name].nodata, value).astype(LAYERS[name].dtype)
        for name, value in full.items()
    }


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
