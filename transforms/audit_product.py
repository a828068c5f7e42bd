"""Auditing products: whether each tile lies there once, whole, as its STAC item vouches for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import rasterio
import rasterio.windows
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from transforms import store
from transforms.audit import CORRUPT, MISSING, SURPLUS, Defect, layer_problem
from transforms.checksums import ASSET, digest_of, file_digest, read_sums, sums_url
from transforms.export import read_zarr
from transforms.layers import Layer
from transforms.product import (
    ProductTile,
    cog_url,
    collection_url,
    item_url,
    product_url,
    tile_url,
    zarr_url,
)
from transforms.publish import Publication, blocks_under, collection_document
from transforms.seal import Damaged, Digest, check

OVERVIEW = "overview"
"""Folder beside the tiles that holds what was made from them; it can be made anew at any time."""


def audit_product(
    tiles: Sequence[ProductTile], publication: Publication, plans_hold: bool = True
) -> list[Defect]:
    """Every defect of a product: of its tiles, of its collection, and what nobody wrote.

    Args:
      tiles: all that the product may have.
      publication: what they are made from.
      plans_hold: whether the plans are good, from which the collection can be made anew.
    """
    root = publication.root
    due = {tile.name: len(blocks_under(tile, publication)) for tile in tiles}
    defects: list[Defect] = []
    for tile in tiles:
        if due[tile.name]:
            defects += _audit_tile(tile, publication, due[tile.name])
    if not any(due.values()):
        return defects
    damaged = {defect.key for defect in defects if defect.file.endswith(f"{defect.key}.json")}
    defects += _audit_collection(tiles, publication, plans_hold and not damaged)
    known = {OVERVIEW, *(name for name, blocks in due.items() if blocks)}
    for name in store.list_files(product_url(root)):
        folder, inside, _ = name.partition("/")
        if (folder if inside else "") not in known and name != "collection.json":
            url = store.join(product_url(root), name)
            defects.append(_defect(root, "", SURPLUS, url, "nobody wrote it"))
    return defects


def _defect(root: str, key: str, kind: str, url: str, detail: str) -> Defect:
    return Defect("product", key, kind, url.removeprefix(root).strip("/"), detail)


def _audit_collection(
    tiles: Sequence[ProductTile], publication: Publication, certain: bool
) -> list[Defect]:
    """The collection is compared with one made anew, where what it is made from is good."""
    root, url = publication.root, collection_url(publication.root)
    try:
        found = json.loads(store.read_bytes(url))
    except FileNotFoundError:
        return [_defect(root, "collection", MISSING, url, "is missing")]
    except ValueError:
        return [_defect(root, "collection", CORRUPT, url, "is no JSON")]
    if not certain:
        return []
    expected = json.loads(json.dumps(collection_document(tiles, publication)))
    # The overview, if there is one, is listed in assets of the collection's own.
    if not isinstance(found, dict) or found | {"assets": 0} != expected | {"assets": 0}:
        return [_defect(root, "collection", CORRUPT, url, "is not what its items say")]
    return []


def _audit_tile(tile: ProductTile, publication: Publication, blocks: int) -> list[Defect]:
    """Every defect of one tile that shows so many map blocks."""
    root, name = publication.root, tile.name
    url, folder, sums = item_url(root, name), tile_url(root, name), sums_url(root, name)
    sizes = store.list_sizes(folder)
    if f"{name}.json" not in sizes:
        return [_defect(root, name, MISSING, url, "the tile is not published")]
    try:
        item = json.loads(_vouched_item(publication, name, url))
        shown = item["properties"]["cloudlulc:map_blocks"]
        digests = {
            asset["href"].removeprefix("./"): digest_of(asset)
            for asset in item["assets"].values()
            if "file:checksum" in asset
        }
        digest_of(item["assets"][ASSET])
    except Damaged as damaged:
        return [_defect(root, name, damaged.kind, url, damaged.detail)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [_defect(root, name, CORRUPT, url, f"is no item of this tile ({error!r})")]
    defects = []
    if (shown, item["id"]) != (blocks, name):
        detail = f"{item['id']} shows {shown} map blocks, and {blocks} are finished in {name}"
        defects.append(_defect(root, name, CORRUPT, url, detail))
    try:
        listed = _vouched_sums(sums, digests[f"{name}.sha256"])
    except Damaged as damaged:
        return [*defects, _defect(root, name, damaged.kind, sums, damaged.detail)]
    for file, sha256 in listed.items():
        where = store.join(folder, file)
        try:
            if file not in sizes:
                raise Damaged(where, MISSING, "is missing")
            found = file_digest(where)
            if found != digests.get(file, Digest(found.bytes, sha256)) or found.sha256 != sha256:
                raise Damaged(where, CORRUPT, f"has another SHA-256: {found.sha256[:12]}...")
        except Damaged as damaged:
            defects.append(_defect(root, name, damaged.kind, where, damaged.detail))
    defects += [
        _defect(root, name, SURPLUS, store.join(folder, file), "nobody wrote it")
        for file in sizes
        if file not in listed and file not in (f"{name}.json", f"{name}.sha256")
    ]
    if defects:
        return defects
    return [
        _defect(root, name, CORRUPT, where, detail)
        for layer in publication.run.layers
        for where, detail in _pixels(tile, layer, publication)
    ]


def _vouched_item(publication: Publication, name: str, url: str) -> bytes:
    """The bytes of an item, which are those that the collection vouches for, if it is readable."""
    data = store.read_bytes(url)
    try:
        links = json.loads(store.read_bytes(collection_url(publication.root)))["links"]
        (link,) = (link for link in links if link["rel"] == "item" and link["title"] == name)
        sealed = digest_of(link)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return data  # the collection's own defect
    check(url, sealed, data)
    return data


def _vouched_sums(url: str, sealed: Digest) -> dict[str, str]:
    try:
        data = store.read_bytes(url)
    except FileNotFoundError:
        data = None
    check(url, sealed, data)
    return read_sums(data)


def _pixels(tile: ProductTile, layer: Layer, publication: Publication) -> Iterator[tuple[str, str]]:
    """(file, what is wrong) of a layer's COG, and of the Zarr array that has to equal it."""
    root, name = publication.root, tile.name
    cog, cube = cog_url(root, name, layer.name), zarr_url(root, name)
    try:
        with MemoryFile(store.read_bytes(cog)) as file, file.open() as raster:
            yield from ((cog, wrong) for wrong in _profile(raster, tile, layer))
            for window in read_zarr(cube, [layer.name]):
                shape = window.layers[layer.name].shape
                part = (
                    (window.rows.start, window.rows.stop),
                    (window.cols.start, window.cols.stop),
                )
                pixels = raster.read(1, window=part)
                wrong = layer_problem(layer, pixels, shape, publication.run.legend)
                if wrong:
                    yield cog, wrong
                elif not np.array_equal(pixels, window.layers[layer.name]):
                    yield cube, f"{layer.name} is not as in the GeoTIFF"
    except (RasterioError, ValueError, RuntimeError, KeyError) as error:
        yield cog, f"does not decode: {type(error).__name__}: {error}"


def _profile(raster: rasterio.DatasetReader, tile: ProductTile, layer: Layer) -> Iterator[str]:
    found = (raster.dtypes, raster.shape, raster.crs.to_epsg(), raster.nodata)
    expected = ((layer.dtype,), tile.geobox.shape, tile.geobox.epsg, layer.nodata)
    if found != expected:
        yield f"has (dtype, shape, EPSG, nodata) {found}, expected {expected}"
    if raster.transform.to_gdal() != tile.geobox.gdal_transform:
        yield f"lies at {raster.transform.to_gdal()}, expected {tile.geobox.gdal_transform}"
    if raster.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") != "COG":
        yield "is no cloud-optimised GeoTIFF"
