"""What the blocks of a product were made from: scenes and regimes, by plan and measurement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

from transforms.grid import BlockKey, TileIndex
from transforms.measure import read_record
from transforms.pixels.pairing import Regime
from transforms.plan import read_plan
from transforms.scene import Scene


def planned_scenes(root: str, blocks: Iterable[BlockKey]) -> list[Scene]:
    """The scenes, without assets, that blocks are made from, by sensor and id.

    Scenes in quarantine are left out: no pixel of theirs is in a block.
    """
    scenes = {}
    for plan, keys, records in _by_tile(root, blocks):
        used = set()
        for key in keys:
            ids = {name for names in plan["blocks"][str(key)].values() for name in names}
            record = records[key]
            used |= ids - set(record["quarantine"] if record else ())
        scenes |= {plain["id"]: _scene(plain) for plain in plan["scenes"] if plain["id"] in used}
    return sorted(scenes.values(), key=lambda scene: (scene.sensor, scene.id))


def regimes(root: str, blocks: Iterable[BlockKey]) -> dict[Regime, int]:
    """How many blocks each regime has, in the order of `Regime`; what is in quarantine is off."""
    counts: Counter[str] = Counter()
    for plan, keys, records in _by_tile(root, blocks):
        for key in keys:
            record = records[key]
            counts[record["regime"] if record else plan["regimes"][str(key)]] += 1
    return {regime: counts[regime] for regime in Regime if counts[regime]}


def _by_tile(
    root: str, blocks: Iterable[BlockKey]
) -> Iterator[tuple[dict, list[BlockKey], dict[BlockKey, dict | None]]]:
    """Of each tile: its plan, its blocks, and what was measured of each one's pair."""
    by_tile: dict[TileIndex, list[BlockKey]] = {}
    for key in blocks:
        by_tile.setdefault(key.tile, []).append(key)
    for tile, keys in by_tile.items():
        plan = read_plan(root, tile)
        pairs = {key: plan["blocks"][str(key)] for key in keys}
        names = {key: (tuple(pair["optical"]), tuple(pair["sar"])) for key, pair in pairs.items()}
        found = {ids: read_record(root, tile, *ids) for ids in set(names.values())}
        yield plan, keys, {key: found[names[key]] for key in keys}


def _scene(plain: dict) -> Scene:
    moments = {
        name: plain[name] and datetime.fromisoformat(plain[name])
        for name in ("time", "start", "end")
    }
    lists = {name: tuple(plain[name]) for name in ("footprint", "assets", "missing")}
    return Scene(**plain | moments | lists)
