import numpy as np
import pytest
from PIL import Image

from model.legend import LULC6
from transforms import store
from transforms.export import write_cog
from transforms.layers import LAYERS
from transforms.mosaic import Window
from transforms.product import ProductGrid
from transforms.quicklook import _round_length, write_quicklook

TEXTS = ("Donau-Åuen", "Land cover on 2018-02-04  ·  tile N48E009", "Contains modified data.")


def landscape(height, width):
    """Land cover with regions of natural shapes, a river and a corner that is not mapped."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    hills = np.sin(9 * x + 3 * np.sin(5 * y)) + np.cos(11 * y - 4 * np.sin(7 * x))
    lulc = np.select([hills > 0.9, hills > 0.2, hills > -0.6], [10, 30, 40], 40).astype(np.uint8)
    lulc[np.hypot(x - 0.6, y - 0.3) < 0.09] = 50
    lulc[np.abs(y - 0.5 - 0.1 * np.sin(6 * x)) < 0.015] = 80
    mapped = x + y > 0.12
    cloud = np.clip(60 + 60 * np.sin(4 * x + 2) * np.cos(6 * y), 0, 100)
    layers = {
        "lulc": lulc,
        "confidence": 95 - 0.3 * cloud,
        "reliability": 100 - cloud,
        "cloud": cloud,
    }
    return {
        name: np.where(mapped, pixels, LAYERS[name].nodata).astype(np.uint8)
        for name, pixels in layers.items()
    }


def write_layers(root, height, width, names=("lulc", "confidence", "reliability", "cloud")):
    geobox = ProductGrid().geobox(round(11.5 * 12000), round(48.2 * 12000), width, height)
    pixels = landscape(height, width)
    cogs = {name: store.join(root, f"{name}.tif") for name in names}
    for name, url in cogs.items():
        whole = Window(slice(0, height), slice(0, width), pixels)
        write_cog(url, geobox, LAYERS[name], [whole], LULC6, {})
    return cogs


def colors(path):
    picture = np.array(Image.open(path))
    return picture.shape, {tuple(c) for c in np.unique(picture.reshape(-1, 3), axis=0).tolist()}


@pytest.mark.parametrize("height, width", [(900, 1300), (120, 120), (200, 2400), (1500, 300)])
def test_shows_every_class_and_fits(tmp_path, height, width):
    cogs = write_layers(str(tmp_path), height, width)
    url = str(tmp_path / "quicklook.png")
    write_quicklook(url, cogs, LULC6, *TEXTS)
    shape, found = colors(url)
    assert shape[1] <= 1600 and shape[0] <= 1400
    assert {c.color for c in LULC6.classes} <= found


def test_the_map_keeps_its_proportions_on_the_ground(tmp_path):
    """A pixel of 1/12000 degree at 48 degrees north is a third narrower than high."""
    cogs = write_layers(str(tmp_path), 600, 600, names=("lulc",))
    url = str(tmp_path / "quicklook.png")
    write_quicklook(url, cogs, LULC6, *TEXTS)
    forest = (np.array(Image.open(url))[:, :700] == (0, 100, 0)).all(axis=-1)
    rows, cols = (np.flatnonzero(forest.any(axis=axis)) for axis in (1, 0))
    true = landscape(600, 600)["lulc"] == 10
    true_rows, true_cols = (np.flatnonzero(true.any(axis=axis)) for axis in (1, 0))
    ratio = np.ptp(cols) / np.ptp(rows) / (np.ptp(true_cols) / np.ptp(true_rows))
    assert ratio == pytest.approx(np.cos(np.radians(48.2)), rel=0.02)


def test_same_product_same_bytes_also_from_an_object_store(tmp_path):
    local, remote = str(tmp_path), f"memory://{tmp_path.name}"
    for root in (local, remote):
        write_quicklook(f"{root}/q.png", write_layers(root, 300, 400), LULC6, *TEXTS)
    assert store.read_bytes(f"{local}/q.png") == store.read_bytes(f"{remote}/q.png")


def test_a_tile_without_any_map_has_a_picture(tmp_path):
    geobox = ProductGrid().geobox(0, 1000, 300, 300)
    cogs = {}
    for name in ("lulc", "cloud"):
        cogs[name] = str(tmp_path / f"{name}.tif")
        empty = np.full(geobox.shape, LAYERS[name].nodata, np.uint8)
        window = Window(slice(0, 300), slice(0, 300), {name: empty})
        write_cog(cogs[name], geobox, LAYERS[name], [window], LULC6, {})
    write_quicklook(str(tmp_path / "q.png"), cogs, LULC6, *TEXTS)
    assert Image.open(tmp_path / "q.png").width <= 1600


def test_scale_bars_are_round():
    assert [_round_length(m) for m in (999, 1000, 2300, 64000)] == [500, 1000, 2000, 50000]
