"""Checksums of a product tile: of every file that its STAC item stands for.

Files that an asset names carry `file:checksum` and `file:size` (STAC's file extension, version
2.1.0). All files of the tile, those of the Zarr group among them, stand in `<tile>.sha256`, which
`sha256sum --check` reads; the item names that file and its checksum. So the item vouches for the
tile, and the link of the collection to the item for the item.
"""

from __future__ import annotations

import hashlib
from typing import Any

from transforms import store
from transforms.product import item_url, tile_url
from transforms.seal import Digest

EXTENSION = "https://stac-extensions.github.io/file/v2.1.0/schema.json"

ASSET = "checksums"

_SHA256 = "1220"
"""What a multihash starts with: SHA-256, 32 bytes."""

_PIECE = 8 * 2**20  # bytes


def sums_url(root: str, name: str) -> str:
    return store.join(tile_url(root, name), f"{name}.sha256")


def file_digest(url: str) -> Digest:
    """Size and SHA-256 of a file as it lies in storage, read piece by piece."""
    size, hashed = 0, hashlib.sha256()
    for piece in store.read_pieces(url, _PIECE):
        size += len(piece)
        hashed.update(piece)
    return Digest(size, hashed.hexdigest())


def file_fields(digest: Digest) -> dict[str, Any]:
    """A file's digest as STAC's file extension says it."""
    return {"file:size": digest.bytes, "file:checksum": f"{_SHA256}{digest.sha256}"}


def digest_of(fields: dict[str, Any]) -> Digest:
    """The inverse of `file_fields`. Raises ValueError where there is no SHA-256 in the fields."""
    checksum, size = fields.get("file:checksum"), fields.get("file:size")
    if not isinstance(checksum, str) or not checksum.startswith(_SHA256) or type(size) is not int:
        raise ValueError(f"got file:checksum {checksum!r} and file:size {size!r}")
    return Digest(size, checksum.removeprefix(_SHA256))


def vouch(root: str, name: str, item: dict[str, Any]) -> None:
    """Write the checksums of a tile's files, and add them to its item, which is not written yet.

    Args:
      root: the run's folder.
      name: of the tile, all of whose files are written.
      item: its STAC item; changed in place.
    """
    folder, sums = tile_url(root, name), sums_url(root, name)
    files = [f for f in store.list_files(folder) if store.join(folder, f) != sums]
    digests = {file: file_digest(store.join(folder, file)) for file in files}
    lines = "".join(f"{digests[file].sha256}  {file}\n" for file in files).encode()
    store.write_bytes(sums, lines)
    for asset in item["assets"].values():
        found = digests.get(asset["href"].removeprefix("./"))
        asset |= file_fields(found) if found else {}
    item["assets"][ASSET] = {
        "href": f"./{name}.sha256",
        "type": "text/plain",
        "title": "SHA-256 of every file of the tile, for sha256sum --check",
        "roles": ["metadata"],
    } | file_fields(Digest.of(lines))
    item["stac_extensions"] = sorted({*item["stac_extensions"], EXTENSION})


def vouch_for_items(root: str, names: list[str], collection: dict[str, Any]) -> None:
    """Add the checksums of tiles' items, which are written, to the collection's links to them."""
    digests = {name: file_digest(item_url(root, name)) for name in names}
    for link in collection["links"]:
        if link["rel"] == "item":
            link |= file_fields(digests[link["title"]])
    collection["stac_extensions"] = sorted({*collection["stac_extensions"], EXTENSION})


def read_sums(data: bytes) -> dict[str, str]:
    """SHA-256 by file, relative to the tile's folder, from the bytes of `<tile>.sha256`.

    Raises:
      ValueError: that is not what they are.
    """
    pairs = [line.split("  ", 1) for line in data.decode().splitlines()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("is no list of checksums")
    return {file: digest for digest, file in pairs}
