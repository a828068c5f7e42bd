"""Valid documents, of every kind that a parser of ours reads."""

from __future__ import annotations

import json
import tomllib
from datetime import date
from pathlib import Path

from model.inputs import INPUTS
from pipeline.config import RunConfig
from pipeline.region import Region, load_region
from pipeline.tariffs import PRICES
from transforms.pixels.pairing import PairRule

ITEM = {
    "type": "Feature",
    "stac_version": "1.0.0",
    "id": "S2A_MSIL2A_20240610T103031_N0510_R108_T32TQM_20240610T150000",
    "collection": "sentinel-2-l2a",
    "bbox": [14.0, 46.0, 15.0, 47.0],
    "geometry": {
        "type": "Polygon",
        "coordinates": [[[14, 46], [15, 46], [15, 47], [14, 46.5], [14, 46]]],
    },
    "links": [{"rel": "self", "href": "https://example.org/item.json"}],
    "properties": {
        "datetime": "2024-06-10T10:30:31Z",
        "start_datetime": "2024-06-10T10:30:31Z",
        "end_datetime": "2024-06-10T10:31:31Z",
        "constellation": "sentinel-2",
        "platform": "sentinel-2a",
        "instruments": ["msi"],
        "eo:cloud_cover": 12.5,
        "proj:epsg": 32632,
        "s2:processing_baseline": "05.10",
        "s2:product_uri": "S2A_MSIL2A_20240610T103031_N0510_R108_T32TQM.SAFE",
        "earthsearch:boa_offset_applied": False,
        "cloudlulc:missing_bands": ["B10"],
    },
    "assets": {
        band: {
            "href": f"./{band}.tif",
            "type": "image/tiff; application=geotiff",
            "roles": ["data"],
            "eo:bands": [{"name": band, "common_name": "x"}],
            "raster:bands": [{"scale": 1e-4, "offset": -0.1, "nodata": 0}],
        }
        for band in (b.name for b in INPUTS.optical.bands)
    },
}

SAR_ITEM = ITEM | {
    "id": "S1A_IW_GRDH_1SDV_20240611T170000_rtc",
    "collection": "sentinel-1-rtc",
    "geometry": {
        "type": "MultiPolygon",
        "coordinates": [[[[179, 1], [180, 1], [180, 2], [179, 1]]]],
    },
    "bbox": [-180.0, 1.0, 180.0, 2.0],
    "properties": {
        "datetime": "2024-06-11T17:00:00Z",
        "platform": "sentinel-1a",
        "sat:orbit_state": "ascending",
        "sar:product_type": "RTC",
        "sar:polarizations": ["VV", "VH"],
        "proj:code": "EPSG:32632",
    },
    "assets": {
        key: {"href": f"{key}.tif", "bands": [{"name": key, "unit": "linear", "nodata": "nan"}]}
        for key in ("vv", "vh")
    },
}

CONFIGURATION = {
    "url": "https://stac.example.org/v1",
    "signing": "planetary-computer",
    "signing_url": "https://sas.example.org/token",
    "signed_host": ".example.org",
    "page": 100,
    "optical": {
        "collections": ["sentinel-2-l2a"],
        "assets": {"B02": "blue", "B03": "green"},
        "level": "L2A",
        "offset": "baseline",
        "scale": 1e-4,
        "nodata": 0,
    },
    "sar": {"collections": ["sentinel-1-rtc"], "unit": "linear", "calibration": "gamma0"},
}

SCHEDULE = {
    "defaults": {"source": "synthetic:seed=1", "out": "out", "cadence": "weekly", "max_failed": 3},
    "country": [
        {"name": "ghana", "date": "20 days ago", "look_back_days": 30, "layers": ["lulc"]},
        {"name": "togo", "region": "togo", "date": "end of month", "starting": "2026-01-01"},
        {"name": "benin", "cadence": "every 5 days", "date": "latest acquisition"},
    ],
}

COLLECTION = {"type": "FeatureCollection", "features": [ITEM, SAR_ITEM]}
CATALOG = {"type": "Catalog", "links": [{"rel": "item", "href": "./item.json"}] * 3}


def run_document() -> dict:
    region = Region("box", load_region("14,46,15,47").geometry)
    run = RunConfig(region, PairRule(date(2024, 6, 15)), "synthetic:seed=1", "out", "w", "0" * 64)
    return json.loads(json.dumps(run.to_dict() | {"id": run.id}))


def togo() -> dict:
    box = {"type": "Polygon", "coordinates": [[[0, 6], [2, 6], [2, 11], [0, 11], [0, 6]]]}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    feature = {"type": "Feature", "properties": {"name": "Togo"}, "geometry": box}
    return {"type": "FeatureCollection", "name": "togo", "crs": crs, "features": [feature] * 2}


def prices() -> dict:
    document = tomllib.loads(Path(PRICES).read_text())
    return json.loads(json.dumps(document, default=str))
