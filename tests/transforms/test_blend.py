"""Blending against a computation over the whole plane, in tiles of blocks of chips."""

from pathlib import Path

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from model.legend import LULC6
from model.predict import Prediction
from transforms.blend import blend_chips, cut_edges, ramp
from transforms.classify import map_block
from transforms.grid import BlockKey, Grid, TileIndex
from transforms.layers import ALL_LAYERS, choose_layers
from transforms.mapcube import (
    MapReader,
    create_map_cube,
    finished_blocks,
    map_cube_url,
    open_map_cube,
    write_core,
)
from transforms.pixels.chip import Chips
from transforms.product import ProductGrid, product_tiles
from transforms.publish import Publication, blocks_under
from transforms.seal import read_seal
from transforms.stac_product import ProductRun

GRID = Grid(chip_size=64, halo=16, chips_per_block=2, blocks_per_tile=2)
REACH, CORE, BLOCK, TILE = GRID.reach, GRID.core_size, GRID.block_core_size, GRID.tile_size
CLASSES = len(LULC6.classes)
LAYERS = choose_layers(("confidence", "probabilities"))
NAMES = tuple(layer.name for layer in LAYERS)
CORNER = TileIndex(31, 390, 4000)
SIDE = 2 * TILE  # of the plane: four tiles
INNER = slice(GRID.halo - REACH, GRID.chip_size - GRID.halo + REACH)


def home(row: int, col: int) -> BlockKey:
    """The block at a row and column of the plane, whose upper left tile is CORNER."""
    n = GRID.blocks_per_tile
    return BlockKey(31, CORNER.x + col // n, CORNER.y - row // n, row % n, col % n)


def random_chips(rng, smooth: bool = False) -> np.ndarray:
    """(chip, class, y, x) percent of one block, as a network that knows nothing gives them."""
    shape = (GRID.chips_in_block, CLASSES, *((1, 1) if smooth else (GRID.chip_size,) * 2))
    raw = rng.random(shape) ** 4 * np.ones((1, 1, GRID.chip_size, GRID.chip_size))
    return np.round(100 * raw / raw.sum(1, keepdims=True)).astype(np.uint8)


def mapped(probability: np.ndarray):
    """What the network hands on of a block's chips."""
    nothing = probability[:, 0] == 255
    lulc = LULC6.codes(np.where(nothing, 255, probability.argmax(1)).astype(np.uint8))
    confidence, n = probability.max(1), len(probability)
    zeros = np.zeros(lulc.shape, np.uint8)
    chips = Chips(zeros, zeros, zeros, zeros, np.zeros((n, 2), np.int16), np.zeros((n, 2)))
    return chips, Prediction(lulc, confidence, zeros), probability


def write(root: str, blocks: dict[tuple[int, int], np.ndarray]) -> None:
    for (row, col), probability in blocks.items():
        key = home(row, col)
        create_map_cube(root, key.tile, GRID, LAYERS, LULC6, {}, blended=True)
        layers, edges = map_block(mapped(probability), GRID, NAMES, blended=True)
        write_core(open_map_cube(root, key.tile, GRID), GRID, key, layers, edges)


def read(root: str, layer: str) -> np.ndarray:
    """The plane, tile by tile."""
    reader, whole = MapReader(root, GRID), slice(0, TILE)
    rows = []
    for y in (CORNER.y, CORNER.y - 1):
        tiles = [reader(TileIndex(31, CORNER.x + x, y), layer, whole, whole) for x in (0, 1)]
        rows.append(
            np.hstack(
                [np.full((TILE,) * 2, ALL_LAYERS[layer].nodata) if t is None else t for t in tiles]
            )
        )
    return np.vstack(rows)


def of_plane(blocks: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
    """(class, y, x) exact means of all chips of the plane, added up chip by chip."""
    wide = SIDE + 2 * REACH
    sums, total = np.zeros((CLASSES, wide, wide)), np.zeros((wide, wide))
    rise = (np.arange(2 * REACH) + 0.5) / (2 * REACH)
    weights = np.concatenate([rise, np.ones(CORE - 2 * REACH), rise[::-1]])
    for (row, col), chips in blocks.items():
        for number, chip in enumerate(chips):
            top, left = (
                block * BLOCK + place * CORE
                for block, place in zip((row, col), divmod(number, 2), strict=True)
            )
            at = slice(top, top + len(weights)), slice(left, left + len(weights))
            weight = weights[:, None] * weights
            sums[:, *at] += weight * chip[:, INNER, INNER]
            total[at] += weight
    core = slice(REACH, -REACH)
    return (sums / np.maximum(total, 1e-9))[:, core, core]


@pytest.fixture(scope="module")
def planet(tmp_path_factory):
    """Four tiles of 2 x 2 blocks of 2 x 2 chips that do not agree anywhere."""
    rng, root = np.random.default_rng(5), str(tmp_path_factory.mktemp("planet"))
    blocks = {(row, col): random_chips(rng) for row in range(4) for col in range(4)}
    write(root, blocks)
    return root, blocks


def test_weights_of_neighbours_add_up():
    for size, reach in ((32, 8), (448, 16), (32, 16)):
        weights = ramp(size, reach)
        assert len(weights) == size + 2 * reach
        assert (weights[: 2 * reach] + weights[-2 * reach :] == 4 * reach).all()
        assert (np.diff(weights[: 2 * reach]) == 2).all() and weights.min() == 1


def test_maps_are_those_of_the_whole_plane(planet):
    root, blocks = planet
    exact = of_plane(blocks)
    for c in LULC6.classes:
        # Rounded twice: in the block, and across blocks.
        assert np.abs(read(root, f"probability_{c.name}") - exact[c.index]).max() <= 1.01
    assert np.abs(read(root, "confidence") - exact.max(0)).max() <= 1.01
    second, first = np.sort(exact, axis=0)[-2:]
    clear = first - second > 1.01
    assert clear.mean() > 0.9
    expected = LULC6.codes(exact.argmax(0).astype(np.uint8))
    np.testing.assert_array_equal(read(root, "lulc")[clear], expected[clear])


def test_a_window_shows_what_the_whole_shows(planet):
    root, _ = planet
    for layer in ("lulc", "confidence"):
        whole, reader = read(root, layer)[:TILE, TILE:], MapReader(root, GRID)
        for rows, cols in (
            (slice(0, 3), slice(0, 3)),
            (slice(BLOCK - 1, BLOCK + 1), slice(5, TILE)),
            (slice(BLOCK - REACH - 2, BLOCK - REACH + 1), slice(BLOCK + REACH - 1, TILE - 1)),
            (slice(20, 30), slice(20, 30)),
        ):
            window = reader(TileIndex(31, CORNER.x + 1, CORNER.y), layer, rows, cols)
            np.testing.assert_array_equal(window, whole[rows, cols])


def test_no_border_is_a_step(tmp_path):
    """Chips that are sure of different classes: nothing could be less continuous."""
    rng = np.random.default_rng(2)
    blocks = {(r, c): random_chips(rng, smooth=True) for r in range(4) for c in range(4)}
    write(str(tmp_path), blocks)
    for c in LULC6.classes:
        plane = read(str(tmp_path), f"probability_{c.name}").astype(int)
        steps = [np.abs(np.diff(plane, axis=axis)).max() for axis in (0, 1)]
        assert max(steps) <= 100 / (2 * REACH) + 2
    # And they do differ.
    assert plane.max() - plane.min() > 50


def test_a_block_that_is_not_mapped_says_nothing(planet, tmp_path):
    _, blocks = planet
    missing = (1, 1)
    rest = {place: chips for place, chips in blocks.items() if place != missing}
    write(str(tmp_path), rest)
    exact = of_plane(rest)
    lulc = read(str(tmp_path), "lulc")
    hole = np.zeros(lulc.shape, bool)
    hole[BLOCK : 2 * BLOCK, BLOCK : 2 * BLOCK] = True
    np.testing.assert_array_equal(lulc == 0, hole)
    beside = read(str(tmp_path), "confidence")[~hole]
    # The mean over blocks is one of means over chips: the same but at the hole's corners.
    assert np.percentile(np.abs(beside - exact.max(0)[~hole]), 99.5) <= 1.01


def test_a_tile_without_a_cube_says_nothing(planet, tmp_path):
    _, blocks = planet
    left = {(row, col): chips for (row, col), chips in blocks.items() if col < 2}
    write(str(tmp_path), left)
    exact = of_plane(left)
    found = read(str(tmp_path), "confidence")
    assert (found[:, TILE:] == 255).all()
    assert np.abs(found[:, :TILE] - exact.max(0)[:, :TILE]).max() <= 1.01


def test_pixels_without_data(planet, tmp_path):
    _, blocks = planet
    blocks = {place: blocks[place].copy() for place in ((0, 0), (0, 1))}
    # What no sensor saw from the left block, a strip along the border, in all of its chips.
    blocks[0, 0][1::2, :, :, GRID.halo + CORE - 3 :] = 255
    write(str(tmp_path), blocks)
    lulc, confidence = read(str(tmp_path), "lulc"), read(str(tmp_path), "confidence")
    # A pixel belongs to its block, whose pass did not see it, whatever the neighbour has.
    empty = np.zeros(lulc.shape, bool)
    empty[:BLOCK, BLOCK - 3 : BLOCK] = True
    empty[BLOCK:], empty[:, 2 * BLOCK :] = True, True
    np.testing.assert_array_equal(lulc == 0, empty)
    np.testing.assert_array_equal(confidence == 255, empty)
    # And where only the right block has data, it alone decides.
    alone = blend_chips(mapped_index(blocks[0, 1]), blocks[0, 1], GRID).percent.max(0)
    np.testing.assert_array_equal(
        confidence[:CORE, BLOCK : BLOCK + CORE], alone[REACH : REACH + CORE, REACH : REACH + CORE]
    )


def mapped_index(probability: np.ndarray) -> np.ndarray:
    return LULC6.indices(mapped(probability)[1].lulc)


def test_the_network_decides_where_one_chip_maps():
    """Where two classes are equal in percent, what the network says of them stays."""
    probability = np.full((4, CLASSES, 64, 64), 10, np.uint8)
    index = np.full((4, 64, 64), 3, np.uint8)
    block = blend_chips(index, probability, GRID)
    alone = abs(np.arange(-REACH, BLOCK + REACH) - CORE + 0.5) > REACH
    np.testing.assert_array_equal(block.index == 3, alone[:, None] & alone)
    np.testing.assert_array_equal(block.index == 0, ~(alone[:, None] & alone))


def test_without_blending_chips_end_at_their_borders_and_nothing_else_changes():
    probability = random_chips(np.random.default_rng(8))
    hard, none = map_block(mapped(probability), GRID, ("lulc", "cloud"), blended=False)
    soft, edges = map_block(mapped(probability), GRID, ("lulc", "cloud"), blended=True)
    assert none is None and edges is not None
    inner = slice(GRID.halo, GRID.halo + CORE)
    expected = mapped(probability)[1].lulc[:, inner, inner]
    cut = np.block([[expected[0], expected[1]], [expected[2], expected[3]]])
    np.testing.assert_array_equal(hard["lulc"], cut)
    np.testing.assert_array_equal(soft["cloud"], hard["cloud"])
    side = np.arange(BLOCK) % CORE
    alone = (side >= REACH) & (side < CORE - REACH)
    alone = alone[:, None] & alone
    np.testing.assert_array_equal(soft["lulc"][alone], cut[alone])
    assert (soft["lulc"] != cut)[~alone].mean() > 0.05


def test_a_block_without_its_edges_is_not_complete(tmp_path):
    """A writer that is killed between the layers and the edges leaves a block to be made anew."""
    root, key = str(tmp_path), home(0, 0)
    create_map_cube(root, key.tile, GRID, LAYERS, LULC6, {}, blended=True)
    cube = open_map_cube(root, key.tile, GRID)
    layers, edges = map_block(
        mapped(random_chips(np.random.default_rng(1))), GRID, NAMES, blended=True
    )

    in_the_way = Path(map_cube_url(root, key.tile), "edges", "c")
    in_the_way.write_bytes(b"a file where a folder has to be")
    with pytest.raises(OSError):
        write_core(cube, GRID, key, layers, edges)
    in_the_way.unlink()
    assert finished_blocks(root, key.tile, GRID) == set()
    assert (read(root, "lulc") == 0).all()
    for wrong in (None, edges[:, :, 1:]):
        with pytest.raises(ValueError, match="r00c00: got edges of shape .*, expected"):
            write_core(cube, GRID, key, layers, wrong)
    write_core(cube, GRID, key, layers, edges)
    assert finished_blocks(root, key.tile, GRID) == {key}
    np.testing.assert_array_equal(read(root, "lulc")[:BLOCK, :BLOCK] == 0, False)
    named = read_seal(map_cube_url(root, key.tile), key)
    assert set(named) == {f"{name}/c/0/0" for name in NAMES} | {"edges/c/0/0/0/0/0/0"}


def test_edges_hold_what_reaches_over_the_border(planet):
    _, blocks = planet
    probability = blocks[0, 0]
    block = blend_chips(mapped_index(probability), probability, GRID)
    top, bottom, left, right = cut_edges(block, REACH)
    assert top.shape == (CLASSES, 2 * REACH, BLOCK + 2 * REACH)
    np.testing.assert_array_equal(top[:, :, -2 * REACH :], right.swapaxes(1, 2)[:, : 2 * REACH])
    np.testing.assert_array_equal(bottom[:, :, : 2 * REACH], left.swapaxes(1, 2)[:, -2 * REACH :])
    assert not np.array_equal(top, bottom)


def test_a_block_beyond_a_product_tile_counts_where_it_reaches_into_it(tmp_path):
    """A product tile is due again when a block is mapped that reaches over its border."""
    keys = {(row, col): home(row, col) for row in range(4) for col in range(4)}
    box = shapely.union_all([shapely.box(*GRID.core_geobox(k).bounds) for k in keys.values()])
    to_geographic = Transformer.from_crs(32631, 4326, always_xy=True).transform
    region = shapely.transform(box.buffer(-50), to_geographic, interleaved=False)
    zeros = np.full((4, CLASSES, 64, 64), 10, np.uint8)
    write(str(tmp_path), dict.fromkeys(keys, zeros))
    # A product grid with an edge 4 to 7 px left of the border between two columns of blocks.
    border = round(GRID.core_geobox(keys[0, 2]).x0 / 10)
    edge, size = next(
        (border - px, n) for px in range(4, REACH) for n in range(60, 200) if (border - px) % n == 0
    )
    run = ProductRun("a", "a", None, LULC6, LAYERS, "a", "a", "0")
    hard = Publication(str(tmp_path), region, GRID, run, "weights")
    tile = next(
        t
        for t in product_tiles(region, ProductGrid(32631, 10.0, size))
        if round(t.geobox.bounds[2] / 10) == edge
    )
    blended = Publication(str(tmp_path), region, GRID, run, "weights", blended=True)
    column = {(k.tile_x, k.col) for k in blocks_under(tile, blended)}
    assert column - {(k.tile_x, k.col) for k in blocks_under(tile, hard)} == {
        (keys[0, 2].tile_x, keys[0, 2].col)
    }
