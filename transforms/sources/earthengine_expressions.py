"""What Earth Engine is asked to compute, as expressions of its client library.

The library, `ee`, is a parameter: it has to be initialised before expressions can be written.
"""

from __future__ import annotations

import numpy as np

from transforms.grid import GeoBox
from transforms.period import Period
from transforms.scene import Asset, Bounds, Scene
from transforms.sources.earthengine_requests import stored
from transforms.sources.earthengine_scenes import (
    CLOUD_COLLECTION,
    OPTICAL_COLLECTIONS,
    OPTICAL_COLUMNS,
    REQUIRED,
    SAR_COLLECTION,
    SAR_COLUMNS,
    is_interpolated,
)


def query(ee, bounds: Bounds, period: Period, level: str):
    """Metadata of all collections in one value: columns are read, no pixel is touched."""
    place = ee.Geometry.BBox(*bounds)

    def images(collection: str):
        found = ee.ImageCollection(collection).filterBounds(place)
        return found.filterDate(period.start.isoformat(), period.end.isoformat())

    def rows(found, columns: tuple[str, ...]):
        reducer = ee.Reducer.toList(len(columns), len(columns) - REQUIRED)
        return found.reduceColumns(reducer, list(columns)).get("list")

    sar = images(SAR_COLLECTION).filter(ee.Filter.eq("instrumentMode", "IW"))
    for polarisation in ("VV", "VH"):
        sar = sar.filter(ee.Filter.listContains("transmitterReceiverPolarisation", polarisation))
    return ee.Dictionary(
        {
            "optical": rows(images(OPTICAL_COLLECTIONS[level]), OPTICAL_COLUMNS),
            "cloud": images(CLOUD_COLLECTION).aggregate_array("system:index"),
            "sar": rows(sar, SAR_COLUMNS),
        }
    )


def image(ee, scene: Scene, geobox: GeoBox, assets: list[Asset]):
    """The bands of one request, each sampled in its own way and with its holes filled."""
    planes = []
    for asset in assets:
        name, _, band = asset.href.partition("#")
        plane = ee.Image(name).select([band])
        if is_interpolated(scene, asset.band, geobox):
            plane = plane.resample("bilinear")
        if asset.band == "CLOUD_PROBABILITY":
            plane = plane.multiply(-100).add(100)
        form = stored(asset.band)
        if np.dtype(form.dtype).kind == "u":
            plane = plane.round()
        # Not only inside of the image's footprint: outside of it pixels are missing, too.
        plane = plane.unmask(form.hole, False)
        cast = {"<u2": plane.toUint16, "|u1": plane.toUint8, "<f4": plane.toFloat}[form.dtype]
        planes.append(cast().rename([asset.band]))
    return ee.Image.cat(planes)
