"""The items of a STAC catalogue of any shape: folder, ItemCollection, catalog or single item."""

from __future__ import annotations

import json
from collections.abc import Iterator
from glob import escape

from fsspec.core import url_to_fs

from transforms.scene import SourceUnavailable
from transforms.sources.assets import resolve
from transforms.sources.hrefs import Reach, reach_of


def read_items(catalog: str) -> Iterator[tuple[dict, str]]:
    """(item, location of the file that holds it) of everything in a catalogue.

    Args:
      catalog: a folder, whose *.json are read recursively; or an ItemCollection, a catalog or
        collection, whose child and item links are followed, or one item. A path or gs:// address.
        Locations are spelled as it is: relative ones stay relative.

    Raises:
      ValueError: there is no such file, it is not STAC, or a link leads where none may lead.
      SourceUnavailable: it could not be read now.
    """
    catalog = catalog.removeprefix("file://")
    reach = reach_of(catalog)
    try:
        fs, root = url_to_fs(catalog)
        if not fs.isdir(root):
            yield from _follow([catalog], set(), f"catalog {catalog}", reach)
            return
        names = sorted(n for n in fs.find(root) if n.endswith(".json"))
    except _failures(catalog) as error:
        raise SourceUnavailable(f"catalog {catalog} cannot be read: {error}") from error
    locations = [catalog.rstrip("/") + name.removeprefix(root.rstrip("/")) for name in names]
    for document, location in _read(locations, f"folder {catalog}"):
        if document["type"] not in ("Catalog", "Collection"):  # their items lie in the folder too
            yield from _unpack(document, location)


def _follow(
    locations: list[str], seen: set[str], parent: str, reach: Reach
) -> Iterator[tuple[dict, str]]:
    new = [where for where in dict.fromkeys(locations) if where not in seen]
    seen.update(new)
    for where in new:
        reach.check(where, parent)
        if where.startswith(("http", "s3")):
            raise ValueError(f"{parent}: link {where!r}, expected a path or gs:// address")
    for document, location in _read(new, parent):
        if document["type"] in ("Catalog", "Collection"):
            yield from _follow(_links(document, location), seen, location, reach)
        else:
            yield from _unpack(document, location)


def _links(document: dict, location: str) -> list[str]:
    """Where a catalogue's children and items lie."""
    found = []
    links = document.get("links") or []
    for link in links if isinstance(links, list) else [links]:
        if not isinstance(link, dict) or not isinstance(link.get("href"), str):
            raise ValueError(f"{location}: got link {link!r:.80}, expected one with rel and href")
        if link.get("rel") in ("child", "item"):
            found.append(resolve(location, link["href"]))
    return found


def _unpack(document: dict, location: str) -> Iterator[tuple[dict, str]]:
    items = document.get("features", []) if document["type"] == "FeatureCollection" else [document]
    if not isinstance(items, list):
        raise ValueError(f"{location}: features is no list; expected a STAC ItemCollection")
    for item in items:
        yield item, location


def _read(locations: list[str], parent: str) -> Iterator[tuple[dict, str]]:
    """Documents in the order of their locations; those of a bucket are fetched side by side."""
    if not locations:
        return
    places = {where: url_to_fs(where) for where in locations}
    contents: dict[tuple, bytes] = {}
    try:
        for fs in {id(fs): fs for fs, _ in places.values()}.values():
            paths = [path for other, path in places.values() if other is fs]
            # Names are meant as they are: fsspec takes "*" and "[" for patterns.
            found = fs.cat([escape(path) for path in paths])
            contents |= {(id(fs), path): text for path, text in found.items()}
    except FileNotFoundError as error:
        raise ValueError(f"{parent}: there is no file {error}; correct the path or link") from error
    except _failures(*locations) as error:
        raise SourceUnavailable(f"{parent} cannot be read: {error}") from error
    for where, (fs, path) in places.items():
        if (id(fs), path) not in contents:  # a pattern that matches nothing is no error to fsspec
            raise ValueError(f"{parent}: there is no file {where}; correct the path or link")
        try:
            document = json.loads(contents[id(fs), path])
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where} is not JSON: {error}") from error
        kind = document.get("type") if isinstance(document, dict) else None
        if kind not in ("Feature", "FeatureCollection", "Catalog", "Collection"):
            raise ValueError(
                f"{where}: got type {kind!r}, expected a STAC Feature, FeatureCollection, Catalog "
                f"or Collection; keep other files out of the catalogue"
            )
        yield document, where


def _failures(*locations: str) -> tuple[type[Exception], ...]:
    """What reading these locations may raise when the service, not the catalogue, is at fault."""
    if not any(where.startswith(("gs://", "gcs://")) for where in locations):
        return (OSError,)
    # Imported here: local catalogues need neither.
    from gcsfs.retry import HttpError
    from google.auth.exceptions import GoogleAuthError

    return OSError, HttpError, GoogleAuthError
