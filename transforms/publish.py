"""Publishing: the map cubes of all zones become product tiles, the STAC item of each one last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import shapely
from apache_beam.metrics import Metrics
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from transforms import store
from transforms.area import WGS84
from transforms.checksums import vouch, vouch_for_items
from transforms.export import ZARR_SHARD, write_tile
from transforms.failures import FAILED, Failure
from transforms.grid import BlockKey, GeoBox, Grid
from transforms.mapcube import MapReader, finished_blocks
from transforms.mosaic import Window, mosaic_windows, window_geobox
from transforms.product import (
    ProductTile,
    collection_url,
    item_url,
    quicklook_url,
    tile_url,
)
from transforms.provenance import planned_scenes, regimes
from transforms.quicklook import write_quicklook
from transforms.regionmask import RegionMask
from transforms.stac_product import (
    ProductRun,
    attribution,
    product_collection,
    product_item,
    regimes_property,
)
from transforms.statistics import TileStatistics
from transforms.weights import load_card


@dataclass(frozen=True)
class Publication:
    """What the product tiles of a run are made from.

    Attributes:
      root: the run's folder.
      region: what is mapped, (multi)polygon in EPSG:4326.
      grid: processing grid of the map cubes.
      run: what all tiles say of themselves.
      weights: address of the checkpoint, whose card tells of accuracy.
      keep_outside: whether what was mapped outside of the region's polygon is shown, too.
      blended: whether the map cubes are: blocks then show beyond their border, too.
    """

    root: str
    region: BaseGeometry
    grid: Grid
    run: ProductRun
    weights: str
    keep_outside: bool = False
    blended: bool = False


def blocks_under(tile: ProductTile, publication: Publication) -> list[BlockKey]:
    """Finished map blocks that a product tile may show, in order."""
    outline = outline_of(tile.geobox).intersection(publication.region)
    if outline.area == 0:
        return []
    grid = publication.grid
    around = grid.reach if publication.blended else 0
    return [
        key
        for index in grid.tiles_covering(outline, around)
        for key in sorted(
            finished_blocks(publication.root, index, grid)
            & set(grid.blocks(index, outline, around))
        )
    ]


def outline_of(geobox: GeoBox) -> BaseGeometry:
    """Outline in longitude and latitude, degrees."""
    outline = shapely.box(*geobox.bounds)
    if geobox.epsg == 4326:
        return outline
    to_geographic = Transformer.from_crs(geobox.epsg, 4326, always_xy=True)
    side = max(geobox.shape) * geobox.resolution
    return shapely.transform(
        shapely.segmentize(outline, side / 64), to_geographic.transform, interleaved=False
    )


def is_due(tile: ProductTile, publication: Publication) -> bool:
    """Whether a tile is to be published: there are map blocks that its item does not know of."""
    blocks = len(blocks_under(tile, publication))
    item = store.find_json(item_url(publication.root, tile.name))
    if item is None:
        return blocks > 0
    return item["properties"]["cloudlulc:map_blocks"] != blocks


def publish_tile(tile: ProductTile, publication: Publication) -> None:
    """Write one product tile: Zarr, a COG per layer, a quicklook, and the STAC item last.

    An earlier version of the tile, and what a killed writer left of one, is removed first, its
    item before the rest: it stands for a finished tile.

    Raises:
      ValueError: the map cubes do not hold what the run says.
    """
    root, run = publication.root, publication.run
    store.remove(item_url(root, tile.name))
    store.remove(tile_url(root, tile.name))
    blocks = blocks_under(tile, publication)
    scenes = planned_scenes(root, blocks)
    statistics = TileStatistics()
    outside = "kept" if publication.keep_outside else "nodata"
    about = {
        "title": f"Land cover of {run.region} on {run.target_date}",
        "target_date": str(run.target_date),
        "checkpoint": run.checkpoint,
        "checkpoint_sha256": run.checkpoint_digest,
        "software": f"cloudlulc {run.version}",
        "license": "CC-BY-4.0",
        "attribution": attribution(scenes),
        "outside_region": outside,
    }
    made_from = run.made_from | {"blended": publication.blended}
    maps = MapReader(root, publication.grid, made_from)
    windows = mosaic_windows(
        tile.geobox,
        run.layers,
        maps,
        publication.grid,
        ZARR_SHARD,
        None if publication.keep_outside else RegionMask(publication.region),
    )
    counted = _counted(windows, tile.geobox, statistics)
    cogs = write_tile(root, tile, run.layers, counted, run.legend, about)
    write_quicklook(
        quicklook_url(root, tile.name),
        cogs,
        run.legend,
        title=run.region,
        subtitle=f"Land cover on {run.target_date}, tile {tile.name}",
        attribution=f"{attribution(scenes)} Map: CloudLULC, CC BY 4.0.".strip(),
    )
    card = load_card(publication.weights, run.checkpoint_digest)
    item = product_item(root, tile, run, scenes)
    item["properties"] |= {
        "cloudlulc:map_blocks": len(blocks),
        "cloudlulc:regimes": regimes_property(regimes(root, blocks), card),
        "cloudlulc:regimes_note": "Blocks by the sensors that map them, and the overall accuracy "
        "that the checkpoint's card states for each regime on the data named with it.",
        "cloudlulc:outside_region": outside,
        "cloudlulc:region_km2": round(_region_km2(tile, publication), 6),
    } | statistics.to_properties(run.legend)
    vouch(root, tile.name, item)
    store.write_json(item_url(root, tile.name), item)


def publish_collection(tiles: Sequence[ProductTile], publication: Publication) -> None:
    """Write the collection of those tiles that are published."""
    document = collection_document(tiles, publication)
    if document:
        store.write_json(collection_url(publication.root), document)


def collection_document(
    tiles: Sequence[ProductTile], publication: Publication
) -> dict[str, Any] | None:
    """The collection of those tiles that are published; None where none is."""
    root = publication.root
    items = store.in_parallel(lambda tile: store.exists(item_url(root, tile.name)), tiles)
    done = [tile for tile, published in zip(tiles, items, strict=True) if published]
    if not done:
        return None
    shown = store.in_parallel(lambda tile: blocks_under(tile, publication), done)
    blocks = sorted({key for of_tile in shown for key in of_tile})
    scenes = planned_scenes(root, blocks)
    document = product_collection(root, publication.run, done, scenes)
    vouch_for_items(root, [tile.name for tile in done], document)
    return document


def _region_km2(tile: ProductTile, publication: Publication) -> float:
    """Area of the region in a tile, on the ellipsoid."""
    part = outline_of(tile.geobox).intersection(publication.region)
    # Its borders are straight in degrees, geodesics are not.
    return abs(WGS84.geometry_area_perimeter(shapely.segmentize(part, 0.01))[0]) / 1e6


def _counted(
    windows: Iterable[Window], geobox: GeoBox, statistics: TileStatistics
) -> Iterator[Window]:
    for window in windows:
        statistics.add(window_geobox(geobox, window.rows, window.cols), window.layers)
        yield window


@dataclass
class PublishTiles(beam.PTransform):
    """ProductTile -> name of the tile, once its STAC item lies there; and failures.

    Attributes:
      publication: what the tiles are made from.
    """

    publication: Publication

    def expand(self, tiles):
        published = (
            tiles
            # One worker a tile: spread the tiles' names and boxes, never pixels.
            | "Spread tiles" >> beam.Reshuffle()
            | "Publish" >> beam.ParDo(_Publish(self.publication)).with_outputs(FAILED, main="names")
        )
        return published.names, published[FAILED]


@dataclass
class _Publish(beam.DoFn):
    publication: Publication

    def setup(self):
        self._written = Metrics.counter("mosaic", "tiles written")

    def process(self, tile: ProductTile) -> Iterator:
        try:
            publish_tile(tile, self.publication)
        except (*store.storage_errors(), ValueError, RuntimeError) as error:
            # Maps that cannot be read are one tile's failure; the others go on.
            yield beam.pvalue.TaggedOutput(FAILED, Failure.of(tile.name, "mosaic", error))
            return
        self._written.inc()
        yield tile.name


@dataclass
class WriteCollection(beam.PTransform):
    """Names of published tiles -> the collection that lists them, written once, at the end.

    Names are gathered by one small shuffle, which also waits for the last tile.

    Attributes:
      publication: what the tiles are made from.
      tiles: all tiles of the product; those without an item are left out.
    """

    publication: Publication
    tiles: Sequence[ProductTile]

    def expand(self, names):
        return (
            names
            | "Gather names" >> beam.combiners.ToList()
            | "Write collection"
            >> beam.Map(lambda _, *args: publish_collection(*args), self.tiles, self.publication)
        )
