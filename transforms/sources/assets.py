"""The assets of a STAC item -> which file holds which band, and what its numbers mean."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from math import isnan

from model.inputs import INPUTS
from transforms.scene import QUALITY_BANDS, SENTINEL1, SENTINEL2, Asset

BANDS = {
    SENTINEL2: (*INPUTS.optical.names, "B10", *QUALITY_BANDS),
    SENTINEL1: INPUTS.sar.names,
}

# Names that catalogues give the bands, in lower case. "rededge" alone could be any of four bands.
_NAMES = {
    SENTINEL2: {
        **{name.lower(): name for name in BANDS[SENTINEL2]},
        **{f"b{number}": f"B{number:02d}" for number in range(1, 10)},
        **{b.common_name: b.name for b in INPUTS.optical.bands},
        **{"rededge1": "B05", "rededge2": "B06", "rededge3": "B07", "rededge4": "B8A"},
        **{"cirrus": "B10", "nir09": "B09"},
        **dict.fromkeys(("cloud", "cldprb", "clp", "msk_cldprb"), "CLOUD_PROBABILITY"),
    },
    SENTINEL1: {
        **{name.lower(): name for name in BANDS[SENTINEL1]},
        **{
            f"{level}_{name.lower()}": name
            for level in ("sigma0", "gamma0")
            for name in ("VV", "VH")
        },
    },
}

_PICTURES = {"visual", "thumbnail", "overview", "preview", "tci", "rendered_preview"}


def item_assets(
    item: dict, sensor: str, location: str, name: str
) -> tuple[tuple[Asset, ...], set[str]]:
    """The item's bands of a sensor, and the units that they declare.

    Where several assets hold a band, the GeoTIFF with the finest pixels is taken.

    Args:
      item: the item's JSON.
      sensor: SENTINEL1 or SENTINEL2.
      location: of the item; relative hrefs start there.
      name: of the item, for errors.

    Returns:
      one asset per band, in the order of `BANDS`; and what `unit` says, as it is written.

    Raises:
      ValueError: an asset contradicts itself.
    """
    best: dict[str, tuple[tuple, Asset, str | None]] = {}
    for key, asset in _images(item):
        if not asset.get("href"):
            raise ValueError(f"{name}: asset {key!r} has no href")
        href = resolve(location, asset["href"])
        bands = _band_fields(asset, name)
        for index, fields in enumerate(bands, start=1):
            # A band's own name says most; the asset's key only speaks of a single band.
            names = [fields.get("name"), key if len(bands) == 1 else None]
            names += [fields.get("eo:common_name", fields.get("common_name"))]
            band = next((b for n in names if (b := house_name(n, sensor))), None)
            if band is None:
                continue
            found = Asset(band, href, index, *_values(band, item, fields))
            rank = "jp2" in (asset.get("type") or ""), _pixel_size(key, asset, fields), key
            if band not in best or rank < best[band][0]:
                best[band] = rank, found, fields.get("unit")
    kept = [best[b][1:] for b in BANDS[sensor] if b in best]
    return tuple(asset for asset, _ in kept), {str(unit) for _, unit in kept if unit}


def house_name(text: str | None, sensor: str) -> str | None:
    """The band that a catalogue calls `text`, such as "B02" of "blue" or "B02_10m"; or None."""
    plain = re.sub(r"(-jp2|_\d+m)$", "", (text or "").lower())
    return _NAMES[sensor].get(plain)


def declared_crs(item: dict, location: str) -> dict[str, str]:
    """Asset href -> CRS such as "EPSG:32633" that the item declares for it; none where unsaid."""
    found = {}
    for _, asset in _images(item):
        for fields in (asset, item.get("properties") or {}):
            code = fields.get("proj:code") or fields.get("proj:epsg")
            if code:
                href = resolve(location, asset["href"])
                found[href] = f"EPSG:{code}" if isinstance(code, int) else code
                break
    return found


def resolve(location: str, href: str) -> str:
    """`href` as seen from the file at `location`; absolute paths and addresses stay."""
    if href.startswith("file://"):
        return href.removeprefix("file://")
    if "://" in href or href.startswith("/"):
        return href
    scheme, mark, path = location.rpartition("://")
    return scheme + mark + posixpath.normpath(posixpath.join(posixpath.dirname(path), href))


def _images(item: dict) -> Iterator[tuple[str, dict]]:
    """Assets that may hold pixels of bands: neither metadata nor pictures for the eye."""
    for key, asset in sorted((item.get("assets") or {}).items()):
        media, roles = asset.get("type") or "image/", set(asset.get("roles") or ())
        picture = key.lower().removesuffix("-jp2") in _PICTURES or roles & _PICTURES
        if media.startswith("image/") and not picture:
            yield key, asset


def _band_fields(asset: dict, name: str) -> list[dict]:
    """What the item says of each band of an asset; STAC 1.1, or 1.0 with its two lists merged."""
    whole = {k: asset[k] for k in ("nodata", "unit", "raster:scale", "raster:offset") if k in asset}
    if asset.get("bands"):
        return [whole | band for band in asset["bands"]]
    eo, raster = asset.get("eo:bands") or [], asset.get("raster:bands") or []
    if eo and raster and len(eo) != len(raster):
        raise ValueError(
            f"{name}: {asset.get('href')} has {len(eo)} eo:bands and {len(raster)} raster:bands; "
            f"expected one of each per band"
        )
    count = max(len(eo), len(raster), 1)
    return [whole | r | e for e, r in zip(eo or [{}] * count, raster or [{}] * count, strict=True)]


def _values(band: str, item: dict, fields: dict) -> tuple[float, float, float | None]:
    """(scale, offset, nodata) of a band: declared, else what the product's definition says."""
    properties = item.get("properties") or {}
    scale = fields.get("raster:scale", fields.get("scale"))
    offset = fields.get("raster:offset", fields.get("offset"))
    nodata = fields.get("nodata")
    try:
        nodata = None if nodata is None else float(nodata)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"item {item['id']!r}, band {band}: nodata is {nodata!r:.80}, expected a number "
            "or 'nan'"
        ) from None
    if nodata is not None and isnan(nodata):
        nodata = None  # what floats have anyway; NaN would make equal scenes unequal
    if band == "CLOUD_PROBABILITY" and nodata == 0:
        nodata = None  # some catalogues say so, but 0 % is a probability
    if band in BANDS[SENTINEL2] and band not in QUALITY_BANDS:
        # ESA, Sentinel-2 Products Specification: DN = 10000 x reflectance, plus 1000 from
        # processing baseline 04.00 on; DN 0 is nodata.
        scale = 1e-4 if scale is None else scale
        nodata = 0.0 if nodata is None else nodata
        if any(k.endswith(":boa_offset_applied") and v for k, v in properties.items()):
            offset = 0.0  # taken off already, whatever raster:offset says
        elif offset is None:
            offset = -0.1 if processing_baseline(properties, item["id"]) >= (4, 0) else 0.0
    return (1.0 if scale is None else scale), (0.0 if offset is None else offset), nodata


def processing_baseline(properties: dict, item_id: str) -> tuple[int, int]:
    """Processing baseline (4, 0) of "04.00" or of a product id with "_N0400_"; (0, 0) if unsaid."""
    for field in ("s2:processing_baseline", "processing:version"):
        found = re.fullmatch(r"(\d+)\.(\d+)", str(properties.get(field, "")))
        if found:
            return int(found[1]), int(found[2])
    for text in (properties.get("s2:product_uri"), properties.get("sentinel:product_id"), item_id):
        found = re.search(r"_N(\d\d)(\d\d)_", text or "")
        if found:
            return int(found[1]), int(found[2])
    return 0, 0


def _pixel_size(key: str, asset: dict, fields: dict) -> float:
    suffix = re.search(r"_(\d+)m$", key)
    sizes = [fields.get("gsd"), asset.get("gsd"), suffix and float(suffix[1])]
    return float(next((s for s in sizes if s), 0.0))
