"""What the peers of the end-to-end benchmark are shown is what the product is shown."""

from contextlib import ExitStack

import numpy as np
import pytest
import rasterio

from benchmarks.local_scenes import DAY, FIRST, area, write_scenes
from benchmarks.peers.script import HALO, PIXEL, Scene, Window
from model.inputs import INPUTS
from transforms.grid import Grid
from transforms.period import Period
from transforms.pixels.pairing import PairRule
from transforms.pixels.prepare import PixelOptions, prepare_block
from transforms.sources.files import FilesSource

GRID = Grid(chips_per_block=1)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "scenes"
    write_scenes(folder, GRID, blocks=1, seed=3, cloud=0.3)
    return folder


def test_the_scripts_windows_are_the_products_chips(scenes):
    source = FilesSource(str(scenes / "items.json"))
    box = GRID.geobox(FIRST)
    pair = PairRule(DAY).choose(source.search((-180, -90, 180, 90), Period.around(DAY, 5, 5)))
    chips = prepare_block(FIRST, pair, DAY, GRID, source.read, PixelOptions())

    with ExitStack() as stack:
        at = rasterio.Affine(PIXEL, 0, box.x0, 0, -PIXEL, box.y0)
        optical, sar = Scene(scenes, INPUTS, at, stack).read(Window(0, 0, 512, 512))

    core = slice(HALO, -HALO)  # bilinear samples at the window's edge see no neighbour
    seen = optical.numpy()[..., core, core]
    assert (seen > 0).all() and (seen.std(axis=(2, 3)) > 100).all()
    assert np.abs(seen - chips.optical[..., core, core].astype(int)).max() <= 1
    assert np.abs(sar.numpy() - chips.sar).max() <= 1  # hundredths of a dB, from float32


def test_the_area_lies_inside_the_scenes(scenes):
    box = area(GRID, 1)
    assert box.shape == (GRID.block_core_size,) * 2
    for path in scenes.glob("*.tif"):
        with rasterio.open(path) as file:
            left, bottom, right, top = file.bounds
        assert left < box.bounds[0] - 320 and bottom < box.bounds[1] - 320
        assert right > box.bounds[2] + 320 and top > box.bounds[3] + 320
