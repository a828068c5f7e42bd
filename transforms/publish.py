"""Publishing: the map cubes of all zones become product tiles, the STAC item of each one last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import shapely
from apache_beam.metrics import Metrics
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from transforms import store
from transforms.classify import load_checkpoint
from transforms.export import ZARR_SHARD, read_zarr, write_cog, write_zarr
from transforms.failures import FAILED, Failure
from transforms.grid import BlockKey, GeoBox, Grid
from transforms.mapcube import MapReader, finished_blocks
from transforms.mosaic import Window, mosaic_windows, window_geobox
from transforms.product import (
    ProductTile,
    cog_url,
    collection_url,
    item_url,
    quicklook_url,
    tile_url,
)
from transforms.product import zarr_url as product_zarr_url
from transforms.provenance import planned_scenes, regimes
from transforms.quicklook import write_quicklook
from transforms.stac_product import (
    ProductRun,
    attribution,
    product_collection,
    product_item,
    regimes_property,
)
from transforms.statistics import TileStatistics


@dataclass(frozen=True)
class Publication:
    """What the product tiles of a run are made from.

    Attributes:
      root: the run's folder.
      region: what is mapped, (multi)polygon in EPSG:4326.
      grid: processing grid of the map cubes.
      run: what all tiles say of themselves.
      weights: address of the checkpoint, whose card tells of accuracy.
    """

    root: str
    region: BaseGeometry
    grid: Grid
    run: ProductRun
    weights: str


def blocks_under(tile: ProductTile, publication: Publication) -> list[BlockKey]:
    """Finished map blocks that a product tile may show, in order."""
    outline = outline_of(tile.geobox).intersection(publication.region)
    if outline.area == 0:
        return []
    grid = publication.grid
    return [
        key
        for index in grid.tiles_covering(outline)
        for key in sorted(
            finished_blocks(publication.root, index, grid) & set(grid.blocks(index, outline))
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
    url = item_url(publication.root, tile.name)
    if not store.exists(url):
        return blocks > 0
    return store.read_json(url)["properties"]["cloudlulc:map_blocks"] != blocks


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
    about = {
        "title": f"Land cover of {run.region} on {run.target_date}",
        "target_date": str(run.target_date),
        "checkpoint": run.checkpoint,
        "checkpoint_sha256": run.checkpoint_digest,
        "software": f"cloudlulc {run.version}",
        "license": "CC-BY-4.0",
        "attribution": attribution(scenes),
    }
    maps = MapReader(root, publication.grid)
    windows = mosaic_windows(tile.geobox, run.layers, maps, publication.grid, ZARR_SHARD)
    zarr_url = product_zarr_url(root, tile.name)
    counted = _counted(windows, tile.geobox, statistics)
    write_zarr(zarr_url, tile.geobox, run.layers, counted, run.legend, about)

    cogs = {layer.name: cog_url(root, tile.name, layer.name) for layer in run.layers}
    for layer in run.layers:
        pixels = read_zarr(zarr_url, layer)
        write_cog(cogs[layer.name], tile.geobox, layer, pixels, run.legend, about)
    write_quicklook(
        quicklook_url(root, tile.name),
        cogs,
        run.legend,
        title=run.region,
        subtitle=f"Land cover on {run.target_date}, tile {tile.name}",
        attribution=f"{attribution(scenes)} Map: CloudLULC, CC BY 4.0.".strip(),
    )
    item = product_item(root, tile, run, scenes)
    names = {c.code: c.name for c in run.legend.classes}
    item["properties"] |= {
        "cloudlulc:map_blocks": len(blocks),
        "cloudlulc:regimes": regimes_property(regimes(root, blocks), _card(publication)),
        "cloudlulc:regimes_note": "Blocks by the sensors that map them, and the overall accuracy "
        "that the checkpoint's card states for each regime on the data named with it.",
        "cloudlulc:class_area_km2": {
            names[code]: round(km2, 6) for code, km2 in sorted(statistics.class_km2.items())
        },
        "cloudlulc:mapped_km2": round(statistics.mapped_km2, 6),
        "cloudlulc:screened_km2": round(statistics.screened_km2, 6),
        "cloudlulc:cloudy_km2": round(statistics.cloudy_km2, 6),
    }
    store.write_json(item_url(root, tile.name), item)


def _card(publication: Publication) -> dict:
    """The card of the checkpoint that made the maps. Raises ValueError where it is another one."""
    loaded = load_checkpoint(publication.weights)
    if loaded.digest != publication.run.checkpoint_digest:
        raise ValueError(
            f"checkpoint {publication.weights}: its digest is {loaded.digest[:12]}, the maps were "
            f"made with {publication.run.checkpoint_digest[:12]}; name that one by --checkpoint"
        )
    return loaded.card


def publish_collection(tiles: Sequence[ProductTile], publication: Publication) -> None:
    """Write the collection of those tiles that are published."""
    root = publication.root
    done = [tile for tile in tiles if store.exists(item_url(root, tile.name))]
    if not done:
        return
    blocks = sorted({key for tile in done for key in blocks_under(tile, publication)})
    scenes = planned_scenes(root, blocks)
    document = product_collection(root, publication.run, done, scenes)
    store.write_json(collection_url(root), document)


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
        except (OSError, ValueError, RuntimeError) as error:
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
