import pickle
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr

from model.legend import LULC6
from transforms import store
from transforms.grid import BlockKey, Grid, TileIndex
from transforms.layers import LAYERS, choose_layers
from transforms.mapcube import (
    MapReader,
    create_map_cube,
    finished_blocks,
    map_cube_url,
    open_map_cube,
    write_core,
)

GRID = Grid(chip_size=64, halo=16, chips_per_block=2, blocks_per_tile=3)
TILE = TileIndex(-33, 200, 4000)
MADE = {"target_date": "2024-06-15", "checkpoint": "ab" * 32}
SIZE = GRID.block_core_size


def nodata_layers():
    return {
        layer.name: np.full((SIZE, SIZE), layer.nodata, layer.dtype) for layer in LAYERS.values()
    }


@pytest.fixture
def root(tmp_path):
    create_map_cube(str(tmp_path), TILE, GRID, tuple(LAYERS.values()), LULC6, MADE)
    return str(tmp_path)


def test_an_all_nodata_block_is_finished_and_every_layer_has_its_object(root):
    assert finished_blocks(root, TILE, GRID) == set()
    key = BlockKey(-33, 200, 4000, 2, 1)
    write_core(open_map_cube(root, TILE, GRID), GRID, key, nodata_layers())
    assert finished_blocks(root, TILE, GRID) == {key}
    files = store.list_files(map_cube_url(root, TILE))
    assert {f"{name}/c/2/1" for name in LAYERS} <= set(files)


@pytest.mark.parametrize("broken", LAYERS)
def test_a_block_is_sealed_last(root, broken):
    """A layer that cannot be written, each in turn: the block stays unfinished."""
    in_the_way = Path(map_cube_url(root, TILE), broken, "c")
    in_the_way.write_bytes(b"a file where a folder has to be")
    with pytest.raises(OSError):
        cube = open_map_cube(root, TILE, GRID)
        write_core(cube, GRID, BlockKey(-33, 200, 4000, 0, 0), nodata_layers())
    assert finished_blocks(root, TILE, GRID) == set()


def test_blocks_land_at_their_place_and_the_tile_opens_with_its_crs(root):
    cube = open_map_cube(root, TILE, GRID)
    rng = np.random.default_rng(1)
    layers = nodata_layers()
    layers["lulc"] = rng.choice(np.array([10, 80], np.uint8), (SIZE, SIZE))
    layers["sar_age"] = rng.integers(-9, 9, (SIZE, SIZE), dtype=np.int16)
    write_core(cube, GRID, BlockKey(-33, 200, 4000, 1, 2), layers)

    opened = xr.open_zarr(map_cube_url(root, TILE), consolidated=False, decode_coords="all")
    geobox = GRID.core_geobox(BlockKey(-33, 200, 4000, 1, 2))
    assert opened.rio.crs.to_epsg() == 32733
    assert opened.rio.bounds() == GRID.tile_geobox(TILE).bounds
    left, bottom, right, top = geobox.bounds
    block = opened.sel(x=slice(left, right), y=slice(top, bottom))
    np.testing.assert_array_equal(block.lulc, layers["lulc"])
    np.testing.assert_array_equal(block.sar_age, layers["sar_age"])
    assert (block.lulc.dtype, block.sar_age.dtype) == (np.uint8, np.int16)
    assert int((opened.lulc != 0).sum()) == SIZE * SIZE
    assert opened.lulc.rio.nodata == 0 and opened.sar_age.rio.nodata == -32768
    assert opened.lulc.flag_meanings.split()[0:2] == ["nodata", "forest"]
    assert opened.attrs["target_date"] == "2024-06-15"


def test_creating_again_keeps_pixels_and_another_date_is_an_error(root):
    layers = nodata_layers()
    layers["lulc"] = np.full((SIZE, SIZE), 40, np.uint8)
    write_core(open_map_cube(root, TILE, GRID), GRID, BlockKey(-33, 200, 4000, 0, 0), layers)
    create_map_cube(root, TILE, GRID, tuple(LAYERS.values()), LULC6, MADE)
    assert (open_map_cube(root, TILE, GRID).arrays["lulc"][:SIZE, :SIZE] == 40).all()
    with pytest.raises(ValueError, match="2024-06-15, expected 2024-07-01"):
        other = MADE | {"target_date": "2024-07-01"}
        create_map_cube(root, TILE, GRID, tuple(LAYERS.values()), LULC6, other)
    with pytest.raises(ValueError, match="layers"):
        create_map_cube(root, TILE, GRID, choose_layers(("lulc",)), LULC6, MADE)


def test_another_grid_is_an_error_that_shows_both(root):
    other = Grid(chip_size=96, halo=16, chips_per_block=2, blocks_per_tile=3)
    with pytest.raises(ValueError, match="'chip_size': 64.*'chip_size': 96"):
        open_map_cube(root, TILE, other)


def test_layers_that_do_not_fit_are_refused_before_anything_is_written(root):
    cube = open_map_cube(root, TILE, GRID)
    key = BlockKey(-33, 200, 4000, 0, 0)
    wrong_dtype = nodata_layers() | {"lulc": np.zeros((SIZE, SIZE), np.int16)}
    wrong_shape = nodata_layers() | {"cloud": np.zeros((SIZE, SIZE + 1), np.uint8)}
    one_less = {n: p for n, p in nodata_layers().items() if n != "cloud"}
    for layers in (wrong_dtype, wrong_shape, one_less):
        with pytest.raises(ValueError, match="33S/x200y4000/r00c00.*expected"):
            write_core(cube, GRID, key, layers)
    files = store.list_files(map_cube_url(root, TILE))
    assert not {name for name in files for layer in LAYERS if name.startswith(f"{layer}/c/")}


def test_reader(root):
    layers = nodata_layers()
    layers["cloud"] = np.arange(SIZE * SIZE, dtype=np.uint32).reshape(SIZE, SIZE).astype(np.uint8)
    write_core(open_map_cube(root, TILE, GRID), GRID, BlockKey(-33, 200, 4000, 0, 1), layers)
    read = pickle.loads(pickle.dumps(MapReader(root, GRID)))
    window = read(TILE, "cloud", slice(3, 9), slice(SIZE - 2, SIZE + 5))
    assert (window[:, :2] == 255).all()
    np.testing.assert_array_equal(window[:, 2:], layers["cloud"][3:9, :5])
    assert read(TileIndex(-33, 201, 4000), "cloud", slice(0, 1), slice(0, 1)) is None
    with pytest.raises(ValueError, match="'height'"):
        read(TILE, "height", slice(0, 1), slice(0, 1))


def test_choose_layers():
    assert [la.name for la in choose_layers(("sar_age", "cloud"))] == ["lulc", "cloud", "sar_age"]
    with pytest.raises(ValueError, match="'clouds'.*'cloud'"):
        choose_layers(("clouds",))
