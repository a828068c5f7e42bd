"""The interpreter's table: written by the draw, filled by people, read back. CSV or GeoJSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from transforms import store

COLUMNS = (
    *("sample_id", "lon", "lat", "x", "y", "crs", "tile", "pixel_m2"),
    *("stratum", "stratum_pixels", "stratum_km2", "stratum_weight"),
    *("inclusion_probability", "selection", "map_class"),
    *("confidence", "reliability", "cloud", "optical_age", "sar_age"),
    *("reference_class", "interpreter", "imagery_date", "note"),
)
"""Columns of a drawn sample in their order; the last four are the interpreter's."""

OTHER = "other"
"""Reference class of a place that belongs to none of the legend's classes."""

_NUMBERS: dict[str, Callable[[str], Any]] = {
    "lon": float,
    "lat": float,
    "x": float,
    "y": float,
    "pixel_m2": float,
    "stratum_pixels": int,
    "stratum_km2": float,
    "inclusion_probability": float,
}

Row = dict[str, Any]


def write_table(url: str, rows: Sequence[Row]) -> None:
    """Write a sample, as GeoJSON where the name ends so, else as CSV."""
    plain = [{name: row.get(name) for name in COLUMNS} for row in rows]
    if is_geojson(url):
        features = [
            {
                "type": "Feature",
                "id": row["sample_id"],
                "geometry": {"type": "Point", "coordinates": [row["lon"], row["lat"]]},
                "properties": row,
            }
            for row in plain
        ]
        text = json.dumps({"type": "FeatureCollection", "features": features}, indent=1)
        store.write_bytes(url, f"{text}\n".encode())
        return
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    store.write_bytes(url, buffer.getvalue().encode())


def is_geojson(url: str) -> bool:
    """Raises ValueError for a name that is neither of a CSV nor of a GeoJSON file."""
    name = url.lower()
    if name.endswith((".geojson", ".json")):
        return True
    if name.endswith(".csv"):
        return False
    raise ValueError(f"sample table: got {url}, expected a name that ends in .csv or .geojson")


def read_table(url: str, classes: Sequence[str]) -> list[Row]:
    """Read a filled table.

    Args:
      classes: names of the legend's classes.

    Returns:
      A row per sample: numbers are numbers, class names are the legend's or `OTHER`; what is
      empty or has no column is None. Columns that are not known stay as they are.

    Raises:
      ValueError: what is wrong, by row and column; rows count from 1 below the header, features
        of a GeoJSON file from 1.
    """
    raw = _geojson_rows(url) if is_geojson(url) else _csv_rows(url)
    if not raw:
        raise ValueError(f"{url}: the table has no row")
    for name in ("sample_id", "map_class", "reference_class"):
        if not any(name in row for row in raw):
            raise ValueError(f"{url}: there is no column {name}; it has {', '.join(raw[0])}")
    names = {name.casefold(): name for name in (*classes, OTHER)}
    wrong, seen, rows = [], {}, []
    for number, cells in enumerate(raw, 1):
        row: Row = dict.fromkeys(COLUMNS)
        for column, cell in cells.items():
            text = "" if cell is None else str(cell).strip()
            try:
                row[column] = _value(column, text, names) if text else None
            except ValueError as error:
                wrong.append(f"row {number}, column {column}: {error}")
        for column in ("sample_id", "map_class"):
            if row[column] is None and cells.get(column) in (None, ""):
                wrong.append(f"row {number}, column {column}: is empty")
        if row["sample_id"] in seen:
            first = seen[row["sample_id"]]
            wrong.append(f"row {number}, column sample_id: {row['sample_id']} is row {first}, too")
        seen.setdefault(row["sample_id"], number)
        rows.append(row)
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(f"{url}: " + "; ".join(wrong[:5]) + more)
    return rows


def _value(column: str, text: str, names: dict[str, str]) -> Any:
    if column in ("map_class", "reference_class"):
        if text.casefold() not in names:
            raise ValueError(f"got {text!r}, expected one of {', '.join(names.values())}")
        return names[text.casefold()]
    if column not in _NUMBERS:
        return text
    try:
        value = float(text)
        if _NUMBERS[column] is int and not value.is_integer():
            raise ValueError
    except ValueError:
        raise ValueError(f"got {text!r}, expected a number") from None
    return _NUMBERS[column](value)


def _csv_rows(url: str) -> list[Row]:
    text = _text(url)
    header = text.partition("\n")[0]
    # Spreadsheets of many countries write semicolons.
    delimiter = ";" if header.count(";") > header.count(",") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
    rows = list(reader)
    for number, row in enumerate(rows, 1):
        if None in row:
            raise ValueError(f"{url}: row {number} has more cells than the header has columns")
    return rows


def _geojson_rows(url: str) -> list[Row]:
    try:
        features = json.loads(_text(url))["features"]
        return [dict(feature["properties"]) for feature in features]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{url}: expected a GeoJSON FeatureCollection: {error!r}") from None


def _text(url: str) -> str:
    try:
        return store.read_bytes(url).decode("utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"sample table: there is no file {url}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{url}: expected text in UTF-8: {error}") from None
