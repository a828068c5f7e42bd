"""What a product says of one pixel: its class, the evidence, and the scenes it was made from."""

from __future__ import annotations

import re
from datetime import date, timedelta
from math import floor
from typing import Any

from pyproj import Transformer

from pipeline.viewer.products import Product, ViewTile, run_url
from transforms.grid import BlockKey, Grid, TileIndex
from transforms.layers import LAYERS
from transforms.rasters import open_cog
from transforms.store import exists, read_json
from transforms.zones import zone_epsg

_SENSORS = {"S1": "sentinel-1", "S2": "sentinel-2"}


def pixel_at(product: Product, lon: float, lat: float) -> dict[str, Any]:
    """The pixel at a place, as JSON.

    Args:
      lon, lat: degrees, longitude from -180 to 180.

    Returns:
      `tile` None where no tile of the product lies there; else `values` by layer (null where
      nodata), `class` (null where not mapped), dates of the acquisitions, and `inputs`.
    """
    answer: dict[str, Any] = {"lon": lon, "lat": lat, "date": product.date, "tile": None}
    for tile in product.tiles_within((lon, lat, lon, lat)):
        found = _read(tile, lon, lat)
        if found:
            values, centre = found
            day = _target_date(tile, lon, lat)
            break
    else:
        return answer
    answer |= {
        "date": day,
        "tile": tile.name,
        "values": values,
        "class": next((c for c in tile.classes if c["code"] == values.get("lulc")), None),
        "acquired": {
            sensor: _day(day, values.get(layer))
            for sensor, layer in (("optical", "optical_age"), ("sar", "sar_age"))
        },
        "inputs": None,
    }
    if values.get("lulc") is not None:
        answer["inputs"] = _of_block(product, tile, *centre) or _of_tile(tile)
    return answer


def _read(tile: ViewTile, lon: float, lat: float):
    """({layer: value or None}, (lon, lat) of the pixel's centre); None beside the tile."""
    values: dict[str, int | None] = {}
    centre = None
    for layer, url in tile.cogs.items():
        found = _value_at(url, lon, lat)
        if found is None:
            return None
        value, centre = found
        values[layer] = None if value == LAYERS[layer].nodata else value
    return (values, centre) if centre else None


def _value_at(url: str, lon: float, lat: float) -> tuple[int, tuple[float, float]] | None:
    """(value, (lon, lat) of its centre) of the pixel at a place; None beside the raster."""
    with open_cog(url) as cog:
        to_cog = Transformer.from_crs(4326, cog.crs, always_xy=True)
        row, col = cog.index(*to_cog.transform(lon, lat))
        if not (0 <= row < cog.height and 0 <= col < cog.width):
            return None
        value = int(cog.read(1, window=((row, row + 1), (col, col + 1)))[0, 0])
        return value, to_cog.transform(*cog.xy(row, col), direction="INVERSE")


def _target_date(tile: ViewTile, lon: float, lat: float) -> str:
    """The target date that a pixel's ages count from, ISO."""
    found = _value_at(tile.dates, lon, lat) if tile.dates else None
    if found is None or found[0] == 0:
        return tile.date
    number = str(found[0])
    return f"{number[:4]}-{number[4:6]}-{number[6:]}"


def _day(target: str, age: int | None) -> str | None:
    return None if age is None else str(date.fromisoformat(target) + timedelta(days=age))


def _of_block(product: Product, tile: ViewTile, lon: float, lat: float) -> dict[str, Any] | None:
    """Scenes and regime of the block that mapped a place; None where the run's plan is not here."""
    if product.root is None:
        return None
    # These know Beam, which takes seconds to import: only who asks for a pixel waits, once.
    from transforms.plan_file import plan_url
    from transforms.provenance import planned_scenes, regimes

    key = block_at(Grid(**read_json(run_url(product.root))["grid"]), lon, lat)
    if not exists(plan_url(product.root, key.tile)):
        return None
    scenes = [
        {
            "id": scene.id,
            "sensor": scene.sensor,
            "time": scene.time.isoformat() if scene.time else None,
            "cloud": scene.cloud,
            "orbit": scene.orbit or None,
        }
        for scene in planned_scenes(product.root, [key])
    ]
    (regime,) = regimes(product.root, [key])
    stated = tile.properties.get("cloudlulc:regimes", {}).get(regime, {})
    return {
        "of": "block",
        "name": str(key),
        "regime": regime,
        "expected_accuracy": stated.get("expected_accuracy"),
        "scenes": scenes,
    }


def _of_tile(tile: ViewTile) -> dict[str, Any]:
    """Scenes of the whole tile, from the links of its STAC item."""
    ids = [link.get("title", "") for link in tile.links if link["rel"] == "derived_from"]
    scenes = [
        {"id": id, "sensor": _sensor(id), "time": _time(id), "cloud": None, "orbit": None}
        for id in ids
    ]
    return {
        "of": "tile",
        "name": tile.name,
        "regime": None,
        "expected_accuracy": None,
        "scenes": scenes,
    }


def block_at(grid: Grid, lon: float, lat: float) -> BlockKey:
    """The block that maps a place: of the plain 6-degree zone of its longitude."""
    number = min(60, floor((lon + 180) / 6) + 1)
    zone = number if lat >= 0 else -number
    x, y = Transformer.from_crs(4326, zone_epsg(zone), always_xy=True).transform(lon, lat)
    side = grid.tile_size * grid.resolution
    tile = TileIndex(zone, floor(x / side), floor(y / side))
    box, step = grid.tile_geobox(tile), grid.block_core_size * grid.resolution
    return BlockKey(zone, tile.x, tile.y, floor((box.y0 - y) / step), floor((x - box.x0) / step))


def _sensor(id: str) -> str | None:
    found = re.search(r"(?:^|_)(S[12])[A-D]?(?:_|$)", id)
    return _SENSORS[found[1]] if found else None


def _time(id: str) -> str | None:
    """The first moment that an id of the Copernicus kind states."""
    found = re.search(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)", id)
    return "{}-{}-{}T{}:{}:{}+00:00".format(*found.groups()) if found else None
