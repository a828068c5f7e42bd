"""A data set in CloudLULC-Set's layout, from an imagery source and a land-cover product.

The output is the state: a block that has its record below `blocks/` is not made again, and the
splits are lists of what the records hold. Places, never patches, are drawn into the splits.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import NamedTuple

from shapely.geometry.base import BaseGeometry

from model.dataset import SPLIT_IDS
from transforms.grid import BlockKey, Grid, TileIndex
from transforms.labelled_patches import PatchMaker
from transforms.measure import Measured, measured
from transforms.patch_files import write_patch, write_split
from transforms.pixels.coregister import UNMEASURED
from transforms.pixels.pairing import LEAST_CLOUDY, Pair, PairRule
from transforms.plan import pair_requests, plan_tile
from transforms.scene import Scene, SourceUnavailable
from transforms.store import exists, join, read_json, write_json

NO_PAIR = "no scene"
PLACES = ("block", "tile")


@dataclass(frozen=True)
class SplitRule:
    """How places are drawn into splits.

    Attributes:
      place: "block" (2 x 2 patches) or "tile" (10 x 10 blocks).
      shares: of train, val and test, in any unit.
      seed: of the draw.
    """

    place: str = "block"
    shares: tuple[float, float, float] = (70, 10, 20)
    seed: int = 0

    def __post_init__(self):
        if self.place not in PLACES:
            raise ValueError(f"place: got {self.place!r}, expected one of {', '.join(PLACES)}")
        if len(self.shares) != 3 or min(self.shares) < 0 or not sum(self.shares):
            raise ValueError(
                f"shares: got {self.shares}, expected three of train, val, test, such as 70,10,20"
            )

    def place_of(self, key: BlockKey) -> str:
        return str(key if self.place == "block" else key.tile)

    def assign(self, keys: Iterable[BlockKey]) -> dict[str, str]:
        """The split of each place of these blocks.

        Every split with a share gets a place at least; the order is that of a hash.

        Raises:
          ValueError: there are fewer places than splits.
        """
        places = in_hash_order({self.place_of(key) for key in keys}, self.seed)
        wanted = {s: x for s, x in zip(SPLIT_IDS, self.shares, strict=True) if x}
        if len(places) < len(wanted):
            raise ValueError(
                f"split by {self.place}: the region holds {len(places)} places, expected "
                f"{len(wanted)} or more for {', '.join(wanted)}; enlarge it, take smaller patches, "
                "split by block, or give a split the share 0"
            )
        assigned, first, left, rest = {}, 0, len(wanted), sum(wanted.values())
        for split, share in wanted.items():
            open_places = len(places) - first
            left -= 1
            count = min(max(1, round(open_places * share / rest)), open_places - left)
            assigned |= dict.fromkeys(places[first : first + count], split)
            first, rest = first + count, rest - share
        return assigned


def in_hash_order(names: Iterable[str], seed: int) -> list[str]:
    """Names in an order that looks drawn and depends on name and seed alone."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())


class Summary(NamedTuple):
    """What a build came to."""

    patches: dict[str, int]  # by split
    skipped: dict[str, int]  # patches left out, by reason
    failed: list[str]  # blocks that could not be made now, and why


def choose_blocks(
    grid: Grid, region: BaseGeometry, most: int | None, seed: int
) -> dict[TileIndex, list[BlockKey]]:
    """The blocks of a region by tile, or that many of them, drawn by a hash."""
    by_tile = {tile: list(grid.blocks(tile, region)) for tile in grid.tiles_covering(region)}
    if most is not None:
        names = in_hash_order((str(key) for keys in by_tile.values() for key in keys), seed)
        chosen = set(names[:most])
        by_tile = {t: [k for k in keys if str(k) in chosen] for t, keys in by_tile.items()}
    return {tile: keys for tile, keys in by_tile.items() if keys}


def build(
    root: str,
    blocks: dict[TileIndex, list[BlockKey]],
    days: Sequence[date],
    rule: PairRule,
    clear_days: int,
    split_rule: SplitRule,
    maker: PatchMaker,
    say: Callable[[str], None] = lambda text: None,
) -> Summary:
    """Make the patches of blocks and dates that are not there yet, and write the splits.

    Args:
      root: folder of the data set, local or gs://.
      blocks: what is to be made, by tile.
      days: target dates; all dates of a place are in one split.
      rule: which acquisitions map a date; its target is replaced.
      clear_days: reach of the search for a clear image around the target.
      split_rule: see `SplitRule`.
      maker: of the patches, and the source of their scenes.
      say: takes progress lines.

    Raises:
      ValueError: there are too few places to split.
    """
    split_of = split_rule.assign(key for keys in blocks.values() for key in keys)
    failed: list[str] = []
    for tile, keys in blocks.items():
        for day in days:
            todo = [key for key in keys if not exists(_record_url(root, key, day))]
            if todo:
                dated = replace(rule, target=day)
                failed += _build_tile(root, tile, keys, todo, dated, clear_days, maker)
                say(f"{tile} {day}: {len(todo)} blocks tried")
    skipped: Counter[str] = Counter()
    rows: dict[str, list[dict[str, str]]] = {split: [] for split in SPLIT_IDS}
    for key in sorted(key for keys in blocks.values() for key in keys):
        for day in days:
            if exists(_record_url(root, key, day)):
                record = read_json(_record_url(root, key, day))
                skipped.update(record["skipped"])
                place = split_rule.place_of(key)
                rows[split_of[place]] += [{**p, "place": place} for p in record["patches"]]
    for split, listed in rows.items():
        if listed:
            write_split(root, split, listed)
    return Summary({s: len(listed) for s, listed in rows.items()}, dict(skipped), failed)


def _build_tile(
    root: str,
    tile: TileIndex,
    keys: list[BlockKey],
    todo: list[BlockKey],
    rule: PairRule,
    clear_days: int,
    maker: PatchMaker,
) -> list[str]:
    """Make blocks of one tile and date; what failed, and why."""
    grid, source, failed = maker.grid, maker.source, []
    try:
        # All blocks are planned, done or not: a pair is measured on a choice of its blocks.
        requests = plan_tile(tile, keys, grid, rule, source)
        widest = replace(rule, optical=LEAST_CLOUDY, max_optical_days=clear_days)
        clearest = {r.key: r.pair.optical for r in plan_tile(tile, todo, grid, widest, source)}
    except (SourceUnavailable, ValueError) as error:
        return [f"{tile} {rule.target}: {error}"]
    nothing = Measured(Pair((), ()), UNMEASURED)
    ready = [(r.key, nothing) for r in requests if not any(r.pair) and r.key in clearest]
    waiting = pair_requests(requests, set(keys) - set(todo))
    while waiting:
        request = waiting.pop(0)
        if request.todo:
            try:
                records = join(root, "measured", str(rule.target))
                outcome = measured(records, request, grid, rule, source, maker.options)
            except (SourceUnavailable, ValueError) as error:
                failed += [f"{key} {rule.target}: {error}" for key in request.todo]
                continue
            waiting += outcome.instead
            ready += [(key, outcome.measured) for key in outcome.keys]
    for key, found in ready:
        try:
            _build_block(root, key, found, clearest[key], rule.target, maker)
        except (SourceUnavailable, ValueError) as error:
            failed.append(f"{key} {rule.target}: {error}")
    return failed


def _build_block(
    root: str,
    key: BlockKey,
    found: Measured,
    clearest: tuple[Scene, ...],
    day: date,
    maker: PatchMaker,
) -> None:
    """Make the patches of a block and, last, the record that says that they are there."""
    patches, skipped = [], Counter({NO_PAIR: maker.grid.chips_in_block})
    if any(found.pair):
        patches, skipped = maker.patches(key, found.pair, found.shift, clearest, day)
    stem = f"{str(key).replace('/', '_')}_{day:%Y%m%d}"
    record = {
        "patches": [write_patch(root, f"{stem}_p{patch.number}", patch) for patch in patches],
        "skipped": dict(skipped),
        "scenes": {
            "optical": [scene.id for scene in found.pair.optical],
            "sar": [scene.id for scene in found.pair.sar],
            "clear": [scene.id for scene in clearest],
        },
    }
    write_json(_record_url(root, key, day), record)


def _record_url(root: str, key: BlockKey, day: date) -> str:
    return join(root, "blocks", key.tile.path, f"r{key.row:02d}c{key.col:02d}_{day}.json")
