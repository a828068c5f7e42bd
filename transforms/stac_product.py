"""STAC 1.1 items and the collection of a product: what a tile holds and what it was made from.

Hrefs are relative, so that the product's folder can be moved. No time of creation is in a document
unless it is given: same inputs, same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import shapely
from pyproj import Transformer

from model.legend import Legend
from model.regimes import Regime, expected_accuracy
from transforms.grid import GeoBox
from transforms.layers import Layer
from transforms.product import (
    ProductTile,
    collection_url,
    item_url,
    tile_url,
)
from transforms.scene import SENTINEL1, SENTINEL2, Scene
from transforms.stac_assets import layer_assets
from transforms.store import relative

_EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in (
        "classification/v2.0.0",
        "processing/v1.1.0",
        "projection/v2.0.0",
        "raster/v2.0.0",
        "version/v1.2.0",
    )
]
_COLLECTION_EXTENSIONS = [
    url for url in _EXTENSIONS if "/processing/" not in url and "/projection/" not in url
]
OUTSIDE_LEGEND = {
    "shrub": "mapped as grassland, as in the labels that the network learns from",
    "wetland": "no class and no label: mapped as what it resembles on the day, mostly water, "
    "grassland or forest",
    "snow and ice": "no class and no label: mapped as what it resembles; the layer quality, made "
    "on demand, flags snow where the optical scene's own mask does",
}
"""What becomes of land cover that the legend has no class for."""

_LICENSE = "CC-BY-4.0"
_LICENSE_LINK = {
    "rel": "license",
    "href": "https://creativecommons.org/licenses/by/4.0/",
    "type": "text/html",
    "title": "Creative Commons Attribution 4.0",
}


class ProductRun(NamedTuple):
    """What all tiles of a product share."""

    id: str  # of the collection
    region: str  # name, for people
    target_date: date
    legend: Legend
    layers: tuple[Layer, ...]
    checkpoint: str  # name
    checkpoint_digest: str  # SHA-256, hex
    version: str  # of this software
    precision: str = "float32"  # what the network computed in

    @property
    def made_from(self) -> dict[str, Any]:
        """What every map cube of the product has to say of itself."""
        return {
            "date": self.target_date.isoformat(),
            "checkpoint_digest": self.checkpoint_digest,
            "legend": self.legend.to_dict(),
        }


def product_item(
    root: str,
    tile: ProductTile,
    run: ProductRun,
    scenes: Sequence[Scene],
    created: datetime | None = None,
) -> dict[str, Any]:
    """The STAC item of a product tile.

    Args:
      root: the run's folder; links to scenes in local files are made relative to the item in it.
      scenes: every acquisition that the tile's map was made from.
      created: UTC; left out where None.
    """
    outline = _geographic_outline(tile.geobox)
    scenes = sorted(scenes, key=lambda scene: (scene.sensor, scene.id))
    properties = {
        "title": f"Land cover of {tile.name} on {run.target_date}",
        "description": " ".join(filter(None, [_lineage(run, scenes), attribution(scenes)])),
        "datetime": f"{run.target_date}T00:00:00Z",
        "version": str(run.target_date),
        "license": _LICENSE,
        "attribution": attribution(scenes),
        "gsd": 10,
        "providers": _providers(scenes),
        "proj:code": f"EPSG:{tile.geobox.epsg}",
        "proj:bbox": list(tile.geobox.bounds),
        "proj:shape": list(tile.geobox.shape),
        "proj:transform": _transform(tile.geobox),
        "processing:level": "L4",
        "processing:lineage": _lineage(run, scenes),
        "processing:software": {"cloudlulc": run.version},
        "cloudlulc:checkpoint": run.checkpoint,
        "cloudlulc:checkpoint_sha256": run.checkpoint_digest,
        "cloudlulc:precision": run.precision,
        "cloudlulc:target_date": str(run.target_date),
        "cloudlulc:outside_legend": OUTSIDE_LEGEND,
    }
    if created:
        properties["created"] = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    folder = tile_url(root, tile.name)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "id": tile.name,
        "collection": run.id,
        "geometry": json.loads(shapely.to_geojson(outline)),
        "bbox": list(outline.bounds),
        "properties": properties,
        "assets": _assets(run, tile.geobox, f"./{tile.name}"),
        "links": [
            *(
                {"rel": rel, "href": "../collection.json", "type": "application/json"}
                for rel in ("root", "parent", "collection")
            ),
            _LICENSE_LINK,
            *(_derived_from(scene, folder) for scene in scenes),
        ],
    }


def product_collection(
    root: str, run: ProductRun, tiles: Sequence[ProductTile], scenes: Sequence[Scene]
) -> dict[str, Any]:
    """The STAC collection that lists the tiles of a product, in order of their names."""
    tiles = sorted(tiles)
    whole = whole_bbox([_geographic_outline(tile.geobox).bounds for tile in tiles])
    moment = f"{run.target_date}T00:00:00Z"
    assets = _assets(run, tiles[0].geobox, "")
    for asset in assets.values():
        del asset["href"]
    folder = os.path.dirname(collection_url(root))
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": _COLLECTION_EXTENSIONS,
        "id": run.id,
        "title": f"Land cover of {run.region} on {run.target_date}",
        "description": " ".join(filter(None, [_lineage(run, scenes), attribution(scenes)])),
        "version": str(run.target_date),
        "license": _LICENSE,
        "attribution": attribution(scenes),
        "keywords": ["land cover", "Sentinel-1", "Sentinel-2", "CloudLULC-Net"],
        "providers": _providers(scenes),
        "extent": {
            "spatial": {"bbox": [whole]},
            "temporal": {"interval": [[moment, moment]]},
        },
        "summaries": {"cloudlulc:checkpoint_sha256": [run.checkpoint_digest]},
        "item_assets": assets,
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            _LICENSE_LINK,
            *(
                {
                    "rel": "item",
                    "href": f".{item_url(root, tile.name).removeprefix(folder)}",
                    "type": "application/geo+json",
                    "title": tile.name,
                }
                for tile in tiles
            ),
        ],
    }


def whole_bbox(boxes: Sequence[tuple[float, float, float, float]]) -> list[float]:
    """The smallest bbox (west, south, east, north) of all; west > east over the antimeridian."""
    west, south, east, north = zip(*boxes, strict=True)
    # Seen from the antimeridian, what lies in the western hemisphere follows the eastern.
    shifted = [(w % 360, (e - w) + w % 360) for w, e in zip(west, east, strict=True)]
    first, last = min(w for w, _ in shifted), max(e for _, e in shifted)
    if last > 180 and last - first < max(east) - min(west):
        return [first, min(south), last - 360, max(north)]
    return [min(west), min(south), max(east), max(north)]


def regimes_property(blocks: Mapping[Regime, int], card: Mapping[str, Any]) -> dict[str, Any]:
    """Blocks of each regime, and what the checkpoint's card says of its accuracy there."""
    return {
        regime.value: {"blocks": count, **expected_accuracy(card, regime)}
        for regime, count in blocks.items()
    }


def attribution(scenes: Sequence[Scene]) -> str:
    """The notice that the Copernicus licence asks for; "" where no scene was used."""
    if not scenes:
        return ""
    first = min(scene.start for scene in scenes).year
    last = max(scene.end for scene in scenes).year
    years = str(first) if first == last else f"{first}-{last}"
    return f"Contains modified Copernicus Sentinel data {years}."


def _lineage(run: ProductRun, scenes: Sequence[Scene]) -> str:
    counts = {sensor: sum(s.sensor == sensor for s in scenes) for sensor in (SENTINEL2, SENTINEL1)}
    return (
        f"Land cover of {run.region} on {run.target_date} by CloudLULC-Net, checkpoint "
        f"{run.checkpoint} ({run.checkpoint_digest[:12]}), from {counts[SENTINEL2]} Sentinel-2 and "
        f"{counts[SENTINEL1]} Sentinel-1 scenes; mapped in UTM zones and laid onto this grid by "
        "nearest neighbour."
    )


def _providers(scenes: Sequence[Scene]) -> list[dict[str, Any]]:
    providers = [{"name": "CloudLULC", "roles": ["producer", "processor"]}]
    if scenes:
        copernicus = {
            "name": "European Union, Copernicus",
            "roles": ["licensor"],
            "url": "https://www.copernicus.eu",
            "description": attribution(scenes),
        }
        providers.append(copernicus)
    return providers


def _assets(run: ProductRun, geobox: GeoBox, stem: str) -> dict[str, dict[str, Any]]:
    return layer_assets(run.layers, run.legend, geobox, stem) | {
        "quicklook": {
            "href": f"{stem}.png",
            "type": "image/png",
            "title": "Map with legend and scale",
            "roles": ["overview"],
        }
    }


def _derived_from(scene: Scene, folder: str) -> dict[str, str]:
    href = relative(scene.link, folder) if scene.link else f"urn:scene:{scene.id}"
    return {"rel": "derived_from", "href": href, "type": "application/geo+json", "title": scene.id}


def _transform(geobox: GeoBox) -> list[float]:
    x0, dx, _, y0, _, dy = geobox.gdal_transform
    return [dx, 0.0, x0, 0.0, dy, y0]


def _geographic_outline(geobox: GeoBox) -> shapely.Polygon:
    """Outline in degrees, counter-clockwise, rounded to about a tenth of a millimetre."""
    outline = shapely.box(*geobox.bounds)
    if geobox.epsg != 4326:
        # Straight edges become curves: eight points along each.
        longer = max(geobox.shape) * geobox.resolution
        to_geographic = Transformer.from_crs(geobox.epsg, 4326, always_xy=True)
        outline = shapely.transform(
            shapely.segmentize(outline, longer / 8), to_geographic.transform, interleaved=False
        )
    return shapely.transform(outline, lambda coordinates: coordinates.round(9))
