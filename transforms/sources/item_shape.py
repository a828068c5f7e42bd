"""STAC items from elsewhere: that every field which is read has the type that it should have.

Fields that nothing reads may hold anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

NUMBER = (int, float)
LONGEST_ID = 500

_ITEM = {"properties": dict, "assets": dict, "links": list, "bbox": list, "geometry": dict} | {
    "collection": str
}
_PROPERTIES = dict.fromkeys(
    (
        *("constellation", "platform", "datetime", "start_datetime", "end_datetime"),
        *("sat:orbit_state", "processing:level", "s2:product_type", "s2:product_uri"),
        *("sentinel:product_id", "cloudlulc:backscatter", "sar:product_type", "proj:code"),
    ),
    str,
) | {
    "instruments": list,
    "proj:epsg": int,
    "sar:polarizations": list,
    "cloudlulc:missing_bands": list,
}
_BAND = dict.fromkeys(("name", "common_name", "eo:common_name", "unit"), str) | dict.fromkeys(
    ("scale", "offset", "raster:scale", "raster:offset", "gsd"), NUMBER
)
_LISTS_OF_BANDS = ("bands", "eo:bands", "raster:bands")
_ASSET = (
    _BAND
    | dict.fromkeys(("href", "type", "title", "proj:code"), str)
    | dict.fromkeys(("roles", *_LISTS_OF_BANDS), list)
    | {"proj:epsg": int}
)


def check_shape(item: Any, name: str) -> None:
    """Check an item before it is read.

    Args:
      item: what the JSON holds.
      name: of the item, for errors.

    Raises:
      ValueError: it is no item, or a field has another type; the message names it.
    """
    if not isinstance(item, dict) or item.get("type") != "Feature":
        got = item.get("type") if isinstance(item, dict) else item
        raise ValueError(f"{name}: got type {got!r}, expected a STAC item with an id")
    identity = item.get("id")
    if not isinstance(identity, str) or not 0 < len(identity) <= LONGEST_ID:
        raise ValueError(f"{name}: expected a STAC item with an id of 1-{LONGEST_ID} characters")
    if not identity.isprintable():
        raise ValueError(f"{name}: the id holds characters that cannot be printed")
    _check(item, _ITEM, name)
    properties = item.get("properties") or {}
    _check(properties, _PROPERTIES, f"{name}, properties")
    for field in ("instruments", "sar:polarizations", "cloudlulc:missing_bands"):
        _check_all(properties.get(field), str, f"{name}, properties, {field}")
    for link in _check_all(item.get("links"), dict, f"{name}, links"):
        _check(link, {"rel": str, "href": str}, f"{name}, link")
    for key, asset in (item.get("assets") or {}).items():
        where = f"{name}, asset {key!r}"
        _check_all([asset], dict, where)
        _check(asset, _ASSET, where)
        _check_all(asset.get("roles"), str, f"{where}, roles")
        for field in _LISTS_OF_BANDS:
            for band in _check_all(asset.get(field), dict, f"{where}, {field}"):
                _check(band, _BAND, f"{where}, {field}")


def _check(fields: dict, kinds: Mapping[str, type | tuple[type, ...]], where: str) -> None:
    for field, kind in kinds.items():
        value = fields.get(field)
        # To Python a bool is a number, and so are infinity and NaN, which JSON does not have.
        good = isinstance(value, kind) and not isinstance(value, bool)
        if value is not None and not (good and _is_finite(value)):
            wanted = kind.__name__ if isinstance(kind, type) else "number"
            raise ValueError(f"{where}: {field} is {value!r:.80}, expected {wanted}")


def _check_all(values: list | None, kind: type, where: str) -> list:
    for value in values or ():
        if not isinstance(value, kind):
            raise ValueError(f"{where}: got {value!r:.80}, expected {kind.__name__}")
    return values or []


def _is_finite(value: Any) -> bool:
    try:
        return not isinstance(value, NUMBER) or isfinite(value)
    except OverflowError:  # an integer of more digits than a float holds
        return False
