"""Planning: which scenes map which block. Keys are all that is planned and shuffled."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import apache_beam as beam
from apache_beam import coders
from apache_beam.metrics import Metrics
from shapely.geometry.base import BaseGeometry

from transforms.chips import finished_chips
from transforms.failures import FAILED, Failure
from transforms.grid import BlockKey, Grid, TileIndex, geographic_bounds
from transforms.pixels.pairing import Pair, PairRule
from transforms.scene import Bounds, ImagerySource, SourceUnavailable
from transforms.store import join, read_json, write_json


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


def plan_tile(
    tile: TileIndex, blocks: Iterable[BlockKey], grid: Grid, rule: PairRule, source: ImagerySource
) -> list[BlockRequest]:
    """The pair of every block of a tile, by one catalogue search.

    Blocks that no scene touches have a pair without scenes.

    Raises:
      SourceUnavailable: the catalogue could not be read.
    """
    scenes = source.search(grid.footprint(tile), rule.period)
    requests = []
    for key in blocks:
        box = grid.geobox(key)
        bounds = geographic_bounds(box.epsg, box.bounds)
        near = [scene for scene in scenes if overlap(scene.footprint, bounds)]
        requests.append(BlockRequest(key, rule.choose(near)))
    return requests


def overlap(a: Bounds, b: Bounds) -> bool:
    """Whether two (west, south, east, north) share area; west > east crosses 180 degrees."""
    if a[1] >= b[3] or b[1] >= a[3]:
        return False
    return any(p[0] < q[1] and q[0] < p[1] for p in _spans(a) for q in _spans(b))


def _spans(bounds: Bounds) -> list[tuple[float, float]]:
    west, _, east, _ = bounds
    return [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]


def plan_url(root: str, tile: TileIndex) -> str:
    return join(root, "plan", f"{tile.path}.json")


def write_plan(root: str, tile: TileIndex, requests: list[BlockRequest]) -> None:
    """Write which scenes each block is made from: the provenance of the tile's products."""
    scenes = {s.id: s for r in requests for sensor in r.pair for s in sensor}
    write_json(
        plan_url(root, tile),
        {
            "scenes": {
                name: {
                    "sensor": s.sensor,
                    "datetime": s.time.isoformat() if s.time else None,
                    "start": s.start.isoformat(),
                    "end": s.end.isoformat(),
                    "level": s.level,
                    "orbit": s.orbit,
                    "missing_bands": list(s.missing),
                    "link": s.link,
                }
                for name, s in sorted(scenes.items())
            },
            "blocks": {
                str(r.key).rsplit("/", 1)[1]: {
                    "optical": [s.id for s in r.pair.optical],
                    "sar": [s.id for s in r.pair.sar],
                }
                for r in requests
            },
        },
    )


def read_plan(root: str, tile: TileIndex) -> dict:
    """The tile's plan as `write_plan` wrote it. Raises FileNotFoundError where there is none."""
    return read_json(plan_url(root, tile))


@dataclass
class PlanBlocks(beam.PTransform):
    """TileIndex -> (BlockKey, BlockRequest) of the blocks that are still to be fetched.

    Attributes:
      root: the run's folder.
      region: what is mapped, (multi)polygon in EPSG:4326.
      grid: processing grid.
      rule: which acquisitions may map the target date.
      source: where scenes are searched.
    """

    root: str
    region: BaseGeometry
    grid: Grid
    rule: PairRule
    source: ImagerySource

    def expand(self, tiles):
        return tiles | "Search" >> beam.ParDo(_PlanTile(**vars(self))).with_outputs(
            FAILED, main="requests"
        )


@dataclass
class _PlanTile(beam.DoFn):
    root: str
    region: BaseGeometry
    grid: Grid
    rule: PairRule
    source: ImagerySource
    _count: dict = field(default_factory=dict)

    def setup(self):
        self._count = {
            name: Metrics.counter("plan", name)
            for name in ("blocks", "blocks without optical", "blocks without SAR", "no pair")
        }

    def process(self, tile: TileIndex) -> Iterator:
        try:
            blocks = self.grid.blocks(tile, self.region)
            requests = plan_tile(tile, blocks, self.grid, self.rule, self.source)
        except SourceUnavailable as error:
            yield beam.pvalue.TaggedOutput(FAILED, Failure.of(tile, "plan", error))
            return
        write_plan(self.root, tile, requests)
        finished = finished_chips(self.root, tile, self.grid)
        for request in requests:
            if not any(request.pair):
                self._count["no pair"].inc()
            elif request.key not in finished:
                self._count["blocks"].inc()
                if not request.pair.optical:
                    self._count["blocks without optical"].inc()
                if not request.pair.sar:
                    self._count["blocks without SAR"].inc()
                yield request.key, request
