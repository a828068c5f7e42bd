import numpy as np
import pytest

from model.inputs import INPUTS
from transforms.chips import (
    chip_cube_url,
    chips_of,
    create_chip_cube,
    finished_chips,
    open_chip_cube,
    read_chips,
    write_chips,
)
from transforms.grid import BlockKey, Grid, TileIndex
from transforms.pixels.chip import Chips, Quality
from transforms.seal import Damaged

GRID = Grid(chip_size=64, halo=16, blocks_per_tile=2)
TILE = TileIndex(31, 3, 40)
KEYS = [BlockKey(31, 3, 40, row, col) for row in (0, 1) for col in (0, 1)]


def block(seed, nothing=False):
    rng = np.random.default_rng(seed)
    chips = Chips(
        rng.integers(1, 10_000, (4, 12, 64, 64), np.uint16),
        rng.integers(-2500, 0, (4, 2, 64, 64), np.int16),
        rng.integers(0, 64, (4, 64, 64), np.uint8),
        rng.integers(0, 101, (4, 64, 64), np.uint8),
        rng.integers(-10, 10, (4, 2), np.int16),
        np.full((4, 2), np.nan, np.float32),
    )
    if nothing:
        fill = (0, -32768, 24, 255, -32768, np.nan)
        chips = Chips(*(np.full_like(a, v) for a, v in zip(chips, fill, strict=True)))
    return chips


@pytest.fixture
def root(tmp_path):
    create_chip_cube(str(tmp_path), TILE, GRID, INPUTS)
    return str(tmp_path)


def test_blocks_come_back_as_written_and_only_theirs(root):
    cube = open_chip_cube(root, TILE, GRID, INPUTS)
    for seed, key in enumerate(KEYS[:3]):
        write_chips(cube, GRID, INPUTS, key, block(seed))
    for seed, key in enumerate(KEYS[:3]):
        for got, expected in zip(read_chips(cube, GRID, key), block(seed), strict=True):
            np.testing.assert_array_equal(got, expected)
    assert finished_chips(root, TILE, GRID) == set(KEYS[:3])


def test_a_block_without_data_is_finished_too(root):
    write_chips(open_chip_cube(root, TILE, GRID, INPUTS), GRID, INPUTS, KEYS[3], block(0, True))
    assert finished_chips(root, TILE, GRID) == {KEYS[3]}
    flags = read_chips(open_chip_cube(root, TILE, GRID, INPUTS), GRID, KEYS[3]).quality
    assert (flags == Quality.NO_OPTICAL | Quality.NO_SAR).all()


def test_a_block_that_does_not_fit_writes_nothing(root):
    cube = open_chip_cube(root, TILE, GRID, INPUTS)
    wrong = block(0)._replace(quality=np.zeros((4, 64, 64), np.uint16))
    with pytest.raises(ValueError, match="31N/x003y040/r00c00: quality is uint16"):
        write_chips(cube, GRID, INPUTS, KEYS[0], wrong)
    assert finished_chips(root, TILE, GRID) == set()
    with pytest.raises(Damaged, match="r00c00.json: is missing, the block is not complete"):
        read_chips(cube, GRID, KEYS[0])


def test_zarr_reads_the_same_chips(root):
    cube = open_chip_cube(root, TILE, GRID, INPUTS)
    write_chips(cube, GRID, INPUTS, KEYS[2], block(5))
    chips = read_chips(open_chip_cube(root, TILE, GRID, INPUTS), GRID, KEYS[2])
    for name, values in chips._asdict().items():
        by_zarr = cube[name][chips_of(GRID, KEYS[2])]
        assert values.dtype == by_zarr.dtype
        np.testing.assert_array_equal(values, by_zarr)


def test_the_seal_is_written_last(root):
    cube = open_chip_cube(root, TILE, GRID, INPUTS)
    torn = block(0)
    # A writer that dies on the way has not marked its block: here on the last array before.
    path = chip_cube_url(root, TILE) + "/shift/c"
    with open(path, "w") as blocker:
        blocker.write("a file where the shards' folder has to be")
    with pytest.raises(OSError):
        write_chips(cube, GRID, INPUTS, KEYS[0], torn)
    assert finished_chips(root, TILE, GRID) == set()


def test_a_cube_of_another_grid_is_refused(root):
    other = Grid(chip_size=96, halo=16, blocks_per_tile=2)
    with pytest.raises(ValueError, match="grid"):
        create_chip_cube(root, TILE, other, INPUTS)
    with pytest.raises(ValueError, match="grid"):
        open_chip_cube(root, TILE, other, INPUTS)


def test_a_cube_of_other_bands_is_refused(root):
    optical = INPUTS.optical._replace(bands=INPUTS.optical.bands[::-1])
    with pytest.raises(ValueError, match="inputs"):
        open_chip_cube(root, TILE, GRID, INPUTS._replace(optical=optical))
