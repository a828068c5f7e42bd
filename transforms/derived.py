"""Products made from dated products: what `change` and `merge` share."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from model.legend import Legend
from transforms import store
from transforms.export import read_zarr
from transforms.grid import GeoBox
from transforms.layers import Layer
from transforms.mosaic import Window
from transforms.product import collection_url, item_url, product_url, tile_url
from transforms.stac_assets import layer_assets
from transforms.stac_product import whole_bbox
from transforms.versions import Version

_KEPT = ("cloudlulc:outside_region", "cloudlulc:outside_legend", "cloudlulc:region_km2")


class DerivedTile(NamedTuple):
    """A tile to make from tiles of the same name.

    Attributes:
      versions: that show the tile, oldest first.
      how: all else that decides its bytes, in words.
    """

    name: str
    geobox: GeoBox
    versions: tuple[Version, ...]
    how: str

    @property
    def digest(self) -> str:
        """Follows from what the tile is made from: equal digests, equal bytes."""
        items = [version.items[self.name] for version in self.versions]
        return hashlib.sha256(json.dumps([self.how, items], sort_keys=True).encode()).hexdigest()

    @property
    def dates(self) -> list[str]:
        """Target dates of what went into it, those of merged products each."""
        found = set()
        for version in self.versions:
            properties = version.items[self.name]["properties"]
            one = [properties["cloudlulc:target_date"]]
            found.update(properties.get("cloudlulc:dates", one))
        return sorted(found)

    def is_written(self, out: str) -> bool:
        """Whether the tile lies there, made from just this."""
        url = item_url(out, self.name)
        if not store.exists(url):
            return False
        return store.read_json(url)["properties"].get("cloudlulc:made_from") == self.digest


def read_windows(version: Version, name: str, layers: Sequence[str]) -> Iterator[Window]:
    """The windows of a tile, row by row, as `write_tile` takes them."""
    return read_zarr(store.join(version.folder(name), f"{name}.zarr"), layers)


def item_of(
    tile: DerivedTile,
    out: str,
    collection: str,
    title: str,
    layers: Sequence[Layer],
    legend: Legend,
) -> dict[str, Any]:
    """The STAC item of a derived tile, after that of its newest version.

    Args:
      collection: id of the one that will list it.
    """
    newest = copy.deepcopy(tile.versions[-1].items[tile.name])
    items = [version.items[tile.name] for version in tile.versions]
    properties = {
        name: value
        for name, value in newest["properties"].items()
        if not name.startswith("cloudlulc:") or name in _KEPT or "checkpoint" in name
    }
    notice = _attribution(items)
    oldest, last = tile.dates[0], tile.dates[-1]
    properties |= {
        "title": f"{title}, tile {tile.name}",
        "description": f"{title}. {notice}".strip(),
        "attribution": notice,
        "datetime": f"{last}T00:00:00Z",
        "start_datetime": f"{oldest}T00:00:00Z",
        "end_datetime": f"{last}T00:00:00Z",
        "version": last,
        "processing:lineage": f"{title}, from products of {', '.join(tile.dates)}",
        "cloudlulc:target_date": last,
        "cloudlulc:dates": tile.dates,
        "cloudlulc:made_from": tile.digest,
    }
    for provider in properties["providers"]:
        if "licensor" in provider["roles"]:
            provider["description"] = notice
    folder = tile_url(out, tile.name)
    return newest | {
        "collection": collection,
        "properties": properties,
        "assets": layer_assets(layers, legend, tile.geobox, f"./{tile.name}"),
        "links": [
            *(link for link in newest["links"] if link["rel"] != "derived_from"),
            *_scene_links(tile.versions, tile.name, folder),
        ],
    }


def linked_item(version: Version, name: str, out: str, collection: str) -> dict[str, Any]:
    """The item of a tile that a product takes over as it is, for its new place."""
    item = copy.deepcopy(version.items[name])
    folder = tile_url(out, name)
    item["collection"] = collection
    links = [link for link in item["links"] if link["rel"] != "derived_from"]
    item["links"] = links + _scene_links([version], name, folder)
    return item


def _scene_links(versions: Sequence[Version], name: str, folder: str) -> list[dict[str, str]]:
    """The scenes of a tile's versions, each once, as seen from its new folder."""
    links = {}
    for version in versions:
        for link in version.items[name]["links"]:
            if link["rel"] == "derived_from":
                address = store.join(version.folder(name), f"{name}.json")
                href = store.resolve(address, link["href"])
                links[link["title"]] = link | {"href": store.relative(href, folder)}
    return [links[title] for title in sorted(links)]


def write_derived_collection(
    out: str,
    collection: str,
    title: str,
    versions: Sequence[Version],
    names: Sequence[str],
    extra: dict[str, Any],
    assets: dict[str, Any],
) -> None:
    """Write the collection of the tiles `names` after that of the newest version.

    Args:
      collection: its id; stays the same from version to version.
    """
    newest = store.read_json(versions[-1].product.url)
    items = {name: store.read_json(item_url(out, name)) for name in sorted(names)}
    notice = _attribution([v.items[n] for v in versions for n in v.items])
    document = newest | {
        "id": collection,
        "title": title,
        "description": f"{title}. {notice}".strip(),
        "attribution": notice,
        "version": str(versions[-1].date),
        "assets": assets,
        "links": [
            *(link for link in newest["links"] if link["rel"] in ("root", "license")),
            *(
                {
                    "rel": "item",
                    "href": f"./{name}/{name}.json",
                    "type": "application/geo+json",
                    "title": name,
                }
                for name in items
            ),
            {
                "rel": "predecessor-version",
                "href": store.relative(versions[0].product.url, product_url(out)),
                "type": "application/json",
            },
        ],
    }
    moments = [f"{version.date}T00:00:00Z" for version in (versions[0], versions[-1])]
    document["extent"] = {
        "spatial": {"bbox": [whole_bbox([item["bbox"] for item in items.values()])]}
        if items
        else newest["extent"]["spatial"],
        "temporal": {"interval": [moments]},
    }
    if items:
        document["item_assets"] = {
            name: {key: value for key, value in asset.items() if key != "href"}
            for item in items.values()
            for name, asset in item["assets"].items()
        }
    store.write_json(collection_url(out), document | extra)


def _attribution(items: Sequence[dict[str, Any]]) -> str:
    notices = {item["properties"].get("attribution", "") for item in items} - {""}
    return " ".join(sorted(notices))
