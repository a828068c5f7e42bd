"""What lies behind a product: the shipped countries, so that a map needs no service."""

from __future__ import annotations

import gzip
import json
from functools import lru_cache

from pipeline.region import regions_folder


@lru_cache(maxsize=1)
def countries() -> bytes:
    """GeoJSON of the shipped countries, each with its name, compressed by gzip."""
    features = []
    for path in sorted(regions_folder().glob("*.geojson")):
        feature = json.loads(path.read_text(encoding="utf-8"))
        # A continent is the union of its countries.
        if path.stem != "africa":
            name = feature["properties"]["name"]
            features.append(
                {"type": "Feature", "properties": {"name": name}, "geometry": feature["geometry"]}
            )
    collection = {"type": "FeatureCollection", "features": features}
    text = json.dumps(collection, separators=(",", ":"), ensure_ascii=False)
    return gzip.compress(text.encode(), compresslevel=4, mtime=0)
