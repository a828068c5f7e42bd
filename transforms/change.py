"""Change between two dated products: from which class to which, where both dates are confident."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from model.legend import NODATA_CODE, LandCoverClass, Legend
from transforms import store
from transforms.area import pixel_areas
from transforms.derived import (
    DerivedTile,
    item_of,
    read_windows,
    write_derived_collection,
)
from transforms.export import write_tile
from transforms.layers import Layer
from transforms.merge import DATE, date_number
from transforms.mosaic import Window, window_geobox
from transforms.product import ProductTile, item_url, product_url, tile_url
from transforms.statistics import add_areas
from transforms.versions import Version, is_news

UNSURE = 1
"""Value of a pixel that both dates show, and not both with confidence."""

STABLE_COLOR, UNSURE_COLOR = (222, 222, 222), (245, 240, 225)

CHANGE = Layer(
    "change",
    "uint8",
    NODATA_CODE,
    "",
    "Tens digit: class code / 10 on the first date; ones digit: on the second; 1: not confident",
    classes=True,
)
LOWER_CONFIDENCE = Layer(
    "change_confidence", "uint8", 255, "percent", "The lower confidence of the two dates"
)
LAYERS_OF_CHANGE = (CHANGE, LOWER_CONFIDENCE)


_TABLE_ASSET = {
    "change_areas": {
        "href": "./change.csv",
        "type": "text/csv",
        "title": "Areas by from class and to class, km2 on the ellipsoid",
        "roles": ["metadata"],
    }
}


def change_legend(legend: Legend) -> Legend:
    """Every pair of classes as a class of its own, in the colour of what it became.

    Raises:
      ValueError: codes are not multiples of ten up to 90, so that two do not fit into two digits.
    """
    unfit = [c.code for c in legend.classes if c.code % 10 or not 0 < c.code < 100]
    if unfit:
        raise ValueError(f"change: got class codes {unfit}, expected multiples of 10 up to 90")
    ordered = sorted(legend.classes, key=lambda c: c.code)
    pairs = [
        (
            a.code + b.code // 10,
            f"{a.name} to {b.name}" if a is not b else f"{a.name}, as before",
            b.color if a is not b else STABLE_COLOR,
        )
        for a in ordered
        for b in ordered
    ]
    values = [(UNSURE, "not confident on both dates", UNSURE_COLOR), *pairs]
    return Legend("change", tuple(LandCoverClass(i, *value) for i, value in enumerate(values)))


def change_of(
    older: dict[str, np.ndarray], newer: dict[str, np.ndarray], threshold: int
) -> dict[str, np.ndarray]:
    """The layers of change.

    Args:
      older, newer: `lulc` and `confidence` of the two dates, (y, x) uint8.
      threshold: confidence that both dates need, percent.

    Returns:
      `change` and `change_confidence`, (y, x) uint8; nodata where a date shows nothing.
    """
    lower = np.minimum(older["confidence"], newer["confidence"])
    value = older["lulc"] + newer["lulc"] // 10
    value[lower < threshold] = UNSURE
    nothing = (older["lulc"] == NODATA_CODE) | (newer["lulc"] == NODATA_CODE)
    value[nothing] = NODATA_CODE
    lower[nothing] = LOWER_CONFIDENCE.nodata
    return {CHANGE.name: value, LOWER_CONFIDENCE.name: lower}


def write_change(older: Version, newer: Version, out: str, threshold: int) -> dict[str, list[str]]:
    """Write what changed between two products: COGs, Zarr, STAC, and a table of areas.

    A tile whose newer map was made from no scene that the older one does not know is left out: it
    has no news. A tile that lies there and was made from the same two is left as it is.

    Args:
      out: folder of the change; local or gs://.
      threshold: confidence that both dates need, percent.

    Returns:
      Names of tiles by what was done: "written", "kept", "without news", "new" (the older product
      does not show them).

    Raises:
      ValueError: the older product is the newer one, or one has no layer of confidence.
    """
    if older.date > newer.date:
        raise ValueError(
            f"{older.product.url} is of {older.date} and {newer.product.url} of {newer.date}: give "
            "the earlier product first"
        )
    for version in (older, newer):
        for tile in version.product.tiles:
            if "confidence" not in tile.layers:
                raise ValueError(
                    f"{version.product.url}: tile {tile.name} has no layer confidence, and change "
                    "needs it; run with --layers lulc,confidence,..."
                )
    legend = change_legend(newer.product.legend)
    done: dict[str, list[str]] = {"written": [], "kept": [], "without news": [], "new": []}
    for name in sorted(newer.items):
        if name not in older.items:
            done["new"].append(name)
            continue
        if not is_news(older.items[name], newer.items[name]):
            done["without news"].append(name)
            continue
        geobox, how = newer.tiles[name].geobox, f"change {threshold}"
        tile = DerivedTile(name, geobox, (older, newer), how)
        if tile.is_written(out):
            done["kept"].append(name)
        else:
            _write_tile(tile, out, legend, threshold)
            done["written"].append(name)
    shown = sorted(done["written"] + done["kept"])
    _write_table(out, newer.product.legend, shown)
    extra = {
        "cloudlulc:tiles_without_news": done["without news"],
        "cloudlulc:new_tiles": done["new"],
        "cloudlulc:confidence_threshold": threshold,
    }
    about = _collection(older, newer), _title(older, newer)
    write_derived_collection(out, *about, (older, newer), shown, extra, _TABLE_ASSET)
    return done


def _collection(older: Version, newer: Version) -> str:
    return f"{older.product.id}-to-{newer.date}"


def _title(older: Version, newer: Version) -> str:
    return f"Change of land cover from {older.date} to {newer.date}"


def _write_tile(tile: DerivedTile, out: str, legend: Legend, threshold: int) -> None:
    older, newer = tile.versions
    title = _title(older, newer)
    areas: dict[int, float] = {}

    def changes() -> Iterator[Window]:
        names = ["lulc", "confidence"]
        seen_again = DATE.name in newer.tiles[tile.name].layers
        olds = read_windows(older, tile.name, names)
        news = read_windows(newer, tile.name, names + [DATE.name] * seen_again)
        for old, new in zip(olds, news, strict=True):
            if seen_again:
                # What a merged product took over from before is not seen a second time.
                before = new.layers[DATE.name] <= date_number(older.date)
                new.layers["lulc"][before] = NODATA_CODE
            layers = change_of(old.layers, new.layers, threshold)
            km2 = pixel_areas(window_geobox(tile.geobox, old.rows, old.cols)) / 1e6
            add_areas(areas, km2, layers[CHANGE.name])
            yield Window(old.rows, old.cols, layers)

    store.remove(item_url(out, tile.name))
    store.remove(tile_url(out, tile.name))
    about = {
        "title": title,
        "from": str(older.date),
        "to": str(newer.date),
        "confidence": f"at least {threshold} percent on both dates",
        "license": "CC-BY-4.0",
    }
    product_tile = ProductTile(tile.name, tile.geobox)
    write_tile(out, product_tile, LAYERS_OF_CHANGE, changes(), legend, about)
    item = item_of(tile, out, _collection(older, newer), title, LAYERS_OF_CHANGE, legend)
    item["properties"] |= {
        "cloudlulc:confidence_threshold": threshold,
        "cloudlulc:change_km2": {str(value): round(km2, 6) for value, km2 in sorted(areas.items())},
    }
    store.write_json(item_url(out, tile.name), item)


def table(areas: dict[int, float], legend: Legend) -> list[dict[str, Any]]:
    """Rows of the table of areas, by from class and to class; what is not confident is last."""
    names = {c.code: c.name for c in legend.classes}
    rows = [
        {
            "value": value,
            "from_code": value // 10 * 10,
            "from": names[value // 10 * 10],
            "to_code": value % 10 * 10,
            "to": names[value % 10 * 10],
            "km2": round(km2, 6),
        }
        for value, km2 in sorted(areas.items())
        if value != UNSURE
    ]
    unsure = {"from_code": "", "from": "not confident", "to_code": "", "to": "not confident"}
    return [*rows, {"value": UNSURE} | unsure | {"km2": round(areas.get(UNSURE, 0.0), 6)}]


def _write_table(out: str, classes: Legend, names: list[str]) -> None:
    areas: dict[int, float] = {}
    for name in names:
        properties = store.read_json(item_url(out, name))["properties"]
        for value, km2 in properties["cloudlulc:change_km2"].items():
            areas[int(value)] = areas.get(int(value), 0.0) + km2
    rows = table(areas, classes)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    store.write_bytes(store.join(product_url(out), "change.csv"), text.getvalue().encode())
