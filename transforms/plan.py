"""Planning: which scenes map which block. Keys and scenes are all that is planned and shuffled."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import apache_beam as beam
import shapely
from apache_beam import coders
from apache_beam.metrics import Metrics
from shapely.geometry.base import BaseGeometry

from transforms.chips import finished_chips
from transforms.failures import FAILED, Failure
from transforms.grid import BlockKey, GeoBox, Grid, TileIndex
from transforms.mapcube import ingested_blocks
from transforms.pixels.pairing import Pair, PairRule, Regime, complete
from transforms.plan_file import BlockRequest, planned_before, write_plan
from transforms.scene import Bounds, ImagerySource, Scene, SourceUnavailable, overlap, spans
from transforms.zones import geographic_bounds


class BlockKeyCoder(coders.Coder):
    """13 bytes a key instead of a pickle; deterministic, so keys can be grouped by."""

    _layout = struct.Struct(">biiHH")

    def encode(self, key: BlockKey) -> bytes:
        return self._layout.pack(key.zone, key.tile_x, key.tile_y, key.row, key.col)

    def decode(self, encoded: bytes) -> BlockKey:
        return BlockKey(*self._layout.unpack(encoded))

    def is_deterministic(self) -> bool:
        return True

    def to_type_hint(self):
        return BlockKey


coders.registry.register_coder(BlockKey, BlockKeyCoder)


class PairRequest(NamedTuple):
    """The blocks of one tile that one pair maps."""

    pair: Pair
    blocks: tuple[BlockKey, ...]  # all of them: the pair is measured on a fixed choice
    todo: tuple[BlockKey, ...]  # those still to be fetched
    after: str = ""  # name of the record whose pair this one stands in for
    without: tuple[str, ...] = ()  # ids of scenes in quarantine, not chosen again


def plan_tile(
    tile: TileIndex,
    blocks: Iterable[BlockKey],
    grid: Grid,
    rule: PairRule,
    source: ImagerySource,
    without: Container[str] = (),
    earlier: dict | None = None,
) -> list[BlockRequest]:
    """The pair of every block of a tile, by one catalogue search.

    Blocks that no scene touches have a pair without scenes. Scenes whose ids are in `without` are
    left out, as if the catalogue did not hold them. What an earlier plan says of a block stays, as
    long as the catalogue has its scenes: a run that is gone on with makes what it would have made
    at once, and scenes that came late are the affair of `pipeline.refresh`.

    Raises:
      SourceUnavailable: the catalogue could not be read.
      ValueError: the catalogue holds only scenes of no use, or one that cannot be interpreted.
    """
    found = source.search(grid.footprint(tile), rule.period)
    scenes = [scene for scene in found if scene.id not in without]
    known = {scene.id: scene for scene in scenes}
    requests = []
    for key in blocks:
        planned = _as_planned(key, earlier, known) if earlier else None
        if planned:
            requests.append(planned)
            continue
        box, core = grid.geobox(key), grid.core_geobox(key)
        near = _showing(scenes, box)
        # A pass that shows nothing but the halo maps nothing; of a pass that maps, it is context.
        showing = _showing(near, core)
        pair = rule.choose(showing)
        requests.append(BlockRequest(key, complete(pair, near), rule.regime(pair, showing)))
    return requests


def _as_planned(key: BlockKey, plan: dict, known: dict[str, Scene]) -> BlockRequest | None:
    """A block as a plan says; None where it says nothing, or a scene of it is known no more."""
    ids = plan["blocks"].get(str(key))
    if ids is None or any(i not in known for sensor in ids.values() for i in sensor):
        return None
    pair = Pair(*(tuple(known[i] for i in ids[sensor]) for sensor in ("optical", "sar")))
    return BlockRequest(key, pair, Regime(plan["regimes"][str(key)]))


def _showing(scenes: Iterable[Scene], box: GeoBox) -> list[Scene]:
    bounds = geographic_bounds(box.epsg, box.bounds)
    return [scene for scene in scenes if shows(scene, bounds)]


def shows(scene: Scene, bounds: Bounds) -> bool:
    """Whether a scene has data in a box: granules at the edge of a swath fill theirs in part."""
    if not overlap(scene.footprint, bounds):
        return False
    if not scene.outline:
        return True
    _, south, _, north = bounds
    outline = _polygon(scene.outline)
    boxes = (shapely.box(west, south, east, north) for west, east in spans(bounds))
    return any(outline.intersection(box).area > 0 for box in boxes)


@lru_cache(maxsize=1024)
def _polygon(wkt: str) -> BaseGeometry:
    return shapely.from_wkt(wkt)


def pair_requests(
    requests: Iterable[BlockRequest], finished: Container[BlockKey] = frozenset()
) -> list[PairRequest]:
    """Blocks by pair, those without any scene left out; in order of their first block."""
    groups: dict[Pair, list[BlockKey]] = {}
    for key, pair, _ in requests:
        if any(pair):
            groups.setdefault(pair, []).append(key)
    return [
        PairRequest(pair, tuple(keys), tuple(key for key in keys if key not in finished))
        for pair, keys in groups.items()
    ]


@dataclass
class PlanBlocks(beam.PTransform):
    """TileIndex -> (BlockKey, PairRequest): the pairs of a tile with blocks still to be fetched.

    The key is that of the pair's first block: unique, and known to the limit of concurrency.

    Attributes:
      root: the run's folder.
      region: what is mapped, (multi)polygon in EPSG:4326.
      grid: processing grid.
      rule: which acquisitions may map the target date.
      source: where scenes are searched.
      only: blocks to be fetched; None: all that are not finished.
    """

    root: str
    region: BaseGeometry
    grid: Grid
    rule: PairRule
    source: ImagerySource
    only: frozenset[BlockKey] | None = None

    def expand(self, tiles):
        search = _PlanTile(self.root, self.region, self.grid, self.rule, self.source, self.only)
        return tiles | "Search" >> beam.ParDo(search).with_outputs(FAILED, main="pairs")


@dataclass
class _PlanTile(beam.DoFn):
    root: str
    region: BaseGeometry
    grid: Grid
    rule: PairRule
    source: ImagerySource
    only: frozenset[BlockKey] | None

    def setup(self):
        names = ["searches", "blocks", "blocks without optical", "blocks without SAR", "no pair"]
        names += [f"regime {regime}" for regime in Regime]
        self._count = {name: Metrics.counter("plan", name) for name in names}

    def process(self, tile: TileIndex) -> Iterator:
        try:
            blocks = self.grid.blocks(tile, self.region)
            earlier = planned_before(self.root, tile)
            requests = plan_tile(tile, blocks, self.grid, self.rule, self.source, earlier=earlier)
        except (SourceUnavailable, ValueError) as error:
            # A tile of which nothing can be used is its own failure, not the job's.
            yield beam.pvalue.TaggedOutput(FAILED, Failure.of(tile, "plan", error))
            return
        self._count["searches"].inc()
        finished = ingested_blocks(self.root, tile, self.grid)
        write_plan(self.root, tile, requests, finished)
        self._count["no pair"].inc(sum(not any(r.pair) for r in requests))
        done = finished
        if self.only is not None:
            others = {r.key for r in requests if r.key not in self.only}
            done = finished_chips(self.root, tile, self.grid) | others
        for request in requests:
            if request.key not in done and any(request.pair):
                self._report(request)
        for request in pair_requests(requests, done):
            if request.todo:
                yield request.blocks[0], request

    def _report(self, request: BlockRequest) -> None:
        self._count["blocks"].inc()
        self._count[f"regime {request.regime}"].inc()
        if not request.pair.optical:
            self._count["blocks without optical"].inc()
        if not request.pair.sar:
            self._count["blocks without SAR"].inc()
