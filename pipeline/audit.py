"""Auditing a run: is everything there once, whole and as it was written; repairing what is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from pipeline import launch
from pipeline.config import RunConfig
from pipeline.refresh import unpublish
from transforms.audit import (
    CORRUPT,
    MISSING,
    SURPLUS,
    Cube,
    Defect,
    audit_cube,
    blank_files,
    chip_cube,
    map_cube,
)
from transforms.audit_product import audit_product
from transforms.chips import finished_chips
from transforms.grid import BlockKey, TileIndex
from transforms.layers import choose_layers
from transforms.mapcube import finished_blocks
from transforms.plan_file import plan_url, read_plan
from transforms.product import collection_url, item_url
from transforms.provenance import planned_scenes
from transforms.seal import Damaged, read_seal, seal_url, seals_url
from transforms.store import exists, join, list_files, remove, write_bytes, write_json

SHOWN = 20
"""Defects that are printed; audit.json has all."""


def audit(run: RunConfig) -> list[Defect]:
    """Every defect of a run: of its plans, chip cubes, map cubes and product, in this order.

    In a run that was cleaned (`launch.clean`), chips are missed only of blocks without a map;
    blocks that were made anew since are looked at as in any run.
    """
    defects = []
    expected = {}
    for tile in run.tiles():
        expected[tile], found = _planned(run, tile)
        defects += found
    plans_hold = not defects
    cleaned = exists(launch.cleaned_url(run.out))
    for tile, cube in chip_cubes(run).items():
        due = expected[tile]
        if cleaned:
            mapped = finished_blocks(run.out, tile, run.grid)
            due = due - (mapped - finished_chips(run.out, tile, run.grid))
        if due or not cleaned or _has_files(cube):
            defects += audit_cube(cube, due)
    for tile, cube in map_cubes(run).items():
        defects += audit_cube(cube, expected[tile])
    return defects + audit_product(run.product_tiles(), run.publication(), plans_hold)


def _has_files(cube: Cube) -> bool:
    return bool(list_files(cube.url) or list_files(seals_url(cube.url)))


def chip_cubes(run: RunConfig) -> dict[TileIndex, Cube]:
    return {tile: chip_cube(run.out, tile, run.grid, run.inputs) for tile in run.tiles()}


def map_cubes(run: RunConfig) -> dict[TileIndex, Cube]:
    layers = choose_layers(run.layers)
    return {
        tile: map_cube(
            run.out,
            tile,
            run.grid,
            layers,
            run.legend,
            partial(launch.create_maps, run, tile),
        )
        for tile in run.tiles()
    }


def _planned(run: RunConfig, tile: TileIndex) -> tuple[set[BlockKey], list[Defect]]:
    """Blocks of a tile that have to lie in its cubes, and what is wrong with its plan."""
    url = plan_url(run.out, tile)
    blocks = {str(key): key for key in run.grid.blocks(tile, run.region.geometry)}

    def defect(kind: str, detail: str) -> list[Defect]:
        return [Defect("plan", str(tile), kind, url.removeprefix(run.out).strip("/"), detail)]

    try:
        plan = read_plan(run.out, tile)
        expected = {blocks[name] for name, pair in plan["blocks"].items() if any(pair.values())}
        if set(plan["blocks"]) != set(blocks):
            raise ValueError("its blocks are not those of the region")
        planned_scenes(run.out, sorted(expected))
    except FileNotFoundError:
        return set(blocks.values()), defect(MISSING, "the tile was never planned")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return set(blocks.values()), defect(CORRUPT, f"is no plan of this tile ({error!r})")
    return expected, []


def text(defects: list[Defect], checked: str) -> str:
    """What people read of an audit."""
    if not defects:
        return f"{checked}: complete and as written"
    counts = Counter((defect.rest, defect.kind) for defect in defects)
    lines = [f"{checked}: {', '.join(f'{n} {rest} {kind}' for (rest, kind), n in counts.items())}"]
    lines += [f"  {d.kind:8} {d.file}: {d.detail}" for d in defects[:SHOWN]]
    if len(defects) > SHOWN:
        lines.append(f"  and {len(defects) - SHOWN} more")
    return "\n".join(lines)


def write_report(run: RunConfig, defects: list[Defect], repaired: bool) -> str:
    """Write `audit.json` into the run's folder; returns its address."""
    url = join(run.out, "audit.json")
    document = {
        "run": run.id,
        "complete": not defects,
        "repaired": repaired,
        "defects": [defect._asdict() for defect in defects],
    }
    write_json(url, document)
    return url


def repair(
    run: RunConfig, defects: Iterable[Defect], execute: Callable[[str, RunConfig], object]
) -> None:
    """Make what is defect anew, and nothing else.

    Who reads a block gets the bytes that were sealed or an error, so what was made from a block
    before it was damaged is good, as long as the block comes out as it was. Where it does not
    (its seal was lost, its scenes were replaced), what was made from it is made anew, too.

    Args:
      run: of all its blocks.
      defects: from `audit`.
      execute: runs a job, by its name, of a run.
    """
    defects = list(defects)
    for defect in defects:
        if defect.kind == SURPLUS or defect.rest == "plan":
            remove(join(run.out, defect.file))
    before, chips, maps = {}, chip_cubes(run), map_cubes(run)
    for rest, cubes in (("chips", chips), ("maps", maps)):
        named = {d.key for d in defects if d.rest == rest and d.kind != SURPLUS}
        if "metadata" in named:
            _restore(cubes.values(), {d.file for d in defects if d.rest == rest})
        blocks = {key for tile in cubes for key in run.grid.blocks(tile, run.region.geometry)}
        damaged = {key for key in blocks if str(key) in named}
        before[rest] = {key: _seal(cubes[key.tile], key) for key in damaged}
        for key in damaged:
            remove(seal_url(cubes[key.tile].url, key))
    for key in before["maps"]:
        if _seal(chips[key.tile], key) is None:  # its chips were cleaned away
            before["chips"].setdefault(key, None)
    for name in {d.key for d in defects if d.rest == "product" and d.kind != SURPLUS}:
        remove(collection_url(run.out) if name == "collection" else item_url(run.out, name))
    launch.start(run)
    if any(defect.rest == "plan" for defect in defects):
        execute("ingest", run)
    execute("ingest", replace(run, only=frozenset(before["chips"])))
    # Maps of chips that came out otherwise are made anew, as are tiles of such maps.
    for key in _changed(before["chips"], chips):
        cube = maps[key.tile]
        before["maps"].setdefault(key, _seal(cube, key))
        remove(seal_url(cube.url, key))
    execute("classify", run)
    unpublish(run, _changed(before["maps"], maps))
    execute("mosaic", run)


def _restore(cubes: Iterable[Cube], files: set[str]) -> None:
    """Write damaged metadata of cubes as a new cube has them."""
    for cube in cubes:
        folder = cube.url.removeprefix(cube.root).strip("/")
        if any(file.startswith(f"{folder}/") for file in files):
            for name, data in blank_files(cube).items():
                if f"{folder}/{name}" in files:
                    write_bytes(join(cube.url, name), data)


def _seal(cube: Cube, key: BlockKey) -> dict | None:
    try:
        return read_seal(cube.url, key)
    except Damaged:
        return None


def _changed(before: dict[BlockKey, dict | None], cubes: dict[TileIndex, Cube]) -> list[BlockKey]:
    """Blocks whose seal says otherwise now, or said nothing before."""
    return [
        key for key, seal in before.items() if seal is None or seal != _seal(cubes[key.tile], key)
    ]
