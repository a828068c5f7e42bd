"""Files at rest, in a local folder or under a `gs://` address.

Everything that is written here appears whole or not at all: locally a temporary file is renamed
(Zarr's own local store does the same), on Google Cloud Storage an object is one upload.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 16
"""Requests to storage that one process has under way where many do not depend on each other."""


def in_parallel(ask: Callable[[T], R], of: Iterable[T]) -> list[R]:
    """What `ask` answers to each, in order; for what waits for storage, and computes little."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, of))


_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial$")
"""How what is being written is called, by us and by Zarr's local store."""


def is_local(url: str) -> bool:
    return "://" not in url or url.startswith("file://")


def local_path(url: str) -> Path:
    """The path of a local address, `file://` or plain."""
    return Path(url.removeprefix("file://"))


def join(url: str, *parts: str) -> str:
    """`url/part/part`, whatever slashes stand at the seams."""
    return "/".join([url.rstrip("/"), *(part.strip("/") for part in parts)])


def resolve(address: str, href: str) -> str:
    """What a link in the document at `address` means."""
    if "://" in href or href.startswith(("/", "urn:")):
        return href
    scheme, mark, path = address.rpartition("://")
    return scheme + mark + os.path.normpath(os.path.join(os.path.dirname(path), href))


def relative(href: str, folder: str) -> str:
    """A link as a document in `folder` has it: relative where both are local paths."""
    if is_local(href) and is_local(folder) and not href.startswith("urn:"):
        return os.path.relpath(local_path(href), local_path(folder))
    return href


def exists(url: str) -> bool:
    """Whether a file, or a folder with files in it, lies at `url`."""
    if is_local(url):
        return local_path(url).exists()
    fs, path = _filesystem(url)
    return fs.exists(path)


def storage_errors() -> tuple[type[Exception], ...]:
    """What reading and writing raises where storage refuses, or does not answer after retries.

    To be asked for where something was raised: a local run never imports Google's libraries.
    """
    from aiohttp import ClientError
    from gcsfs.retry import HttpError
    from google.auth.exceptions import GoogleAuthError

    return OSError, ClientError, HttpError, GoogleAuthError


def list_files(url: str) -> list[str]:
    """Paths, relative to `url` and sorted, of all files below it: one listing; [] where none."""
    fs, path = _filesystem(url)
    start = path.rstrip("/") + "/"
    found = fs.find(path)
    return sorted(name.removeprefix(start) for name in found if name.startswith(start))


def list_sizes(url: str) -> dict[str, int]:
    """Sizes, bytes, of all files below `url` by their paths relative to it: one listing."""
    fs, path = _filesystem(url)
    start = path.rstrip("/") + "/"
    found = fs.find(path, detail=True)
    return {
        name.removeprefix(start): entry["size"]
        for name, entry in sorted(found.items())
        if name.startswith(start)
    }


def list_folder(url: str) -> list[str]:
    """Names, sorted, of the folders right below `url`: one listing; [] where there are none."""
    fs, path = _filesystem(url)
    if not fs.exists(path):
        return []
    found = fs.ls(path, detail=True)
    return sorted(
        entry["name"].rstrip("/").rpartition("/")[2]
        for entry in found
        if entry["type"] == "directory"
    )


def read_bytes(url: str) -> bytes:
    """Raises FileNotFoundError where nothing lies at `url`."""
    if is_local(url):
        return local_path(url).read_bytes()
    fs, path = _filesystem(url)
    return fs.cat_file(path)


def read_pieces(url: str, size: int) -> Iterator[bytes]:
    """The file at `url` piece by piece. Raises FileNotFoundError where nothing lies there."""
    fs, path = _filesystem(url)
    with fs.open(path, "rb", block_size=size) as file:
        while piece := file.read(size):
            yield piece


def read_json(url: str) -> Any:
    """The JSON document at `url`.

    Raises:
      FileNotFoundError: nothing lies there.
      ValueError: what lies there is not JSON.
    """
    data = read_bytes(url)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{url}: expected a JSON document, {error}; remove the file") from error


def find_json(url: str) -> Any | None:
    """The JSON document at `url`, None where nothing lies there; see `read_json`."""
    try:
        return read_json(url)
    except (FileNotFoundError, NotADirectoryError):  # the latter below what is a file
        return None


def write_bytes(url: str, data: bytes) -> None:
    """Write a whole file: readers see the old one or the new one, never a part."""
    if is_local(url):
        with publishing(url) as path:
            path.write_bytes(data)
    else:
        fs, path = _filesystem(url)
        fs.pipe_file(path, data)


def write_json(url: str, document: Any) -> None:
    """Write a JSON document, keys sorted: same document, same bytes."""
    write_bytes(url, _json_bytes(document))


def _json_bytes(document: Any) -> bytes:
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def create_json(url: str, document: Any) -> bool:
    """Write a JSON document where nothing lies yet; whether it was written.

    Of several writers one wins, whichever the storage: locally a hard link is made only where no
    file is, on Google Cloud Storage the upload carries `ifGenerationMatch=0`.
    """
    data = _json_bytes(document)
    if is_local(url):
        target = local_path(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not `.partial`: who has won sweeps those away, and rivals may still be at it.
        whole = target.parent / f".{target.name}.{uuid.uuid4().hex}.claim"
        whole.write_bytes(data)
        try:
            os.link(whole, target)
        except FileExistsError:
            return False
        finally:
            whole.unlink()
        return True
    fs, path = _filesystem(url)
    try:
        fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        # A retried upload that had gone through before its answer was lost meets itself.
        return fs.cat_file(path) == data
    return True


def link_files(source: str, target: str) -> None:
    """Make all files below `source` appear below `target` too, without reading them.

    Locally they are hard links, which share the bytes and outlive the source; under gs:// the
    storage copies them itself. Writing replaces files, so neither side can change the other.

    Raises:
      ValueError: the two lie in different places, and bytes would have to travel.
    """
    if is_local(source) != is_local(target):
        raise ValueError(
            f"{source} cannot be linked to {target}: one is local and one is not; choose an --out "
            "beside the products"
        )
    fs, path = _filesystem(source)
    for name in list_files(source):
        if is_local(source):
            link = local_path(join(target, name))
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(local_path(join(source, name)), link)
        else:
            fs.copy(join(path, name), join(_filesystem(target)[1], name))


def remove(url: str) -> None:
    """Remove a file, or a folder with all that is in it; nothing where nothing lies."""
    fs, path = _filesystem(url)
    with suppress(FileNotFoundError):
        fs.rm(path, recursive=True)


def remove_partial(url: str) -> None:
    """Remove what writers that were killed left half written below a local folder.

    Nobody may be writing there. Under gs:// nothing is ever half written.
    """
    if not is_local(url):
        return
    for folder, below, names in os.walk(local_path(url)):
        for name in filter(_PARTIAL.search, names):
            os.unlink(os.path.join(folder, name))
        for name in filter(_PARTIAL.search, below):
            shutil.rmtree(os.path.join(folder, name))
        below[:] = [name for name in below if not _PARTIAL.search(name)]


@contextmanager
def publishing(url: str) -> Iterator[Path]:
    """A local path to write to; what lies there at the end appears at `url` at once.

    When the body raises, nothing appears. Companion files that a library leaves beside the path
    are removed: the path is alone in a folder of its own.
    """
    if is_local(url):
        target = local_path(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, because a rename is atomic only within one file system.
        folder = target.parent / f".{target.name}.{uuid.uuid4().hex}.partial"
        folder.mkdir()
    else:
        target = Path(url)
        folder = Path(tempfile.mkdtemp(prefix="cloudlulc-"))
    try:
        path = folder / target.name
        yield path
        if is_local(url):
            os.replace(path, target)
        else:
            fs, remote = _filesystem(url)
            fs.put_file(str(path), remote)
    finally:
        shutil.rmtree(folder)


def _filesystem(url: str) -> tuple[Any, str]:
    """(fsspec file system, path inside of it); listings are never cached: others write too."""
    import fsspec

    return fsspec.url_to_fs(url, use_listings_cache=False)
