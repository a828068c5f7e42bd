"""STAC item -> Scene, by plain dictionaries: STAC 1.0 (eo:bands, raster:bands) and 1.1 (bands)."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime

import shapely

from transforms.masking import masked
from transforms.scene import SENTINEL1, SENTINEL2, Bounds, Scene
from transforms.sources.assets import BANDS, house_name, item_assets
from transforms.sources.item_shape import NUMBER, check_shape

# Collections that are known to hold linear gamma0 although their items do not say so.
_LINEAR_GAMMA0 = {"sentinel-1-rtc", "sentinel1-rtc-aws"}

UNREADABLE = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)
"""What shapely raises, beside its own errors, of what is no geometry."""

_UNITS = {"db": "dB", "decibel": "dB", "linear": "linear", "linear power": "linear"}


def scene_from_item(item: dict, location: str) -> Scene:
    """One STAC item as a Scene.

    Args:
      item: the item's JSON.
      location: path or address of the file that holds it; relative hrefs start there.

    Raises:
      ValueError: the item lacks what a scene needs, or contradicts itself; the message names the
        item and says what to add.
    """
    name = item_name(item, location)
    check_shape(item, name)
    properties = item.get("properties") or {}
    sensor = _sensor(item, name)
    assets, units = item_assets(item, sensor, location, name)
    missing = _missing(properties, sensor, name)
    both = {a.band for a in assets} & set(missing)
    if both:
        raise ValueError(f"{name}: {sorted(both)} are declared missing, yet there are assets")
    if not assets:
        raise ValueError(
            f"{name}: no asset holds a band of {sensor}; name the assets or their bands "
            f"as {', '.join(BANDS[sensor])}"
        )
    time, start, end = _times(properties, name)
    cloud = properties.get("eo:cloud_cover")
    if cloud is not None and not (isinstance(cloud, NUMBER) and 0 <= cloud <= 100):
        raise ValueError(f"{name}: eo:cloud_cover is {cloud!r}, expected percent from 0 to 100")
    return Scene(
        id=item["id"],
        sensor=sensor,
        time=time,
        start=start,
        end=end,
        footprint=_footprint(item, name),
        cloud=None if cloud is None else cloud / 100,
        orbit=properties.get("sat:orbit_state") or "",
        level=_level(item, sensor),
        unit=_unit(item, units, name) if sensor == SENTINEL1 else "",
        link=_self_link(item) or location,
        assets=assets,
        missing=missing,
        outline=_outline(item),
        version=_version(item),
    )


def _version(item: dict) -> str:
    """What changes when a scene is replaced: its files' checksums, else the item's last update."""
    assets = (item.get("assets") or {}).values()
    sums = sorted(str(a["file:checksum"]) for a in assets if a.get("file:checksum"))
    if sums:
        return hashlib.sha256("\n".join(sums).encode()).hexdigest()[:16]
    return str((item.get("properties") or {}).get("updated") or "")


def item_name(item: object, location: str) -> str:
    """What errors call an item, whatever it is."""
    identity = item.get("id", "?") if isinstance(item, dict) else "?"
    return f"item {identity!r:.80} of {location}"


def _sensor(item: dict, name: str) -> str:
    properties = item.get("properties") or {}
    said = [str(properties[k]) for k in ("constellation", "platform") if properties.get(k)]
    said += [str(item["collection"])] if item.get("collection") else []
    for text in said:
        for sensor, pattern in (
            (SENTINEL1, r"(?i)sentinel[-_ ]?(s?1)|^s1[a-d]?\b"),
            (SENTINEL2, r"(?i)sentinel[-_ ]?(s?2)|^s2[a-d]?\b"),
        ):
            if re.search(pattern, text):
                return sensor
    instruments = {str(i).lower() for i in properties.get("instruments") or ()}
    if instruments & {"msi", "c-sar"}:
        return SENTINEL2 if "msi" in instruments else SENTINEL1
    if not properties.get("constellation") and not properties.get("platform"):
        keys = {key.upper() for key in item.get("assets") or {}}
        if keys & {"VV", "VH"}:
            return SENTINEL1
        if "B8A" in keys or {"B02", "B03", "B04"} <= keys:
            return SENTINEL2
    raise ValueError(
        f"{name}: unknown sensor, got {said or 'no constellation, platform or collection'}; "
        f"expected Sentinel-1 or Sentinel-2: set properties.constellation to "
        f"{SENTINEL1!r} or {SENTINEL2!r}"
    )


def _times(properties: dict, name: str) -> tuple[datetime | None, datetime, datetime]:
    def parse(field: str) -> datetime | None:
        text = properties.get(field)
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except (TypeError, ValueError):
            moment = None
        # Beyond these years neither is there a Sentinel, nor can all time zones be counted.
        if moment is None or moment.tzinfo is None or not 1970 < moment.year < 2200:
            raise ValueError(
                f"{name}: {field} is {text!r}, expected UTC such as 2024-06-15T10:30:00Z"
            )
        return moment

    time = parse("datetime")
    if time:
        return time, time, time
    start, end = parse("start_datetime"), parse("end_datetime")
    if start is None or end is None:
        raise ValueError(
            f"{name}: datetime is null; add start_datetime and end_datetime, the range "
            f"that the acquisition lies in"
        )
    if end < start:
        raise ValueError(f"{name}: end_datetime {end} lies before start_datetime {start}")
    return None, start, end


def _footprint(item: dict, name: str) -> Bounds:
    box = item.get("bbox") or ()
    if len(box) not in (4, 6) or not all(isinstance(v, NUMBER) for v in box):
        raise ValueError(f"{name}: bbox is {list(box)}, expected [west, south, east, north]")
    half = len(box) // 2
    west, south, east, north = *box[:2], *box[half : half + 2]
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise ValueError(
            f"{name}: bbox is {list(box)}, expected degrees as [west, south, east, north]"
        )
    return float(west), float(south), float(east), float(north)


def _outline(item: dict) -> str:
    """Outline of the data as WKT; "" where the item's geometry says no more than its bbox."""
    geometry = item.get("geometry") or {}
    if geometry.get("type") not in ("Polygon", "MultiPolygon"):
        return ""
    try:
        outline = shapely.geometry.shape(geometry)
    except (*UNREADABLE, shapely.errors.ShapelyError):
        return ""
    west, south, east, north = outline.bounds
    # Across the antimeridian a ring may run around the earth: there the bbox knows better.
    if not outline.is_valid or east - west > 180:
        return ""
    return "" if outline.equals(shapely.box(west, south, east, north)) else outline.wkt


def _level(item: dict, sensor: str) -> str:
    """Level by what the item says of itself, most explicit first; "" if it does not."""
    p, assets = item.get("properties") or {}, item.get("assets") or {}
    if sensor == SENTINEL2:
        texts = [p.get("processing:level"), item.get("collection"), p.get("s2:product_type")]
        texts += [p.get("s2:product_uri"), p.get("sentinel:product_id"), item["id"]]
        patterns = {"L1C": r"(?i)l(evel-?)?1c", "L2A": r"(?i)l(evel-?)?2a"}
    else:
        texts = [p.get("cloudlulc:backscatter"), p.get("sar:product_type"), item.get("collection")]
        texts += [str((key, a.get("roles"), a.get("title"))) for key, a in assets.items()]
        patterns = {
            "sigma0": r"(?i)sigma[-_ ]?(0|nought)",
            "gamma0": r"(?i)gamma[-_ ]?(0|nought)|rtc",
        }
    for text in filter(None, texts):
        for level, pattern in patterns.items():
            if re.search(pattern, text):
                return level
    return ""


def _unit(item: dict, said: set[str], name: str) -> str:
    if not said and item.get("collection") in _LINEAR_GAMMA0:
        return "linear"
    units = {_UNITS.get(unit.lower()) for unit in said}
    if len(units) != 1 or None in units:
        raise ValueError(
            f"{name}: unit of the backscatter is {sorted(said) or 'not given'}; expected the same "
            f"for VV and VH: set `unit` of each (in raster:bands or bands) to 'dB' or 'linear'"
        )
    return units.pop()


def _missing(properties: dict, sensor: str, name: str) -> tuple[str, ...]:
    said = properties.get("cloudlulc:missing_bands") or ()
    bands = {text: house_name(text, sensor) for text in said}
    unknown = [text for text, band in bands.items() if band is None]
    if unknown:
        raise ValueError(
            f"{name}: cloudlulc:missing_bands names {unknown}, expected some of "
            f"{', '.join(BANDS[sensor])}"
        )
    return tuple(bands.values())


def _self_link(item: dict) -> str:
    """The address that the item gives as its own; "" where it has none or a relative one."""
    links = (link.get("href") for link in item.get("links") or () if link.get("rel") == "self")
    return masked(next((href for href in links if href and "://" in href), ""))
