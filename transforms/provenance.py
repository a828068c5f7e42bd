"""What the blocks of a product were made from: scenes and regimes, by plan and measurement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache
from typing import NamedTuple

from transforms.grid import BlockKey, TileIndex
from transforms.measure import read_record, record_name
from transforms.pixels.pairing import Regime
from transforms.plan_file import read_plan
from transforms.scene import Scene
from transforms.store import in_parallel


class Origin(NamedTuple):
    """What one block was made from."""

    ids: tuple[str, ...]  # of its scenes
    regime: str
    known: dict[str, dict]  # scenes by id, as JSON; more than its own


def planned_scenes(root: str, blocks: Iterable[BlockKey]) -> list[Scene]:
    """The scenes, without assets, that blocks are made from, by sensor and id.

    Scenes in quarantine are left out: no pixel of theirs is in a block.
    """
    scenes = {}
    for origin in _origins(root, blocks):
        scenes |= {name: _scene(origin.known[name]) for name in origin.ids if name not in scenes}
    return sorted(scenes.values(), key=lambda scene: (scene.sensor, scene.id))


def regimes(root: str, blocks: Iterable[BlockKey]) -> dict[Regime, int]:
    """How many blocks each regime has, in the order of `Regime`; what is in quarantine is off."""
    counts = Counter(origin.regime for origin in _origins(root, blocks))
    return {regime: counts[regime] for regime in Regime if counts[regime]}


def _origins(root: str, blocks: Iterable[BlockKey]) -> Iterator[Origin]:
    """Of each block: the pair that the plan names, or the one that stands in for it."""
    by_tile: dict[TileIndex, list[BlockKey]] = {}
    for key in blocks:
        by_tile.setdefault(key.tile, []).append(key)
    for origins in in_parallel(lambda of: _origins_in(root, *of), by_tile.items()):
        yield from origins


def _origins_in(root: str, tile: TileIndex, keys: list[BlockKey]) -> list[Origin]:
    record = cache(lambda name: read_record(root, tile, name))
    planned, origins = read_plan(root, tile), []
    for key in keys:
        plan, name = planned, ""
        # A record whose pair is not used says what its blocks use instead.
        while True:
            ids = plan["blocks"][str(key)]
            name = record_name(ids["optical"], ids["sar"], after=name)
            found = record(name)
            if not found or "instead" not in found:
                break
            plan = found["instead"]
        known = {plain["id"]: plain for plain in plan["scenes"]}
        used = tuple(i for names in ids.values() for i in names)
        origins.append(Origin(used, plan["regimes"][str(key)], known))
    return origins


def _scene(plain: dict) -> Scene:
    moments = {
        name: plain[name] and datetime.fromisoformat(plain[name])
        for name in ("time", "start", "end")
    }
    lists = {name: tuple(plain[name]) for name in ("footprint", "assets", "missing")}
    return Scene(**plain | moments | lists)
