"""One product from dated products of one place: every pixel settled by a stated rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np

from model.legend import NODATA_CODE
from transforms import store
from transforms.derived import (
    DerivedTile,
    item_of,
    linked_item,
    read_windows,
    write_derived_collection,
)
from transforms.export import write_tile
from transforms.layers import LAYERS, Layer
from transforms.mosaic import Window, window_geobox
from transforms.product import ProductTile, item_url, tile_url
from transforms.statistics import TileStatistics
from transforms.versions import Version, is_news

NEWEST, BEST_EVIDENCE = "newest", "best-evidence"

DATE = Layer(
    "date", "uint32", 0, "", "Target date of the product that decided, year month day: 20240615"
)


def settle(
    windows: Sequence[dict[str, np.ndarray]], dates: Sequence[date], rule: str
) -> dict[str, np.ndarray]:
    """The layers of the product that decides each pixel, all of them from the same one.

    Args:
      windows: layers by name, (y, x), of each product, oldest first; one that was merged itself
        has its layer `date`.
      dates: the products' target dates.
      rule: "newest": the newest product that shows the pixel; "best-evidence": the most confident
        one, of equals the newest.

    Returns:
      The layers, and `date`, (y, x) uint32 as 20240615; nodata where no product shows anything.
    """
    dated = [_dated(layers, day) for layers, day in zip(windows, dates, strict=True)]
    out = {name: pixels.copy() for name, pixels in dated[0].items()}
    for layers in dated[1:]:
        better = layers["lulc"] != NODATA_CODE
        if rule == BEST_EVIDENCE:
            nothing = out["lulc"] == NODATA_CODE
            better &= nothing | (layers["confidence"] >= out["confidence"])
        for name, pixels in layers.items():
            out[name][better] = pixels[better]
    return out


def _dated(layers: dict[str, np.ndarray], day: date) -> dict[str, np.ndarray]:
    shown = layers["lulc"] != NODATA_CODE
    number = np.where(shown, date_number(day), DATE.nodata).astype(DATE.dtype)
    return {DATE.name: number} | layers


def date_number(day: date) -> int:
    """2024-06-15 -> 20240615."""
    return int(f"{day:%Y%m%d}")


def write_merged(versions: Sequence[Version], out: str, rule: str) -> dict[str, list[str]]:
    """Write the product of several dates, tile by tile; only tiles with news are made.

    A tile to which all but one product add no scene is taken over as it is: its files are linked,
    its item stands in the new collection. A tile that lies there and was made from the same is
    left alone.

    Args:
      versions: as `open_versions` gives them.
      out: folder of the product; local or gs://.
      rule: see `settle`.

    Returns:
      Names of tiles by what was done: "merged", "linked", "kept".

    Raises:
      ValueError: products have different layers, the rule needs confidence and there is none, or
        links cannot be made.
    """
    versions = sorted(versions, key=lambda version: version.date)
    layers = _layers(versions, rule)
    collection = f"{versions[0].product.id.removesuffix(f'-{rule}')}-{rule}"
    done: dict[str, list[str]] = {"merged": [], "linked": [], "kept": []}
    for name in sorted({name for version in versions for name in version.items}):
        parts = _with_news([version for version in versions if name in version.items], name)
        tile = DerivedTile(name, parts[-1].tiles[name].geobox, tuple(parts), f"merge {rule}")
        if tile.is_written(out):
            done["kept"].append(name)
            continue
        store.remove(item_url(out, name))
        store.remove(tile_url(out, name))
        if len(parts) == 1:
            _link_tile(tile, out, collection)
            done["linked"].append(name)
        else:
            _write_tile(tile, out, collection, layers, rule)
            done["merged"].append(name)
    title = f"Land cover up to {versions[-1].date}, {rule} of {len(versions)} dates"
    names = sorted(name for group in done.values() for name in group)
    write_derived_collection(out, collection, title, versions, names, {"cloudlulc:rule": rule}, {})
    return done


def _layers(versions: Sequence[Version], rule: str) -> tuple[Layer, ...]:
    found = {
        tuple(name for name in LAYERS if name in tile.layers)
        for version in versions
        for tile in version.product.tiles
    }
    if len(found) > 1:
        raise ValueError(
            f"the products have different layers, {' and '.join(map(str, sorted(found)))}; make "
            "them with the same --layers"
        )
    (names,) = found
    if rule == BEST_EVIDENCE and "confidence" not in names:
        raise ValueError(
            "the products have no layer confidence, which best-evidence goes by; take --rule newest"
        )
    return tuple(LAYERS[name] for name in names)


def _with_news(versions: Sequence[Version], name: str) -> list[Version]:
    """Those versions of a tile that a scene of their own went into, oldest first."""
    kept: list[Version] = []
    for version in versions:
        if all(is_news(older.items[name], version.items[name]) for older in kept):
            kept.append(version)
    return kept


def _link_tile(tile: DerivedTile, out: str, collection: str) -> None:
    (version,) = tile.versions
    name = tile.name
    store.link_files(version.folder(name), tile_url(out, name))
    item = linked_item(version, name, out, collection)
    item["properties"]["cloudlulc:made_from"] = tile.digest
    store.write_json(item_url(out, name), item)


def _write_tile(
    tile: DerivedTile, out: str, collection: str, layers: Sequence[Layer], rule: str
) -> None:
    dates = [version.date_of(tile.name) for version in tile.versions]
    listed = ", ".join(tile.dates)
    title = f"Land cover up to {dates[-1]}, {rule} of {listed}"
    legend = tile.versions[-1].product.legend
    statistics = TileStatistics()

    def settled() -> Iterator[Window]:
        sources = []
        for version in tile.versions:
            known = version.tiles[tile.name].layers
            names = [layer.name for layer in (*layers, DATE) if layer.name in known]
            sources.append(read_windows(version, tile.name, names))
        for parts in zip(*sources, strict=True):
            rows, cols = parts[0].rows, parts[0].cols
            merged = settle([part.layers for part in parts], dates, rule)
            statistics.add(window_geobox(tile.geobox, rows, cols), merged)
            yield Window(rows, cols, merged)

    about = {"title": title, "target_date": str(dates[-1]), "rule": rule, "license": "CC-BY-4.0"}
    with_date = (*layers, DATE)
    write_tile(out, ProductTile(tile.name, tile.geobox), with_date, settled(), legend, about)
    item = item_of(tile, out, collection, title, with_date, legend)
    item["properties"] |= {"cloudlulc:rule": rule} | statistics.to_properties(legend)
    store.write_json(item_url(out, tile.name), item)
