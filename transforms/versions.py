"""Products of several dates of one place: what they have to share, and which tiles are news."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date
from itertools import combinations
from typing import Any, NamedTuple

from transforms import store
from transforms.published import Published, PublishedTile, open_product


class Version(NamedTuple):
    """A product of one target date, or what `merge` made of several: the newest counts."""

    product: Published
    date: date
    items: dict[str, dict[str, Any]]  # STAC items by tile

    @property
    def tiles(self) -> dict[str, PublishedTile]:
        return {tile.name: tile for tile in self.product.tiles}

    def date_of(self, name: str) -> date:
        """The target date of a tile: one that was linked keeps its own."""
        return date.fromisoformat(self.items[name]["properties"]["cloudlulc:target_date"])

    def folder(self, name: str) -> str:
        """Where a tile lies."""
        return os.path.dirname(self.tiles[name].layers["lulc"])


def open_versions(urls: Sequence[str]) -> list[Version]:
    """Products, in the order given.

    Args:
      urls: folders of runs or products, or their collection.json; local or gs://.

    Raises:
      ValueError: one is no product, or they cannot be laid on each other: other weights, legends,
        grids, or twice the same date.
    """
    versions = [_open(url) for url in urls]
    for a, b in combinations(versions, 2):
        _check_alike(a, b)
        if a.date == b.date:
            raise ValueError(
                f"{a.product.url} and {b.product.url} are both of {a.date}; expected products of "
                "different dates"
            )
    return versions


def _open(url: str) -> Version:
    product = open_product(url)
    items = {}
    for tile in product.tiles:
        if "lulc" not in tile.layers:
            raise ValueError(f"{product.url}: tile {tile.name} has no layer lulc; it is no map")
        folder = os.path.dirname(tile.layers["lulc"])
        items[tile.name] = store.read_json(store.join(folder, f"{tile.name}.json"))
    stated = store.read_json(product.url).get("version", "")
    if not stated:
        raise ValueError(f"{product.url}: the collection states no version; publish it anew")
    return Version(product, date.fromisoformat(stated), items)


def _check_alike(a: Version, b: Version) -> None:
    what = {
        "weights (checkpoint)": lambda v, item: item["properties"]["cloudlulc:checkpoint_sha256"],
        "legends": lambda v, item: str(item["assets"]["lulc"]["classification:classes"]),
        "grids": lambda v, item: (
            item["properties"]["proj:code"],
            round(item["properties"]["proj:transform"][0], 12),
        ),
    }
    for name, of in what.items():
        found = [{of(v, item) for item in v.items.values()} for v in (a, b)]
        if len(found[0] | found[1]) > 1:
            raise ValueError(
                f"{a.product.url} and {b.product.url} have different {name}: their difference "
                "would not be the land's; map both dates anew with the same one"
            )
    for name in a.items.keys() & b.items.keys():
        boxes = [v.tiles[name].geobox for v in (a, b)]
        if boxes[0] != boxes[1]:
            raise ValueError(
                f"tile {name} is {boxes[0]} in {a.product.url} and {boxes[1]} in {b.product.url}; "
                "expected products of the same region"
            )


def inputs(item: dict[str, Any]) -> set[str]:
    """Names of the scenes that a tile was made from."""
    return {link["title"] for link in item["links"] if link["rel"] == "derived_from"}


def is_news(older: dict[str, Any] | None, newer: dict[str, Any]) -> bool:
    """Whether a tile was made from scenes that the older one of its place was not made from."""
    return older is None or not inputs(newer) <= inputs(older)
