"""Late and replaced scenes: which blocks a search of today would make otherwise.

A run keeps to its plan for as long as the catalogue has the plan's scenes. Here the catalogue is
asked again, one search a tile; no pixel is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.config import RunConfig
from transforms.chips import chip_cube_url
from transforms.grid import BlockKey, TileIndex
from transforms.mapcube import map_cube_url
from transforms.measure import forget_record, read_record, record_name
from transforms.period import Period
from transforms.plan import plan_tile
from transforms.plan_file import BlockRequest, plan_url, planned_before, read_plan
from transforms.product import item_url
from transforms.publish import blocks_under
from transforms.scene import Bounds, ImagerySource, Scene
from transforms.seal import seal_url
from transforms.store import join, remove, write_json


class Changes(NamedTuple):
    """What a search of today finds otherwise than the run's plan says."""

    blocks: tuple[BlockKey, ...] = ()  # that it would make otherwise
    late: tuple[str, ...] = ()  # ids of scenes that the plan does not know
    replaced: tuple[str, ...] = ()  # ids of scenes that are not what they were

    def to_dict(self) -> dict:
        return self._asdict() | {"blocks": [str(key) for key in self.blocks]}

    def __str__(self) -> str:
        names = [*self.late, *(f"{name} (replaced)" for name in self.replaced)]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        named = f": {', '.join(names[:3])}{more}" if names else ""
        return f"{len(self.blocks)} blocks have other scenes now{named}"


def new_since(run: RunConfig, source: ImagerySource) -> Changes:
    """What changed since the run was planned; tiles without a plan are not looked at.

    What is measured of a pair is measured on its blocks in the tile: where a pair gains or loses
    one, the others count as changed, too.

    Raises:
      SourceUnavailable: the catalogue could not be read.
    """
    blocks: set[BlockKey] = set()
    late: set[str] = set()
    replaced: set[str] = set()
    for tile in run.tiles():
        plan = planned_before(run.out, tile)
        if plan is None:
            continue
        keys = list(run.grid.blocks(tile, run.region.geometry))
        for changes in _compared(run, tile, keys, _Remembering(source), plan):
            blocks |= set(changes.blocks)
            late |= set(changes.late)
            replaced |= set(changes.replaced)
    return Changes(tuple(sorted(blocks)), tuple(sorted(late)), tuple(sorted(replaced)))


class _Remembering:
    """A source that searches a tile once, for all that is compared there."""

    def __init__(self, source: ImagerySource):
        self._source = source
        self._found: list[Scene] | None = None

    def search(self, bounds: Bounds, period: Period) -> list[Scene]:
        if self._found is None:
            self._found = self._source.search(bounds, period)
        return self._found


def _compared(
    run: RunConfig,
    tile: TileIndex,
    keys: list[BlockKey],
    source: _Remembering,
    plan: dict,
    without: tuple[str, ...] = (),
    after: str = "",
) -> Iterator[Changes]:
    """The changes of blocks that share a plan, and of those whose pair is in quarantine."""
    requests = plan_tile(tile, keys, run.grid, run.rule, source, without)
    then = _together({name: _ids(ids) for name, ids in plan["blocks"].items()})
    now = _together(
        {str(r.key): tuple(tuple(s.id for s in side) for side in r.pair) for r in requests}
    )
    known = {scene["id"]: scene.get("version", "") for scene in plan["scenes"]}
    versions = {s.id: s.version for r in requests for side in r.pair for s in side}
    # Where nothing tells the version, nothing says that it is another one.
    replaced = {i for i, v in versions.items() if v and known.get(i) and v != known[i]}
    changed = {r.key for r in requests if _is_other(r, now, then, replaced)}
    late = set(versions) - set(known)
    yield Changes(tuple(changed), tuple(late), tuple(replaced))
    same = [key for key in keys if key not in changed]
    for pair, of_pair in _groups(same, then).items():
        name = record_name(*pair, after)
        record = read_record(run.out, tile, name)
        if record and "instead" in record:
            more = tuple(sorted({*without, *record["quarantine"]}))
            yield from _compared(run, tile, of_pair, source, record["instead"], more, name)


def _ids(block: dict) -> tuple[tuple[str, ...], ...]:
    return tuple(block["optical"]), tuple(block["sar"])


def _is_other(request: BlockRequest, now: dict, then: dict, replaced: set[str]) -> bool:
    name = str(request.key)
    used = {scene.id for side in request.pair for scene in side}
    return now[name] != then.get(name) or bool(used & replaced)


def _together(pairs: dict[str, tuple]) -> dict[str, tuple]:
    """By block: its pair, and the blocks that have the same."""
    together: dict[tuple, list[str]] = {}
    for name in sorted(pairs):
        together.setdefault(pairs[name], []).append(name)
    # Blocks without scenes are measured together with none.
    return {name: (pair, together[pair] if any(pair) else []) for name, pair in pairs.items()}


def _groups(keys: Iterable[BlockKey], then: dict[str, tuple]) -> dict[tuple, list[BlockKey]]:
    groups: dict[tuple, list[BlockKey]] = {}
    for key in keys:
        pair, _ = then[str(key)]
        if any(pair):
            groups.setdefault(pair, []).append(key)
    return groups


def write_changes(run: RunConfig, changes: Changes) -> str:
    """Write what is made anew, and why, as `refresh.json`; returns its address."""
    url = join(run.out, "refresh.json")
    write_json(url, changes.to_dict())
    return url


def forget(run: RunConfig, blocks: Iterable[BlockKey]) -> None:
    """Take back blocks of a run, so that it plans and makes them anew, and the products over them.

    The marks of completion go in the order opposite to their writing: whenever this stops, a job
    that is done twice is the worst that follows.
    """
    blocks = sorted(blocks)
    unpublish(run, blocks)
    for cube_url in (map_cube_url, chip_cube_url):
        for key in blocks:
            remove(seal_url(cube_url(run.out, key.tile), key))
    for tile in sorted({key.tile for key in blocks}):
        planned = read_plan(run.out, tile)["blocks"]
        mine = [planned[str(key)] for key in blocks if key.tile == tile and str(key) in planned]
        for optical, sar in {_ids(pair) for pair in mine}:
            forget_record(run.out, tile, record_name(optical, sar))
        remove(plan_url(run.out, tile))


def unpublish(run: RunConfig, blocks: Iterable[BlockKey]) -> None:
    """Take back the product tiles that show any of these blocks, so that they are made anew."""
    publication, wanted = run.publication(), set(blocks)
    for tile in run.product_tiles():
        if wanted & set(blocks_under(tile, publication)):
            remove(item_url(run.out, tile.name))
