"""Seals: what the writer of a block says of its shards, written after the last of them.

A block's seal is a small JSON document beside the cube, `<tile>/r03c17.json` beside `<tile>.zarr`.
It names the block, and size and SHA-256 of each of its shards: the block is complete when the seal
exists, and no shard can be lost, cut, altered or exchanged for another one unnoticed. Digests are
taken of the bytes on their way to storage; nothing is read back.

Whoever reads a shard through `SealedStore` gets the bytes that were sealed, or an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import zarr
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from transforms import cubes, store
from transforms.grid import BlockKey, TileIndex

Position = tuple[int, int]
"""(row, column) of a block in its tile."""

_NAME = re.compile(r"r(\d{2,})c(\d{2,})\.json")


class Digest(NamedTuple):
    """Size and SHA-256 of a file."""

    bytes: int
    sha256: str  # hex

    @classmethod
    def of(cls, data: bytes | memoryview) -> Digest:
        return cls(len(data), hashlib.sha256(data).hexdigest())


class Damaged(ValueError):
    """A file is not what was sealed; `kind` is "missing" or "corrupt"."""

    def __init__(self, url: str, kind: str, detail: str):
        super().__init__(f"{url}: {detail}; cloudlulc audit RUN --repair makes it anew")
        self.url, self.kind, self.detail = url, kind, detail


def seals_url(cube_url: str) -> str:
    """Folder of a cube's seals."""
    return cube_url.removesuffix(".zarr")


def seal_url(cube_url: str, key: BlockKey) -> str:
    return store.join(seals_url(cube_url), f"r{key.row:02d}c{key.col:02d}.json")


def sealed_blocks(cube_url: str, tile: TileIndex, blocks_per_tile: int) -> set[BlockKey]:
    """Blocks of a tile that are complete in a cube, by one listing; none where no cube is."""
    found = (_NAME.fullmatch(name) for name in store.list_files(seals_url(cube_url)))
    places = {(int(match[1]), int(match[2])) for match in found if match}
    return {
        BlockKey(tile.zone, tile.x, tile.y, row, col)
        for row, col in places
        if max(row, col) < blocks_per_tile
    }


def read_seal(cube_url: str, key: BlockKey) -> dict[str, Digest] | None:
    """Digests of a block's shards by their names in the cube; None where it is not complete.

    Raises:
      Damaged: the document is no seal of this block.
    """
    url = seal_url(cube_url, key)
    try:
        data = store.read_bytes(url)
    except FileNotFoundError:
        return None
    try:
        document = json.loads(data)
        if document["block"] != str(key):
            raise Damaged(url, "corrupt", f"seal is of block {document['block']}, expected {key}")
        return {name: Digest(d["bytes"], d["sha256"]) for name, d in document["shards"].items()}
    except Damaged:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(url, "corrupt", f"is no seal of a block ({error!r})") from error


class SealedStore(WrapperStore[Store]):
    """A cube's storage: writes shards with their seal, checks those that are read.

    Who reads parts of shards reads them through Zarr: there a shard of a block without a seal is as
    if it did not exist, for the block is not complete.

    Args:
      inner: storage of the cube.
      cube_url: where the cube lies.
      tile: of the cube.
      block_of: name of an array and a shard's index -> the block's place; None: not sealed.
    """

    def __init__(
        self,
        inner: Store,
        cube_url: str,
        tile: TileIndex,
        block_of: Callable[[str, tuple[int, ...]], Position | None],
    ):
        super().__init__(inner)
        self.cube_url = cube_url
        self.tile = tile
        self._block_of = block_of
        self._seals: dict[BlockKey, dict[str, Digest]] = {}
        self._checked: set[str] = set()
        self._documents: dict[str, Buffer] = {}

    def _with_store(self, inner: Store) -> SealedStore:
        return SealedStore(inner, self.cube_url, self.tile, self._block_of)

    def write(self, key: BlockKey, shards: Iterable[tuple[str, bytes]]) -> None:
        """Write the shards of a block, by name in the cube, and its seal at the end.

        What lay there before plays no part, be it another writer's, or damaged: it is not read.
        """
        digests = {}
        for name, data in shards:
            digests[name] = Digest.of(data)._asdict()
            store.write_bytes(store.join(self.cube_url, name), data)
            self._checked.discard(name)
        self._seals.pop(key, None)
        store.write_json(seal_url(self.cube_url, key), {"block": str(key), "shards": digests})

    def read(self, key: BlockKey, names: Iterable[str]) -> Iterator[bytes]:
        """Whole shards of a block, by name in the cube, as they were sealed.

        Raises:
          Damaged: the block is not complete, a shard is missing, or is not the one that was
            written.
        """
        seal = read_seal(self.cube_url, key)
        if seal is None:
            url = seal_url(self.cube_url, key)
            raise Damaged(url, "missing", "is missing, the block is not complete")
        for name in names:
            url = store.join(self.cube_url, name)
            try:
                data = store.read_bytes(url)
            except FileNotFoundError:
                data = None
            check(url, seal.get(name), data)
            yield data

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        if key in self._documents:
            return self._documents[key]
        block = self._block(key)
        if block is None or key in self._checked:
            found = await super().get(key, prototype, byte_range)
            if found is not None and key.endswith("zarr.json"):
                # Once a cube is made they stay, and Zarr asks for an array's at every use of it.
                self._documents[key] = found
            return found
        seal = self._seals.get(block) or await asyncio.to_thread(read_seal, self.cube_url, block)
        if seal is None:
            return None
        self._seals[block] = seal
        # Whole, once: what is read later of the same shard may be a part.
        whole = await super().get(key, prototype)
        check(store.join(self.cube_url, key), seal.get(key), whole and _view(whole))
        self._checked.add(key)
        return _part(whole, byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    def _block(self, key: str) -> BlockKey | None:
        name, found, index = key.partition("/c/")
        if not found or not all(part.isdigit() for part in index.split("/")):
            return None
        place = self._block_of(name, tuple(map(int, index.split("/"))))
        return place and BlockKey(self.tile.zone, self.tile.x, self.tile.y, *place)


def check(url: str, sealed: Digest | None, data: bytes | memoryview | None) -> None:
    """Raise Damaged where the bytes of a shard, None where there are none, are not the sealed."""
    if sealed is None:
        raise Damaged(url, "corrupt", "its block's seal does not name it")
    if data is None:
        raise Damaged(url, "missing", f"is missing, {sealed.bytes} bytes were sealed")
    if len(data) != sealed.bytes:
        detail = f"has {len(data)} bytes, {sealed.bytes} were sealed"
        raise Damaged(url, "corrupt", detail)
    found = Digest.of(data).sha256
    if found != sealed.sha256:
        detail = f"has SHA-256 {found[:12]}..., {sealed.sha256[:12]}... was sealed"
        raise Damaged(url, "corrupt", detail)


def _view(data: Buffer) -> memoryview:
    """The bytes of a buffer, which are not copied."""
    return memoryview(data.as_numpy_array())


def _part(data: Buffer, byte_range: ByteRequest | None) -> Buffer:
    match byte_range:
        case RangeByteRequest(start, end):
            return data[start:end]
        case OffsetByteRequest(offset):
            return data[offset:]
        case SuffixByteRequest(suffix):
            return data[max(len(data) - suffix, 0) :]
    return data


def open_sealed(
    cube_url: str, tile: TileIndex, block_of: Callable[[str, tuple[int, ...]], Position | None]
) -> zarr.Group:
    """A tile's cube, to be read and written block by block.

    Raises:
      FileNotFoundError: there is none.
    """
    inner: Any = cubes.open_group(cube_url, "r+").store
    sealed = SealedStore(inner, cube_url, tile, block_of)
    return zarr.open_group(sealed, mode="r+", zarr_format=3, use_consolidated=False)
