"""What a run has to do, counted before it is started.

The work follows from the plan that the run itself would make, by the same functions. Quarantine
cannot be known before pixels are looked at: the scenes that stand in for one are read on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from functools import lru_cache
from typing import NamedTuple

import shapely

from model.inputs import INPUTS
from pipeline.config import RunConfig
from transforms.export import ZARR_SHARD
from transforms.grid import GeoBox
from transforms.inspect import scene_bands
from transforms.mapcube import ingested_blocks
from transforms.measure import read_record, record_name, sample, window
from transforms.mosaic import window_geobox
from transforms.pixels.pairing import Pair, Regime
from transforms.pixels.prepare import optical_bands, sar_bands
from transforms.plan import PairRequest, pair_requests, plan_tile
from transforms.plan_file import BlockRequest, planned_before
from transforms.product import project
from transforms.scene import QUALITY_BANDS, SENTINEL1, SENTINEL2, Asset, ImagerySource, Scene
from transforms.sources.earthengine_requests import request_bytes, split

ITEM_BYTES = {SENTINEL2: 2, SENTINEL1: 4}
"""Of a pixel of one band as it is read: uint16 reflectance, float32 backscatter."""


class Share(NamedTuple):
    """What there is to do of one product tile."""

    name: str
    mpx: float  # in all
    shown: float  # of windows that show some of the region
    mapped: float  # inside of the region


@dataclass
class Work:
    """What a run has to do.

    Attributes:
      tiles: of the processing grid.
      blocks: that the region touches.
      empty: of these, without any scene.
      finished: of these, fetched before.
      fetched: blocks to be fetched.
      classified: blocks to be classified.
      scenes: ids of the scenes that map the blocks to be fetched.
      searches: of the catalogue; a source may need several requests for one.
      looks: pixel reads of `measure`.
      reads: pixel reads of `fetch`.
      requests: to the imagery's service for these; Earth Engine's are cut to its limit.
      largest: bytes of the largest request, as Earth Engine counts them; 0 elsewhere.
      bytes_in: of the pixels, decoded.
      looked_mpx: of the windows that pairs are looked at in.
      read_mpx: read, by sensor.
      product: tiles of the product.
      assumed: whether the catalogue was not asked: one pair for every block and tile.
    """

    tiles: int = 0
    blocks: int = 0
    empty: int = 0
    finished: int = 0
    fetched: int = 0
    classified: int = 0
    scenes: set[str] = field(default_factory=set)
    searches: int = 0
    looks: int = 0
    reads: int = 0
    requests: int = 0
    largest: int = 0
    bytes_in: int = 0
    looked_mpx: float = 0.0
    read_mpx: dict[str, float] = field(default_factory=lambda: {SENTINEL2: 0.0, SENTINEL1: 0.0})
    product: tuple[Share, ...] = ()
    assumed: bool = False

    def add_reads(self, scene: Scene, bands: tuple[str, ...], side: int, count: int, kind: str):
        """Count reads of one scene, `side` px square."""
        requests, largest = _requests(bands, side) if kind == "earthengine" else (1, 0)
        self.requests += count * requests
        self.largest = max(self.largest, largest)
        self.bytes_in += count * side * side * len(bands) * ITEM_BYTES[scene.sensor]
        self.read_mpx[scene.sensor] += count * side * side / 1e6


@lru_cache
def _requests(bands: tuple[str, ...], side: int) -> tuple[int, int]:
    """How many requests to Earth Engine one read takes, and the bytes of the largest."""
    parts = split(bands, side, side)
    return len(parts), max(request_bytes(part.bands, part.rows, side) for part in parts)


def work_of(run: RunConfig, source: ImagerySource | None) -> Work:
    """What is left to do of a run.

    Args:
      run: what is to be made.
      source: whose catalogue is searched, once a tile; None: every block is taken to have one pair.

    Raises:
      SourceUnavailable: the catalogue could not be read.
      ValueError: a scene cannot be interpreted.
    """
    work, kind = Work(assumed=source is None), run.source.partition(":")[0]
    for tile in run.tiles():
        keys = list(run.grid.blocks(tile, run.region.geometry))
        finished = ingested_blocks(run.out, tile, run.grid)
        if source is None:
            pair = assumed_pair(run, kind)
            requests = [BlockRequest(key, pair, Regime.BOTH) for key in keys]
        else:
            earlier = planned_before(run.out, tile)
            requests = plan_tile(tile, keys, run.grid, run.rule, source, earlier=earlier)
        work.tiles += 1
        work.searches += 1
        work.blocks += len(keys)
        work.finished += len(finished & set(keys))
        work.empty += sum(not any(r.pair) for r in requests)
        work.classified += len(run.blocks_to_classify(tile))
        for request in pair_requests(requests, finished):
            _add_pair(work, run, kind, request)
    # Chips that ingest makes are classified after it.
    work.classified += work.fetched
    tiles = run.product_tiles() if work.classified else run.tiles_to_publish()
    work.product = shares(run, [(tile.name, tile.geobox) for tile in tiles])
    if work.assumed:
        work.scenes = set()
    return work


def _add_pair(work: Work, run: RunConfig, kind: str, request: PairRequest) -> None:
    if not request.todo:
        return
    work.fetched += len(request.todo)
    scenes = [scene for of_sensor in request.pair for scene in of_sensor]
    work.scenes |= {scene.id for scene in scenes}
    for scene in scenes:
        bands = sar_bands(scene) if scene.sensor == SENTINEL1 else optical_bands(scene)
        work.add_reads(scene, bands, run.grid.block_size, len(request.todo), kind)
        work.reads += len(request.todo)
    name = record_name(*([scene.id for scene in of_sensor] for of_sensor in request.pair))
    tile = request.blocks[0].tile
    if run.options.inputs == "trust" or read_record(run.out, tile, name) is not None:
        return
    side, windows = window(run.grid, request.blocks[0]).width, len(sample(request.blocks))
    work.looked_mpx += windows * side * side / 1e6
    for scene in scenes:
        work.add_reads(scene, scene_bands(scene), side, windows, kind)
        work.looks += windows


def assumed_pair(run: RunConfig, kind: str) -> Pair:
    """A pair of one scene each, with the bands that a kind of source usually gives."""
    screening = QUALITY_BANDS if kind in ("earthengine", "synthetic") else ("SCL",)
    moment = datetime.combine(run.target, time(), UTC)

    def scene(sensor: str, bands: Sequence[str]) -> Scene:
        everywhere = (-180.0, -90.0, 180.0, 90.0)
        assets = tuple(Asset(band, "") for band in bands)
        return Scene(f"assumed {sensor}", sensor, moment, moment, moment, everywhere, assets=assets)

    return Pair(
        (scene(SENTINEL2, (*INPUTS.optical.names, *screening)),),
        (scene(SENTINEL1, INPUTS.sar.names),),
    )


def shares(run: RunConfig, tiles: Sequence[tuple[str, GeoBox]]) -> tuple[Share, ...]:
    """How much of each product tile is empty, shows the region, and lies in it."""
    region = project(run.region.geometry, run.product.epsg)
    shapely.prepare(region)
    found = []
    for name, box in tiles:
        windows = [
            window_geobox(
                box,
                slice(top, min(top + ZARR_SHARD, box.height)),
                slice(left, min(left + ZARR_SHARD, box.width)),
            )
            for top in range(0, box.height, ZARR_SHARD)
            for left in range(0, box.width, ZARR_SHARD)
        ]
        outlines = shapely.box(*zip(*(w.bounds for w in windows), strict=True))
        shown = sum(
            w.width * w.height
            for w, hit in zip(windows, shapely.intersects(region, outlines), strict=True)
            if hit
        )
        inside = region.intersection(shapely.box(*box.bounds)).area / box.resolution**2
        mapped = shown if run.keep_outside else inside
        found.append(Share(name, box.width * box.height / 1e6, shown / 1e6, mapped / 1e6))
    return tuple(found)
