"""The catalog and collections of the sample, and the list of the demo's runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.sample_stac import STAC_VERSION, write_json

COPERNICUS = "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice"

ORIGINS = {
    "bigearthnet": {
        "title": "BigEarthNet example pairs",
        "license": "Apache-2.0",
        "provider": ("BigEarthNet, PyPI package bigearthnet-common", "https://bigearth.net"),
    },
    "flanders": {
        "title": "WorldCereal time series, Flanders",
        "license": "MIT",
        "provider": (
            "ESA WorldCereal",
            "https://github.com/WorldCereal/worldcereal-classification",
        ),
    },
    "sen12mscr": {
        "title": "SEN12MS-CR scenes",
        "license": "CC-BY-4.0",
        "provider": (
            "Ebel, Meraner, Schmitt, Zhu (2020), SEN12MS-CR",
            "https://mediatum.ub.tum.de/1554803",
        ),
    },
}

DEMO = {  # name: (shot whose footprint is mapped, target date or None for the shot's day, note)
    "bavaria": (
        "S2A_MSIL2A_20170613T101031_87_48",
        None,
        "Lower Bavaria in June 2017: fields and farms, clear",
    ),
    "ireland-east": (
        "S2A_MSIL2A_20170617T113321_36_85",
        None,
        "Eastern Ireland in June 2017: arable land and pastures",
    ),
    "ireland-west": (
        "S2A_MSIL2A_20170617T113321_4_55",
        None,
        "Western Ireland in June 2017: pastures",
    ),
    "portugal": (
        "S2A_MSIL2A_20171221T112501_56_35",
        None,
        "Central Portugal on the shortest day of 2017: woods and small fields, low sun",
    ),
    "finland-autumn": (
        "S2B_MSIL2A_20170924T93020_69_24",
        None,
        "Finland in September 2017: forest, bog and a lake; SAR from the day after",
    ),
    "finland-snow": (
        "S2B_MSIL2A_20180204T94161_57_38",
        None,
        "Finland in February 2018: fields and forest under snow",
    ),
    "flanders-clear": (
        "flanders_00002806639B424A_S2_L2A_20180628T110617",
        None,
        "Flanders on 28 June 2018: no cloud",
    ),
    "flanders-half-cloudy": (
        "flanders_00002806639B424A_S2_L2A_20180613T105737",
        None,
        "The same place on 13 June 2018: 55 % cloud",
    ),
    "flanders-overcast": (
        "flanders_00002806639B424A_S2_L2A_20180620T105211",
        None,
        "The same place on 20 June 2018: wholly under opaque cloud, the SAR image is all there is",
    ),
    "china-cloudy": (
        "sen12mscr_ROIs1970_fall_139_p839_S2_L1C",
        "2018-10-15",
        "Eastern China, no date known (a fall scene): 94 % cloud; ages are nodata",
    ),
    "eifel-dark": (
        "sen12mscr_ROIs2017_winter_112_p797_S2_L1C",
        "2018-01-15",
        "Belgian-German border, no date known (a winter scene): dark and shadowed",
    ),
    "nigeria-cloudy": (
        "sen12mscr_ROIs1868_summer_19_p30_S2_L1C",
        "2018-07-15",
        "Nigeria, no date known (a summer scene): 45 % cloud; ages are nodata",
    ),
}


def write_catalog(out: Path, items: list[dict]) -> None:
    """The catalog and one collection per origin and product."""
    links = [{"rel": "root", "href": "./catalog.json", "type": "application/json"}]
    for name in sorted({item["collection"] for item in items}):
        members = [item for item in items if item["collection"] == name]
        origin = name.split("-")[0]
        write_json(out / origin / name / "collection.json", collection(name, origin, members))
        href = f"./{origin}/{name}/collection.json"
        links.append({"rel": "child", "href": href, "type": "application/json"})
    catalog = {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": "cloudlulc-sample",
        "title": "CloudLULC sample",
        "description": "Small real Sentinel-1 and Sentinel-2 scenes; see README.md.",
        "links": links,
    }
    write_json(out / "catalog.json", catalog)


def collection(name: str, origin: str, items: list[dict]) -> dict:
    about = ORIGINS[origin]
    boxes = np.array([item["bbox"] for item in items])
    whole = [*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist()]
    times = [item["properties"] for item in items]
    starts = [p["datetime"] or p["start_datetime"] for p in times]
    ends = [p["datetime"] or p["end_datetime"] for p in times]
    title = f"{about['title']}: {items[0]['properties']['processing:level']}"
    provider, url = about["provider"]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": name,
        "title": title,
        "description": f"{title}. Contains modified Copernicus Sentinel data.",
        "license": about["license"],
        "providers": [
            {"name": provider, "url": url, "roles": ["processor", "licensor"]},
            {"name": "European Union, ESA, Copernicus", "roles": ["producer"], "url": COPERNICUS},
        ],
        "extent": {
            "spatial": {"bbox": [whole]},
            "temporal": {"interval": [[min(starts), max(ends)]]},
        },
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../../catalog.json", "type": "application/json"},
            *(
                {
                    "rel": "item",
                    "href": f"./{i['id']}/{i['id']}.json",
                    "type": "application/geo+json",
                }
                for i in items
            ),
        ],
    }


def write_demo(out: Path, items: list[dict]) -> None:
    """The footprints that the demo maps as GeoJSON, and the list of its runs."""
    item_of = {item["id"]: item for item in items}
    (out / "regions").mkdir()
    runs = []
    for name, (shot, day, note) in DEMO.items():
        item = item_of[shot]
        feature = {
            "type": "Feature",
            "properties": {"name": name, "footprint_of": shot},
            "geometry": item["geometry"],
        }
        write_json(out / "regions" / f"{name}.geojson", feature)
        date = day or item["properties"]["datetime"][:10]
        runs.append({"name": name, "region": f"regions/{name}.geojson", "date": date, "note": note})
    write_json(out / "demo.json", runs)
