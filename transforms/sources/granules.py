"""Items of an API made ready for `scene_from_item`, and what of them is refused or superseded."""

from __future__ import annotations

import re
from collections.abc import Iterable

from model.inputs import INPUTS
from transforms.scene import QUALITY_BANDS, SENTINEL1, Scene
from transforms.sources.assets import processing_baseline
from transforms.sources.items import scene_from_item
from transforms.sources.presets import Catalog, Product

_POLARISATIONS = ("VV", "VH", "HH", "HV")


def scene_of(item: dict, location: str, catalog: Catalog, product: Product) -> Scene:
    """The scene of an API's item.

    Args:
      item: its JSON.
      location: its address.
      catalog: the API.
      product: what the item is one of.

    Raises:
      ValueError: the scene is of no use; the message says why.
    """
    if product is catalog.sar:
        _refuse_raw(item, product)
    scene = scene_from_item(_adapt(item, catalog, product), location)
    spec = INPUTS.sar if scene.sensor == SENTINEL1 else INPUTS.optical
    absent = [b for b in spec.names if b not in scene.bands and b not in scene.missing]
    if absent:
        raise ValueError(
            f"no readable asset for {', '.join(absent)}; name the assets in the configuration"
        )
    return scene._replace(
        assets=tuple(
            asset._replace(
                scale=asset.scale if product.scale is None else product.scale,
                offset=product.offset if isinstance(product.offset, int | float) else asset.offset,
                nodata=asset.nodata if product.nodata is None else product.nodata,
            )
            if asset.band not in QUALITY_BANDS
            else asset
            for asset in scene.assets
        )
    )


def _refuse_raw(item: dict, product: Product) -> None:
    """Raises ValueError for SAR that is not map-projected, or not in VV and VH."""
    properties, reasons = item.get("properties") or {}, []
    kind = properties.get("sar:product_type")
    if kind in ("GRD", "SLC") and not product.terrain_corrected:
        reasons.append(
            f"raw {kind}: it carries only ground control points and is not terrain-corrected"
        )
    keys = {key.upper() for key in item.get("assets") or {}}
    said = properties.get("sar:polarizations") or [p for p in _POLARISATIONS if p in keys]
    if said and not {"VV", "VH"} <= set(said):
        reasons.append(f"polarised {', '.join(said)}, expected VV and VH")
    if reasons:
        raise ValueError("; ".join(reasons))


def _adapt(item: dict, catalog: Catalog, product: Product) -> dict:
    """A copy of the item that says all that the configuration knows."""
    properties, assets = dict(item.get("properties") or {}), {}
    names = {key: band for band, key in product.assets}
    for key, asset in (item.get("assets") or {}).items():
        if names and key not in names:
            continue
        if str(asset.get("href", "")).startswith("s3://") and catalog.signing != "s3-keys":
            continue  # a copy for others, who pay for each request
        assets[key] = _adapt_asset(asset, names.get(key), product)
    if product.level:
        properties["processing:level"] = product.level
    if product.calibration:
        properties["cloudlulc:backscatter"] = product.calibration
    adapted = item | {"properties": properties, "assets": assets}
    return adapted | {"bbox": _bbox(item)} if item.get("bbox") else adapted


def _adapt_asset(asset: dict, band: str | None, product: Product) -> dict:
    dropped = {"unit"} if product.unit else set()
    if product.offset == "baseline":
        dropped |= {"offset", "raster:offset"}

    def cleaned(fields: dict) -> dict:
        return {k: v for k, v in fields.items() if k not in dropped}

    asset = cleaned(asset)
    lists = ("raster:bands", "eo:bands", "bands")
    for name in lists:
        if name in asset:
            asset[name] = [cleaned(fields) for fields in asset[name] or ()]
    if product.unit:
        asset["unit"] = product.unit
    if band is not None:
        merged: dict = {}
        for name in lists:
            merged |= (asset.pop(name, None) or [{}])[0]
        asset["bands"] = [merged | {"name": band}]
    return asset


def _bbox(item: dict) -> list:
    """The item's box; that of a footprint cut at the antimeridian spans it, not the world."""
    box, half = item["bbox"], len(item["bbox"]) // 2
    geometry = item.get("geometry") or {}
    try:
        if box[half] - box[0] <= 180 or geometry.get("type") != "MultiPolygon":
            return box
        longitudes = [x for part in geometry["coordinates"] for ring in part for x, *_ in ring]
        west = min((x for x in longitudes if x >= 0), default=box[0])
        east = max((x for x in longitudes if x < 0), default=box[half])
        return [west, box[1], east, box[half + 1]]
    except (KeyError, IndexError, TypeError, ValueError):
        return box  # neither a box nor an outline: the next one who looks says so


def newest(items: Iterable[dict]) -> list[dict]:
    """Items without granules that were processed again later: the newest baseline is kept.

    A granule is a tile of a datastrip. Two of one baseline are both kept: a pass that was
    downlinked in parts has several products per tile, each with pixels of its own.
    """
    items = list(items)
    best: dict[tuple, tuple[int, int]] = {}
    for item in items:
        if key := _granule(item):
            best[key] = max(best.get(key, (0, 0)), _baseline(item))
    return [i for i in items if not (key := _granule(i)) or _baseline(i) == best[key]]


def _baseline(item: dict) -> tuple[int, int]:
    return processing_baseline(item.get("properties") or {}, str(item.get("id")))


def _granule(item: dict) -> tuple | None:
    """(satellite, start of the datatake, start of the datastrip, tile); None where unknown."""
    properties = item.get("properties") or {}
    names = properties.get("s2:product_uri"), properties.get("sentinel:product_id"), item.get("id")
    for name in names:
        found = re.match(r"(S2[A-D])_MSIL\w{2}_(\d{8}T\d{6})_.*T(\d{2}[A-Z]{3})", str(name))
        if found:
            strip = re.search(r"_S(\d{8}T\d{6})", str(properties.get("s2:datastrip_id")))
            return found[1], found[2], strip and strip[1], found[3]
    return None
