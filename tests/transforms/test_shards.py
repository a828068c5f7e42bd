"""Shards that we write are Zarr's, and those that Zarr writes are ours."""

import numpy as np
import pytest
import zarr

from transforms import cubes, shards, store
from transforms.cubes import ArraySpec

MAP = ArraySpec((40, 60), (10, 10), (20, 20), "int16", -5, ("y", "x"), {})
CHIPS = ArraySpec((8, 3, 16, 16), (1, 3, 16, 16), (4, 3, 16, 16), "uint16", 0, tuple("cbyx"), {})
AGES = ArraySpec((8, 2), (4, 2), None, "float32", float("nan"), ("chip", "age"), {})


def values(spec, shape):
    rng = np.random.default_rng(7)
    return rng.integers(0, 9_000, shape).astype(spec.dtype)


@pytest.fixture
def cube(tmp_path):
    url = str(tmp_path / "a.zarr")
    cubes.create_cube(url, {"map": MAP, "chips": CHIPS, "ages": AGES}, {})
    return url


@pytest.mark.parametrize(
    ("name", "spec", "shard", "place"),
    [
        ("map", MAP, "map/c/1/2", np.s_[20:40, 40:60]),
        ("chips", CHIPS, "chips/c/1/0/0/0", np.s_[4:8]),
        ("ages", AGES, "ages/c/1/0", np.s_[4:8]),
    ],
)
def test_zarr_reads_what_we_write(cube, name, spec, shard, place):
    whole = values(spec, spec.shards or spec.chunks)
    chunks = spec.chunks if spec.shards else None
    # What it is cut from plays no part.
    store.write_bytes(store.join(cube, shard), shards.encode(whole.repeat(2, 1)[:, ::2], chunks))
    array = cubes.open_group(cube, "r")[name]
    np.testing.assert_array_equal(array[place], whole)
    assert array.nchunks_initialized == (whole.size // np.prod(spec.chunks))


@pytest.mark.parametrize(("name", "spec"), [("chips", CHIPS), ("ages", AGES)])
def test_we_read_what_zarr_writes(cube, name, spec):
    whole = values(spec, spec.shards or spec.chunks)
    cubes.open_group(cube, "r+")[name][4:8] = whole
    shard = {"chips": "chips/c/1/0/0/0", "ages": "ages/c/1/0"}[name]
    data = store.read_bytes(store.join(cube, shard))
    found = shards.decode(data, spec)
    assert found.dtype == whole.dtype
    np.testing.assert_array_equal(found, whole)
    assert shards.encode(found, spec.chunks if spec.shards else None) == data


def test_a_shard_that_holds_nothing_is_written_in_full(cube):
    """Zarr would leave it out, and the block would look missing for ever."""
    nothing = np.full((20, 20), -5, np.int16)
    store.write_bytes(store.join(cube, "map/c/0/0"), shards.encode(nothing, MAP.chunks))
    assert zarr.open_array(f"{cube}/map", mode="r").nchunks_initialized == 4


def test_bytes_of_another_shape_are_an_error():
    with pytest.raises((ValueError, RuntimeError)):
        shards.decode(shards.encode(np.zeros((8, 2), np.float32), None), AGES)
