"""Small products of known pixels for tests of the viewer, and its server on a free port."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import shapely

from model.legend import LULC6
from pipeline.viewer.products import Product
from pipeline.viewer.server import HOST, listen, viewer_server
from transforms import store
from transforms.export import write_tile
from transforms.grid import GeoBox, Grid
from transforms.layers import LAYERS
from transforms.mosaic import Window, window_geobox
from transforms.pixels.pairing import Pair, Regime
from transforms.plan_file import BlockRequest, write_plan
from transforms.product import ProductGrid, collection_url, item_url, product_tiles
from transforms.scene import SENTINEL1, SENTINEL2, Scene
from transforms.stac_product import ProductRun, product_collection, product_item
from transforms.statistics import TileStatistics

REGION = shapely.box(6.0, 50.0, 6.08, 50.05)
"""Two product tiles of 600 px side, the eastern one cut to 360 columns."""

SMALL_TILES = ProductGrid(tile_size=600)

GRID = Grid(chip_size=96, halo=16)
"""Blocks of 1280 m."""


def make_product(
    root: str,
    day: date = date(2024, 6, 15),
    seed: int = 0,
    grid: ProductGrid = SMALL_TILES,
    layers: tuple[str, ...] = tuple(LAYERS),
) -> str:
    """Write a product, and the plan of its run; returns the root."""
    run = ProductRun(
        id=f"cloudlulc-{seed}",
        region="Two tiles",
        target_date=day,
        legend=LULC6,
        layers=tuple(LAYERS[name] for name in layers),
        checkpoint="micro",
        checkpoint_digest="0" * 64,
        version="0.1.0",
    )
    tiles = product_tiles(REGION, grid)
    for number, tile in enumerate(tiles):
        pixels = known_pixels(tile.geobox, seed + number)
        statistics = TileStatistics()
        every = slice(0, tile.geobox.height), slice(0, tile.geobox.width)
        statistics.add(window_geobox(tile.geobox, *every), pixels)
        window = Window(*every, {layer.name: pixels[layer.name] for layer in run.layers})
        write_tile(root, tile, run.layers, [window], LULC6, {})
        item = product_item(root, tile, run, scenes_of(day))
        names = {c.code: c.name for c in LULC6.classes}
        item["properties"]["cloudlulc:class_area_km2"] = {
            names[code]: km2 for code, km2 in statistics.class_km2.items()
        }
        item["properties"]["cloudlulc:regimes"] = {"both": {"blocks": 9, "expected_accuracy": 0.75}}
        store.write_json(item_url(root, tile.name), item)
    store.write_json(collection_url(root), product_collection(root, run, tiles, scenes_of(day)))
    store.write_json(store.join(root, "run.json"), {"grid": vars(GRID)})
    optical, sar = scenes_of(day)
    for tile in GRID.tiles_covering(REGION):
        # Blocks of even columns have no optical pass.
        requests = [
            BlockRequest(key, Pair((optical,), (sar,)), Regime.BOTH)
            if key.col % 2
            else BlockRequest(key, Pair((), (sar,)), Regime.SAR_ONLY)
            for key in GRID.blocks(tile, REGION)
        ]
        write_plan(root, tile, requests)
    return root


def known_pixels(geobox: GeoBox, seed: int) -> dict[str, np.ndarray]:
    """Squares of one class each, a strip of nodata in the north, and evidence of every value."""
    random = np.random.default_rng(seed)
    height, width = geobox.shape
    squares = (-(-height // 24), -(-width // 24))
    codes = [c.code for c in LULC6.classes]
    whole = np.kron(random.choice(codes, squares), np.ones((24, 24), np.int64))
    lulc = whole[:height, :width].astype(np.uint8)
    rows, cols = np.mgrid[:height, :width]
    pixels = {
        "lulc": lulc,
        "confidence": ((rows + 37 * seed) % 101).astype(np.uint8),
        "reliability": (cols % 101).astype(np.uint8),
        "cloud": ((rows + cols) % 101).astype(np.uint8),
        "optical_age": (cols // 30 % 25 - 12).astype(np.int16),
        "sar_age": (rows // 30 % 25 - 12).astype(np.int16),
    }
    for name in pixels:
        pixels[name][:50] = LAYERS[name].nodata
    return pixels


def scenes_of(day: date) -> list[Scene]:
    """The optical scene and the SAR scene of a product."""
    scenes = []
    for sensor, name, hour in ((SENTINEL2, "S2A_MSIL2A", 10), (SENTINEL1, "S1A_IW_GRDH", 17)):
        time = datetime(day.year, day.month, day.day, hour, 30, tzinfo=UTC)
        id = f"{name}_{time:%Y%m%dT%H%M%S}_T32ULB"
        scenes.append(Scene(id, sensor, time, time, time, REGION.bounds, orbit="ascending"))
    return scenes


@contextmanager
def served(products: dict[str, Product]) -> Iterator[str]:
    """Address of a running server of products."""
    server = viewer_server(products)
    with listen(0) as listener:
        listener.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://{HOST}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


STATIC = Path(__file__).parents[1] / "pipeline" / "viewer" / "static"
