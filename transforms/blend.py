"""Blending: class probabilities pass from one chip to the next, and from one block to the next.

Beside a border two chips map the same land, each with the less context the nearer its own edge is.
Of the 2 x reach pixels across the border (`Grid.reach`) pixel i counts (2i + 1) / (4 reach) for the
one side and the rest for the other; where borders cross, both ramps are multiplied. Weights and
probabilities are integers, so that the order of adding cannot change a bit.

The chips of a block are blended when it is mapped. Two blocks have two writers: each leaves its
probabilities on both sides of its border, its `edges`, and they are blended when maps are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from model.legend import IGNORE_INDEX, Legend
from transforms.grid import Grid

NOTHING = 255
"""Probability of a pixel that no sensor saw."""

TOP, BOTTOM, LEFT, RIGHT = range(4)
"""Sides of a block, in the order of its edges."""

Span = tuple[slice, slice]
"""Rows and columns of a window, px from the corner of a tile, or of a block's core."""


class Piece(NamedTuple):
    """Probabilities that reach over the borders around them."""

    percent: np.ndarray  # (class, y, x) uint8, 255 nodata
    top: int  # row of the first pixel, in the window's count
    left: int
    down: np.ndarray  # (y,) int32 weights
    right: np.ndarray  # (x,) int32 weights


class Blended(NamedTuple):
    """What a window of a map shows."""

    index: np.ndarray  # (y, x) uint8 class index; of equals the lowest; 255 nodata
    percent: np.ndarray  # (class, y, x) uint8, 255 nodata

    def layer(self, name: str, legend: Legend) -> np.ndarray:
        """(y, x) of a layer that follows from probabilities, as in `ALL_LAYERS`."""
        if name == "lulc":
            return legend.codes(self.index)
        if name == "confidence":
            return self.percent.max(0)
        (c,) = (c for c in legend.classes if name == f"probability_{c.name}")
        return self.percent[c.index]


def is_blended(layer: str) -> bool:
    """Whether a layer follows from probabilities; the others say which sensor saw the pixel."""
    return layer in ("lulc", "confidence") or layer.startswith("probability_")


def ramp(size: int, reach: int) -> np.ndarray:
    """Weights (px,) int32 of a piece with a core of `size` px; with its neighbours' 4 x reach."""
    rise = 2 * np.arange(2 * reach, dtype=np.int32) + 1
    flat = np.full(size - 2 * reach, 4 * reach, np.int32)
    return np.concatenate([rise, flat, rise[::-1]])


def bands(window: Span, size: int, reach: int) -> Iterator[tuple[int, int, Span]]:
    """The parts of a window within reach of borders, which lie on multiples of `size`.

    Yields:
      Axis across which the border runs (0: between rows), its number, rows and columns.
    """
    for axis, span in enumerate(window):
        for number in range((span.start - reach) // size + 1, -(-(span.stop + reach) // size)):
            middle = number * size
            part = slice(max(span.start, middle - reach), min(span.stop, middle + reach))
            yield axis, number, (part, window[1]) if axis == 0 else (window[0], part)


def blend(window: Span, pieces: Iterable[Piece], classes: int) -> Blended:
    """The weighted mean of all pieces that cover a pixel of a window and have data there."""
    shape = tuple(span.stop - span.start for span in window)
    sums, total = np.zeros((classes, *shape), np.int32), np.zeros(shape, np.int32)
    for piece in pieces:
        into_y, ys = _meet(window[0], piece.top, len(piece.down))
        into_x, xs = _meet(window[1], piece.left, len(piece.right))
        percent = piece.percent[:, ys, xs]
        weight = piece.down[ys, None] * piece.right[xs] * (percent[0] != NOTHING)
        sums[:, into_y, into_x] += percent * weight
        total[into_y, into_x] += weight
    index = np.where(total > 0, sums.argmax(0), IGNORE_INDEX).astype(np.uint8)
    # Halves are rounded up.
    percent = (sums + total // 2) // np.maximum(total, 1)
    return Blended(index, np.where(total > 0, percent, NOTHING).astype(np.uint8))


def _meet(span: slice, start: int, length: int) -> tuple[slice, slice]:
    """Where [start, start + length) meets a span: inside the span, and counted from start."""
    first = max(span.start, start)
    last = max(first, min(span.stop, start + length))
    return slice(first - span.start, last - span.start), slice(first - start, last - start)


def blend_chips(index: np.ndarray, probability: np.ndarray, grid: Grid) -> Blended:
    """One block of its chips: its core, and what reaches over its border.

    Args:
      index: (chip, y, x) uint8 class index, 255 nodata; kept where none of the other chips maps.
      probability: (chip, class, y, x) uint8 percent, 255 nodata.
    """
    size, reach, classes = grid.core_size, grid.reach, probability.shape[1]
    weights = ramp(size, reach)
    side = grid.block_core_size + 2 * reach
    inner = slice(grid.halo - reach, grid.chip_size - grid.halo + reach)
    starts = range(-reach, grid.block_core_size - reach, size)
    corners = [(top, left) for top in starts for left in starts]
    pieces = [
        Piece(percent[:, inner, inner], top, left, weights, weights)
        for percent, (top, left) in zip(probability, corners, strict=True)
    ]
    whole = Blended(np.empty((side, side), np.uint8), np.empty((classes, side, side), np.uint8))
    for chip, (percent, top, left, *_) in zip(index, pieces, strict=True):
        ys, xs = (slice(at + reach, at + reach + len(weights)) for at in (top, left))
        whole.index[ys, xs] = chip[inner, inner]
        whole.percent[:, ys, xs] = percent
    every = slice(-reach, side - reach)
    for _, number, band in bands((every, every), size, reach):
        if number in (0, grid.chips_per_block):
            continue  # beyond the block's own border it knows of no other chip
        ys, xs = (slice(span.start + reach, span.stop + reach) for span in band)
        blended = blend(band, pieces, classes)
        whole.index[ys, xs], whole.percent[:, ys, xs] = blended
    return whole


def core_of(block: Blended, reach: int) -> Blended:
    """A block without what reaches over its border."""
    core = slice(reach, len(block.index) - reach)
    return Blended(block.index[core, core], block.percent[:, core, core])


def cut_edges(block: Blended, reach: int) -> np.ndarray:
    """(side, class, across, along) uint8 percent: what a block says of both sides of its border.

    Across counts from the top or the left, along likewise; corners stand in two sides.
    """
    wide, percent = 2 * reach, block.percent
    flipped = percent.swapaxes(1, 2)
    return np.stack([p[:, part] for p in (percent, flipped) for part in _ends(wide)])


def _ends(wide: int) -> tuple[slice, slice]:
    return slice(None, wide), slice(-wide, None)


def edge_piece(edges: np.ndarray, side: int, row: int, col: int, grid: Grid) -> Piece:
    """One side of a block's edges, in a tile's count of pixels.

    Args:
      edges: see `cut_edges`.
      row: of the block, from the tile's top; may lie outside of the tile.
    """
    size, reach = grid.block_core_size, grid.reach
    top, left = row * size - reach, col * size - reach
    along = ramp(size, reach)
    across = along[_ends(2 * reach)[side % 2]]
    far = size * (side % 2)
    if side in (TOP, BOTTOM):
        return Piece(edges[side], top + far, left, across, along)
    return Piece(edges[side].swapaxes(1, 2), top, left + far, along, across)
