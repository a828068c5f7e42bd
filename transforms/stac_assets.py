"""Assets of STAC documents: the files that `export.write_tile` writes, as clients find them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from model.legend import NODATA_CODE, Legend
from transforms.grid import GeoBox
from transforms.layers import Layer
from transforms.product import metres_per_unit

COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"

ZARR_TYPE = "application/vnd.zarr; version=3"


def layer_assets(
    layers: Sequence[Layer], legend: Legend, geobox: GeoBox, stem: str
) -> dict[str, dict[str, Any]]:
    """Assets of what `export.write_tile` writes: a COG per layer and the Zarr group of all.

    Args:
      legend: of the layer of classes.
      stem: of the files, as the document sees them.
    """
    metres = round(geobox.resolution * metres_per_unit(geobox.epsg), 3)
    bands = {layer.name: _band(layer, metres) for layer in layers}
    assets = {}
    for layer in layers:
        assets[layer.name] = {
            "href": f"{stem}_{layer.name}.tif",
            "type": COG_TYPE,
            "title": layer.description,
            "roles": ["data"] if layer.classes else ["data", "quality"],
            "bands": [bands[layer.name]],
        }
        if layer.classes:
            assets[layer.name]["classification:classes"] = _classes(legend)
            assets[f"{layer.name}_names"] = {
                "href": f"{stem}_{layer.name}.tif.aux.xml",
                "type": "application/xml",
                "title": "Names of the classes, for GDAL and QGIS; keep it beside the raster",
                "roles": ["metadata"],
            }
    assets["zarr"] = {
        "href": f"{stem}.zarr",
        "type": ZARR_TYPE,
        "title": "All layers, for xarray",
        "roles": ["data"],
        "bands": list(bands.values()),
    }
    return assets


def _band(layer: Layer, metres: float) -> dict[str, Any]:
    band = {
        "name": layer.name,
        "description": layer.description,
        "data_type": layer.dtype,
        "nodata": layer.nodata,
        "raster:sampling": "area",
        "raster:spatial_resolution": metres,
    }
    return band | ({"unit": layer.unit} if layer.unit else {})


def _classes(legend: Legend) -> list[dict[str, Any]]:
    nodata = {"value": NODATA_CODE, "name": "nodata", "nodata": True}
    return [nodata] + [
        {
            "value": c.code,
            "name": re.sub("[^0-9A-Za-z]+", "-", c.name),
            "title": c.name.capitalize(),
            "color_hint": bytes(c.color).hex().upper(),
        }
        for c in sorted(legend.classes, key=lambda c: c.code)
    ]
