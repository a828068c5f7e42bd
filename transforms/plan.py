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
from transforms.scene import Bounds, ImagerySource, Scene, SourceUnavailable, overlap, spans
from transforms.store import find_json, join, read_json, write_json
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


class BlockRequest(NamedTuple):
    """One block to fetch, and the scenes to fetch it from."""

    key: BlockKey
    pair: Pair
    regime: Regime


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


def plan_url(root: str, tile: TileIndex) -> str:
    return join(root, "plan", f"{tile.path}.json")


def write_plan(
    root: str,
    tile: TileIndex,
    requests: list[BlockRequest],
    finished: Container[BlockKey] = frozenset(),
) -> None:
    """Write which scenes each block is made from, and its regime.

    Blocks that are finished keep what an earlier plan says: they were made from that, whatever the
    catalogue holds by now.
    """
    document = plan_document(requests, planned_before(root, tile), finished)
    write_json(plan_url(root, tile), document)


def plan_document(
    requests: Iterable[BlockRequest], earlier: dict | None, finished: Container[BlockKey]
) -> dict:
    """Which scenes make each block, as JSON; blocks that are finished as `earlier` says."""
    requests = list(requests)
    scenes = {s.id: _plain(s) for r in requests for sensor in r.pair for s in sensor}
    blocks = {
        str(r.key): {"optical": [s.id for s in r.pair.optical], "sar": [s.id for s in r.pair.sar]}
        for r in requests
    }
    regimes = {str(r.key): r.regime for r in requests}
    if earlier:
        kept = {str(r.key) for r in requests if r.key in finished} & set(earlier["blocks"])
        of_kept = {i for name in kept for ids in earlier["blocks"][name].values() for i in ids}
        # Where a scene was replaced meanwhile, the version that finished blocks are made from
        # stands: it is the one that a comparison with the catalogue of today has to find.
        old = {plain["id"]: plain for plain in earlier["scenes"]}
        scenes |= {name: old[name] for name in of_kept}
        blocks |= {name: earlier["blocks"][name] for name in kept}
        regimes |= {name: earlier["regimes"][name] for name in kept}
    used = {name for pair in blocks.values() for ids in pair.values() for name in ids}
    return {
        "scenes": [plain for name, plain in sorted(scenes.items()) if name in used],
        "blocks": blocks,
        "regimes": regimes,
    }


def _plain(scene: Scene) -> dict:
    """A scene as JSON, without its assets: hrefs may be signed, and provenance needs none."""
    moments = {name: getattr(scene, name) for name in ("time", "start", "end")}
    plain = {name: moment and moment.isoformat() for name, moment in moments.items()}
    return scene._replace(assets=())._asdict() | plain


def planned_before(root: str, tile: TileIndex) -> dict | None:
    """The tile's plan; None where there is none yet."""
    return find_json(plan_url(root, tile))


def unfetched(
    root: str,
    tile: TileIndex,
    grid: Grid,
    region: BaseGeometry,
    only: Container[BlockKey] | None = None,
) -> set[BlockKey]:
    """Blocks that are to be fetched: those that the plan has scenes for and that are not finished.

    A tile without a plan counts with all the blocks that the region touches.

    Args:
      only: blocks that are asked for by name: a map does not stand for their chips; None: all.
    """
    blocks, plan = set(grid.blocks(tile, region)), planned_before(root, tile)
    if only is not None:
        blocks = {key for key in blocks if key in only}
    if plan is None:
        return blocks
    planned = {name for name, pair in plan["blocks"].items() if any(pair.values())}
    finished = (finished_chips if only is not None else ingested_blocks)(root, tile, grid)
    return {key for key in blocks - finished if str(key) in planned}


def read_plan(root: str, tile: TileIndex) -> dict:
    """The tile's plan as `write_plan` wrote it. Raises FileNotFoundError where there is none."""
    return read_json(plan_url(root, tile))


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
