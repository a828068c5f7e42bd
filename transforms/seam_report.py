"""What the seams of a product are worth: it passes, is flagged, or fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from transforms.grid import Grid
from transforms.layers import LAYERS
from transforms.published import Published
from transforms.rasters import open_raster
from transforms.seams import MOVED, Border, ReadLayer, add_up, find_seams, grid_position

FLAGGED, FAILED = 1.1, 1.25
"""Ratios from which on, some standard errors aside, a border is flagged and fails."""

REPEATED = 0.6
"""Below this ratio, some standard errors aside, pixels beyond the border repeat."""

ERRORS, ERRORS_OF_ONE = 2, 3
"""Standard errors that are put aside: for all borders of a kind, and for one border among many."""

LEAST = 20
"""Changes of class that have to be expected across borders before they are judged."""


class Verdict(NamedTuple):
    """What the counts say."""

    verdict: str  # "passes", "flagged", "fails" or "undetermined"
    ratio: float | None  # changes across per change beside; None where nothing was expected
    error: float | None  # its standard error
    pairs: int
    changes: int
    expected: float  # changes across, at the rate beside
    shift: int  # product px that the far side (east, south) looks moved along it; 0: none seen


def judge(border: Border, errors: float = ERRORS) -> Verdict:
    """Compare the pairs across a border with those beside it.

    Args:
      errors: standard errors that are put aside before the ratio is called too high or too low.
    """
    pairs, changes = int(border.pairs[0]), int(border.changes[0])
    beside = border.changes[1:].sum() / max(1, border.pairs[1:].sum())
    expected = float(pairs * beside)
    if expected < LEAST:
        return Verdict("undetermined", None, None, pairs, changes, expected, 0)
    rates = border.changes[1:] / np.maximum(1, border.pairs[1:])
    others = (rates.sum() - rates) / (len(rates) - 1)
    error = float(np.std(rates / np.maximum(others, 1e-12), ddof=1))
    ratio = changes / expected
    shift = _shift(border, changes)
    if ratio - errors * error > FAILED or ratio + errors * error < REPEATED:
        verdict = "fails"
    else:
        verdict = "flagged" if ratio - errors * error > FLAGGED else "passes"
    return Verdict(verdict, ratio, error, pairs, changes, expected, shift)


def _shift(border: Border, changes: int) -> int:
    """The move along the border that takes away most changes, if by chance it would not."""
    rates = border.moved[:, 1] / np.maximum(1, border.moved[:, 0])
    best = int(np.argmin(rates))
    healed = (rates[MOVED.index(0)] - rates[best]) * border.pairs[0]
    return MOVED[best] if healed > max(4 * np.sqrt(changes), 0.15 * changes) else 0


class SeamReport(NamedTuple):
    """What was found along the borders of a product."""

    verdict: str  # the worst: "fails", "flagged", "undetermined" or "passes"
    kinds: dict[str, Verdict]
    worst: list[tuple[str, str, Verdict]]  # (kind, name, verdict) of single borders, worst first


def report(borders: Iterable[Border], most: int = 20) -> SeamReport:
    """Judge the borders of each kind together, and find the single ones that stand out."""
    kinds, named = add_up(borders)
    judged = {kind: judge(border) for kind, border in kinds.items()}
    singles = [
        (*key, judge(border, ERRORS_OF_ONE)) for key, border in named.items() if key[0] != "chip"
    ]
    found = [single for single in singles if single[2].verdict in ("fails", "flagged")]
    found.sort(key=lambda single: -abs(single[2].ratio - 1) / single[2].error)
    verdicts = {v.verdict for v in judged.values()} | {v.verdict for *_, v in found}
    verdict = next((v for v in ("fails", "flagged", "passes") if v in verdicts), "undetermined")
    return SeamReport(verdict, judged, found[:most])


def report_table(seams: SeamReport) -> str:
    """The report as lines of text."""
    lines = [f"{'borders':14} {'pairs':>10} {'changes':>9} {'expected':>9}  ratio"]
    for kind, v in seams.kinds.items():
        lines.append(
            f"{kind:14} {v.pairs:10,} {v.changes:9,} {v.expected:9,.0f}  {_ratio(v)} {v.verdict}"
        )
    for kind, name, v in seams.worst:
        moved = f", looks moved by {v.shift:+d} px along the border" if v.shift else ""
        lines.append(f"  {kind} {name}: {_ratio(v)} {v.verdict}{moved}")
    return "\n".join([*lines, f"seams: {seams.verdict}"])


def report_dict(seams: SeamReport) -> dict[str, Any]:
    """The report as JSON."""
    return {
        "verdict": seams.verdict,
        "kinds": {kind: verdict._asdict() for kind, verdict in seams.kinds.items()},
        "worst": [
            {"kind": kind, "name": name} | verdict._asdict() for kind, name, verdict in seams.worst
        ],
    }


def _ratio(v: Verdict) -> str:
    return "     -     " if v.ratio is None else f"{v.ratio:.2f} +- {v.error:.2f}"


def product_seams(product: Published, grid: Grid) -> SeamReport:
    """Judge the borders of a published product.

    Args:
      grid: processing grid of the run that made it.
    """
    with _reader(product) as read:
        return report(find_seams({t.name: t.geobox for t in product.tiles}, read, grid))


@contextmanager
def _reader(product: Published) -> Iterator[ReadLayer]:
    """Reads windows of the whole product grid, across its tiles."""
    import rasterio

    places = [(tile, *grid_position(tile.geobox)) for tile in product.tiles]

    @lru_cache(maxsize=32)
    def raster(url: str):
        return open_raster(url)

    def read(layer: str, rows: slice, cols: slice) -> np.ndarray | None:
        if not all(layer in tile.layers for tile in product.tiles):
            return None
        about = LAYERS[layer]
        shape = rows.stop - rows.start, cols.stop - cols.start
        out = np.full(shape, about.nodata, about.dtype)
        for tile, left, top in places:
            height, width = tile.geobox.shape
            y0, y1 = max(rows.start, top), min(rows.stop, top + height)
            x0, x1 = max(cols.start, left), min(cols.stop, left + width)
            if y0 < y1 and x0 < x1:
                window = (y0 - top, y1 - top), (x0 - left, x1 - left)
                pixels = raster(tile.layers[layer]).read(1, window=window)
                out[y0 - rows.start : y1 - rows.start, x0 - cols.start : x1 - cols.start] = pixels
        return out

    with rasterio.Env(GDAL_CACHEMAX=64 * 2**20):
        yield read
