"""Auditing cubes: whether each block lies there once, whole, and holds what it may hold.

Three proofs for every shard of a block: it exists, its bytes are those that were sealed, and they
decode to values of the right shape, type and range. Metadata are compared with those of a cube made
anew. What nobody wrote is surplus.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from model.inputs import InputSpec
from model.legend import NODATA_CODE, Legend
from transforms import store
from transforms.chips import (
    chip_arrays,
    chip_cube_url,
    chip_shards,
    chips_of,
    create_chip_cube,
)
from transforms.grid import BlockKey, Grid, TileIndex
from transforms.layers import Layer
from transforms.mapcube import map_cube_url, map_shard
from transforms.pixels.chip import CLOUD_UNKNOWN, Quality
from transforms.seal import Damaged, check, read_seal, seal_url, seals_url

MISSING, CORRUPT, SURPLUS = "missing", "corrupt", "surplus"

THREADS = 4
"""Blocks that are read at a time: hashing and decoding let go of Python's lock."""


class Defect(NamedTuple):
    """One thing that is not as it has to be."""

    rest: str  # "chips", "maps" or "product"
    key: str  # of the block or tile
    kind: str  # MISSING, CORRUPT or SURPLUS
    file: str  # relative to the run's folder; "" where all files of the key are missing
    detail: str


class Cube(NamedTuple):
    """A tile's cube as it has to be."""

    rest: str
    root: str
    url: str
    create: Callable[[str], None]  # makes it, without blocks, below another root
    shards: Callable[[BlockKey], dict[str, str]]  # by array: name of a block's shard
    place: Callable[[BlockKey], Any]  # of a block in these arrays
    problem: Callable[[str, np.ndarray], str]  # of an array's values; "" where there is none


def chip_cube(root: str, tile: TileIndex, grid: Grid, inputs: InputSpec) -> Cube:
    arrays = chip_arrays(grid, inputs)

    def problem(name: str, values: np.ndarray) -> str:
        expected = (grid.chips_in_block, *arrays[name].shape[1:])
        ranges = {"quality": (0, sum(Quality)), "cloud": (0, 100)}
        if name == "shift":
            return "" if not np.isinf(values).any() else "holds infinite shifts"
        return _problem(values, expected, arrays[name].dtype, ranges.get(name), CLOUD_UNKNOWN)

    return Cube(
        "chips",
        root,
        chip_cube_url(root, tile),
        lambda there: create_chip_cube(there, tile, grid, inputs),
        partial(chip_shards, grid, inputs),
        partial(chips_of, grid),
        problem,
    )


def map_cube(
    root: str,
    tile: TileIndex,
    grid: Grid,
    layers: tuple[Layer, ...],
    legend: Legend,
    create: Callable[[str], None],
) -> Cube:
    """A tile's map cube; `create` makes one without blocks below another root."""
    by_name = {layer.name: layer for layer in layers}

    def problem(name: str, values: np.ndarray) -> str:
        return layer_problem(by_name[name], values, (grid.block_core_size,) * 2, legend)

    return Cube(
        "maps",
        root,
        map_cube_url(root, tile),
        create,
        lambda key: {name: map_shard(name, key) for name in by_name},
        grid.core,
        problem,
    )


MOST_DAYS = 2 * 366
"""An age beyond is none: optical within a year of the date, SAR within a year of the optical."""


def layer_problem(layer: Layer, values: np.ndarray, shape: tuple[int, ...], legend: Legend) -> str:
    """What is wrong with values of a map layer; "" where nothing is."""
    span = {"percent": (0, 100), "day": (-MOST_DAYS, MOST_DAYS)}.get(layer.unit)
    wrong = _problem(values, shape, layer.dtype, span, layer.nodata)
    if wrong or not layer.classes:
        return wrong
    strange = set(np.unique(values).tolist()) - {NODATA_CODE, *(c.code for c in legend.classes)}
    return f"holds codes {sorted(strange)}, not in the legend" if strange else ""


def _problem(
    values: np.ndarray,
    shape: tuple[int, ...],
    dtype: str,
    span: tuple[int, int] | None,
    nodata: int,
) -> str:
    if values.shape != shape or values.dtype != dtype:
        return f"is {values.dtype} {values.shape}, expected {dtype} {shape}"
    if span is None:
        return ""
    strange = values[((values < span[0]) | (values > span[1])) & (values != nodata)]
    if not strange.size:
        return ""
    return f"holds {strange[0]}, expected {span[0]} to {span[1]} or {nodata}"


def audit_cube(cube: Cube, expected: Iterable[BlockKey]) -> list[Defect]:
    """Every defect of a tile's cube, given the blocks that have to be in it.

    All files are listed twice (cube and seals) and read once.
    """
    expected = sorted(expected)
    blank, sizes = blank_files(cube), store.list_sizes(cube.url)
    defects = [
        _defect(cube, "metadata", kind, store.join(cube.url, name), detail)
        for name, data in blank.items()
        for kind, detail in [_metadata(store.join(cube.url, name), data, sizes.get(name))]
        if kind
    ]
    more = _arrays_of_blocks(blank)
    with ThreadPoolExecutor(THREADS) as pool:
        for found in pool.map(partial(_audit_block, cube, blank, more, sizes), expected):
            defects += found
    known = set(blank)
    for key in expected:
        known |= {*cube.shards(key).values(), *(shard_of(key) for shard_of in more.values())}
    seals = {seal_url(cube.url, key) for key in expected}
    there = [store.join(cube.url, name) for name in sizes if name not in known]
    there += [
        url
        for name in store.list_files(seals_url(cube.url))
        if (url := store.join(seals_url(cube.url), name)) not in seals
    ]
    return defects + [_defect(cube, "", SURPLUS, url, "nobody wrote it") for url in there]


def _defect(cube: Cube, key: object, kind: str, url: str, detail: str) -> Defect:
    return Defect(cube.rest, str(key), kind, url.removeprefix(cube.root).strip("/"), detail)


def blank_files(cube: Cube) -> dict[str, bytes]:
    """The files of a cube without blocks: metadata and coordinates."""
    with TemporaryDirectory(prefix="cloudlulc-") as folder:
        cube.create(folder)
        there = store.join(folder, cube.url.removeprefix(cube.root))
        return {name: store.read_bytes(store.join(there, name)) for name in store.list_files(there)}


def _metadata(url: str, expected: bytes, size: int | None) -> tuple[str, str]:
    if size is None:
        return MISSING, "is missing"
    if size != len(expected) or store.read_bytes(url) != expected:
        return CORRUPT, "is not as a new cube has it"
    return "", ""


def _arrays_of_blocks(blank: dict[str, bytes]) -> dict[str, Callable[[BlockKey], str]]:
    """Arrays (row, col, ...) that hold one chunk a block beside the layers, as edges are held.

    By name: block -> name of its chunk in the cube.
    """
    found = {}
    for file, data in blank.items():
        name, inside, last = file.rpartition("/")
        axes = (
            json.loads(data).get("dimension_names") or () if inside and last == "zarr.json" else ()
        )
        if tuple(axes[:2]) == ("row", "col"):
            rest = ["0"] * (len(axes) - 2)
            found[name] = partial(_chunk_name, name, rest)
    return found


def _chunk_name(name: str, rest: list[str], key: BlockKey) -> str:
    return "/".join([name, "c", str(key.row), str(key.col), *rest])


def _audit_block(
    cube: Cube,
    blank: dict[str, bytes],
    more: dict[str, Callable[[BlockKey], str]],
    sizes: dict[str, int],
    key: BlockKey,
) -> list[Defect]:
    try:
        seal = read_seal(cube.url, key)
    except Damaged as damaged:
        return [_defect(cube, key, damaged.kind, damaged.url, damaged.detail)]
    if seal is None:
        return [_defect(cube, key, MISSING, seal_url(cube.url, key), "the block is not complete")]
    defects = []
    shards = cube.shards(key)
    others = {name: shard_of(key) for name, shard_of in more.items()}
    for name, shard in (shards | others).items():
        url = store.join(cube.url, shard)
        try:
            data = store.read_bytes(url) if shard in sizes else None
            check(url, seal.get(shard), data)
            place = cube.place(key) if name in shards else (key.row, key.col)
            values = np.asarray(_decode(blank, shard, data)[name][place])
            wrong = cube.problem(name, values) if name in shards else ""
            if wrong:
                raise Damaged(url, CORRUPT, wrong)
        except Damaged as damaged:
            defects.append(_defect(cube, key, damaged.kind, url, damaged.detail))
        except (ValueError, RuntimeError, TypeError) as error:
            detail = f"does not decode: {type(error).__name__}: {error}"
            defects.append(_defect(cube, key, CORRUPT, url, detail))
    strange = set(seal) - {*shards.values(), *others.values()}
    if strange:
        detail = f"names {sorted(strange)}, not of this block"
        defects.append(_defect(cube, key, CORRUPT, seal_url(cube.url, key), detail))
    return defects


def _decode(blank: dict[str, bytes], shard: str, data: bytes) -> zarr.Group:
    """A cube in memory with good metadata and one shard."""
    buffer = default_buffer_prototype().buffer
    files = {name: buffer.from_bytes(content) for name, content in (blank | {shard: data}).items()}
    return zarr.open_group(MemoryStore(files), mode="r", zarr_format=3, use_consolidated=False)
