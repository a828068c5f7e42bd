"""Plans at rest: one JSON document a tile says which scenes make which block."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple

from shapely.geometry.base import BaseGeometry

from transforms.chips import finished_chips
from transforms.grid import BlockKey, Grid, TileIndex
from transforms.mapcube import ingested_blocks
from transforms.pixels.pairing import Pair, Regime
from transforms.scene import Scene
from transforms.store import find_json, join, read_json, write_json


class BlockRequest(NamedTuple):
    """One block to fetch, and the scenes to fetch it from."""

    key: BlockKey
    pair: Pair
    regime: Regime


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
