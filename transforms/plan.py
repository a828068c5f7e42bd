"""Planning: which scenes map which block. Keys are all that is planned and shuffled."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import apache_beam as beam
from apache_beam import coders
from apache_beam.metrics import Metrics
from shapely.geometry.base import BaseGeometry

from transforms.chips import finished_chips
from transforms.failures import FAILED, Failure
from transforms.grid import BlockKey, Grid, TileIndex, geographic_bounds
from transforms.pixels.pairing import Pair, PairRule
from transforms.scene import ImagerySource, Scene, SourceUnavailable, overlap
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


def plan_url(root: str, tile: TileIndex) -> str:
    return join(root, "plan", f"{tile.path}.json")


def write_plan(root: str, tile: TileIndex, requests: list[BlockRequest]) -> None:
    """Write which scenes each block is made from: the provenance of the tile's products."""
    scenes = {s.id: s for r in requests for sensor in r.pair for s in sensor}
    write_json(
        plan_url(root, tile),
        {
            "scenes": [_plain(scene) for _, scene in sorted(scenes.items())],
            "blocks": {
                str(r.key): {
                    "optical": [s.id for s in r.pair.optical],
                    "sar": [s.id for s in r.pair.sar],
                }
                for r in requests
            },
        },
    )


def _plain(scene: Scene) -> dict:
    """A scene as JSON, without its assets: hrefs may be signed, and provenance needs none."""
    moments = {name: getattr(scene, name) for name in ("time", "start", "end")}
    plain = {name: moment and moment.isoformat() for name, moment in moments.items()}
    return scene._replace(assets=())._asdict() | plain


def _scene(plain: dict) -> Scene:
    moments = {
        name: plain[name] and datetime.fromisoformat(plain[name])
        for name in ("time", "start", "end")
    }
    lists = {name: tuple(plain[name]) for name in ("footprint", "assets", "missing")}
    return Scene(**plain | moments | lists)


def planned_scenes(root: str, blocks: Iterable[BlockKey]) -> list[Scene]:
    """The scenes, without assets, that blocks are made from, by sensor and id."""
    by_tile: dict[TileIndex, list[BlockKey]] = {}
    for key in blocks:
        by_tile.setdefault(key.tile, []).append(key)
    scenes = {}
    for tile, keys in by_tile.items():
        plan = read_plan(root, tile)
        used = {name for key in keys for ids in plan["blocks"][str(key)].values() for name in ids}
        scenes |= {plain["id"]: _scene(plain) for plain in plan["scenes"] if plain["id"] in used}
    return sorted(scenes.values(), key=lambda scene: (scene.sensor, scene.id))


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
        search = _PlanTile(self.root, self.region, self.grid, self.rule, self.source)
        return tiles | "Search" >> beam.ParDo(search).with_outputs(FAILED, main="requests")


@dataclass
class _PlanTile(beam.DoFn):
    root: str
    region: BaseGeometry
    grid: Grid
    rule: PairRule
    source: ImagerySource

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
