"""Zarr cubes at rest: their metadata, and how their chunks are compressed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import zarr
from numcodecs import Blosc
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

from transforms.store import exists, is_local, join, local_path, write_bytes

BLOSC = Blosc(cname="zstd", clevel=2, shuffle=Blosc.SHUFFLE, blocksize=1 << 20)
"""How chunks are compressed. Beside shuffled bits in Blosc's own blocks of 64 KiB, real chips take
5 % less room and class maps 40 %, and are read sooner; level 3 takes twice as long to write."""


class ArraySpec(NamedTuple):
    """Metadata of one array of a cube. One shard is what one writer writes."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    dtype: str
    fill_value: float
    dimension_names: tuple[str, ...]
    attributes: dict[str, Any]


def create_cube(
    url: str,
    arrays: dict[str, ArraySpec],
    attributes: dict[str, Any],
    fill: Callable[[zarr.Group], None] | None = None,
) -> None:
    """Create a Zarr v3 group and its arrays, metadata only; what exists and agrees is kept.

    Args:
      url: of the group.
      arrays: by name; created in this order.
      attributes: of the group, JSON; they say what the cube holds (grid, date, digests, ...).
      fill: writes to the new group what it holds from the start.

    Raises:
      ValueError: a cube with other attributes or arrays lies there.
    """
    wanted = json.loads(json.dumps(attributes))
    if exists(join(url, "zarr.json")):
        group = open_group(url, "r+")
        check_attributes(url, dict(group.attrs), dict.fromkeys(group.attrs) | wanted)
        _create_arrays(url, group, arrays, fill)
        return
    # In memory first: Zarr asks storage a dozen things before each document that it writes.
    documents: dict[str, Any] = {}
    group = zarr.open_group(
        MemoryStore(documents), mode="w-", zarr_format=3, attributes=wanted, use_consolidated=False
    )
    _create_arrays(url, group, arrays, fill)
    # The group's own document last: a cube without it is made anew, one with it is complete.
    for name in sorted(documents, key=lambda name: (name == "zarr.json", name)):
        write_bytes(join(url, name), documents[name].to_bytes())


def _create_arrays(
    url: str,
    group: zarr.Group,
    arrays: dict[str, ArraySpec],
    fill: Callable[[zarr.Group], None] | None,
) -> None:
    for name, spec in arrays.items():
        if name in group:
            _check_array(url, group[name], spec)
            continue
        group.create_array(
            name,
            shape=spec.shape,
            chunks=spec.chunks,
            shards=spec.shards,
            dtype=spec.dtype,
            fill_value=spec.fill_value,
            compressors=BloscCodec(
                cname=BLOSC.cname,
                clevel=BLOSC.clevel,
                shuffle="shuffle",
                blocksize=BLOSC.blocksize,
            ),
            dimension_names=spec.dimension_names,
            attributes=spec.attributes,
        )
    if fill:
        fill(group)


def check_attributes(url: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise ValueError, printing both values, where a cube's attributes are not as expected.

    Attributes that are not in `expected` are not looked at.
    """
    expected = json.loads(json.dumps(expected))
    for name, value in expected.items():
        if found.get(name) != value:
            raise ValueError(
                f"{url}: cube was made with {name} = {found.get(name)}, expected {value}; "
                "use another output folder, or the options of the first run"
            )


def _check_array(url: str, array: zarr.Array, spec: ArraySpec) -> None:
    # Fill values as text: a NaN is not equal to itself.
    fill = str(float(array.fill_value))
    found = (array.shape, array.chunks, array.shards, str(array.dtype), fill)
    expected = (spec.shape, spec.chunks, spec.shards, spec.dtype, str(float(spec.fill_value)))
    if found != expected:
        raise ValueError(
            f"{url}: array {array.basename!r} has (shape, chunks, shards, dtype, fill value) "
            f"{found}, expected {expected}; use another output folder"
        )


def open_group(url: str, mode: str) -> zarr.Group:
    """The Zarr v3 group at `url`, mode "r" or "r+".

    Raises:
      FileNotFoundError: no group lies there.
    """
    return zarr.open_group(_zarr_address(url), mode=mode, zarr_format=3, use_consolidated=False)


def _zarr_address(url: str) -> str | Path:
    return local_path(url) if is_local(url) else url
