"""Seams: whether the classes of a product change more often across borders than beside them.

A seamless map changes class across the border of two chips, tiles, zones or passes about as often
as a few pixels further in. So every border is compared with its own surroundings: pairs of
neighbouring pixels across the border against pairs at `BESIDE` on both sides, in the same rows (or
columns). The figure is the ratio of both rates: 1 where nothing shows, 2 where the border adds as
many changes of class as the land has. Its standard error is the spread of the same figure taken at
the places beside the border, where no border is: changes of class come in clusters, and a formula
that took pixels for independent would be too sure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from transforms.grid import GeoBox, Grid, TileIndex
from transforms.lattice import map_pixels, pixel_zones
from transforms.layers import LAYERS
from transforms.mosaic import window_geobox
from transforms.zones import zone_name

BESIDE = (-24, -20, -16, -12, -8, -4, 4, 8, 12, 16, 20, 24)
"""Where the comparison is taken, px from the border."""

MARGIN = 32  # px around a window: more than the furthest comparison and a moved pair

MOVED = (-3, -2, -1, 0, 1, 2, 3)
"""Moves along a border that are tried, px: one that heals it tells of a shift."""

KINDS = ("zone", "product tile", "tile", "chip", "optical pass", "SAR pass")
"""A pair of pixels counts for the first border of these that runs between them."""

NODATA = LAYERS["lulc"].nodata

ReadLayer = Callable[[str, slice, slice], "np.ndarray | None"]
"""(layer name, rows, columns of the product grid) -> (y, x), nodata where no tile is; None where
the product has no such layer."""


class Border(NamedTuple):
    """What was counted along borders of one name."""

    kind: str
    name: str
    pairs: np.ndarray  # (1 + beside,) int64, pairs of mapped pixels across and at each of BESIDE
    changes: np.ndarray  # (1 + beside,) int64, those of them whose classes differ
    moved: np.ndarray  # (moves, 2) int64, pairs and changes with the far side moved by MOVED

    def __add__(self, other: Border) -> Border:
        counts = (mine + its for mine, its in zip(self[2:], other[2:], strict=True))
        return Border(self.kind, self.name, *counts)


def find_seams(
    geoboxes: dict[str, GeoBox], read: ReadLayer, grid: Grid, size: int = 2048
) -> Iterator[Border]:
    """Count pairs across all borders of a product, window by window.

    Args:
      geoboxes: product tiles by name, on one product grid.
      read: reads the product's layers.
      grid: processing grid that the maps were made on.
      size: side of a window, px.

    Yields:
      Counts per window, kind and name, to be added up. Zones and tiles are named by both sides;
      chips by the tile that holds them, passes by the ages of both, days from the target date.
    """
    for name, geobox in geoboxes.items():
        left, top = grid_position(geobox)
        for y in range(0, geobox.height, size):
            for x in range(0, geobox.width, size):
                rows = slice(top + y, top + min(y + size, geobox.height))
                cols = slice(left + x, left + min(x + size, geobox.width))
                yield from _window_seams(name, geoboxes, geobox, rows, cols, read, grid)


def grid_position(geobox: GeoBox) -> tuple[int, int]:
    """Column and row of a geobox's upper left pixel on its grid, from the origin, southward."""
    return round(geobox.x0 / geobox.resolution), -round(geobox.y0 / geobox.resolution)


def _window_seams(
    name: str,
    geoboxes: dict[str, GeoBox],
    geobox: GeoBox,
    rows: slice,
    cols: slice,
    read: ReadLayer,
    grid: Grid,
) -> Iterator[Border]:
    wide = [slice(span.start - MARGIN, span.stop + MARGIN) for span in (rows, cols)]
    lulc = read("lulc", *wide)
    core = lulc[MARGIN:-MARGIN, MARGIN:-MARGIN]
    if not (core != NODATA).any():
        return
    left, top = grid_position(geobox)
    part = window_geobox(
        geobox, *(slice(w.start - o, w.stop - o) for w, o in zip(wide, (top, left), strict=True))
    )
    places = _places(part, name, geoboxes, read, wide, grid)
    for axis in (0, 1):
        yield from _pairs_along(axis, lulc, places, grid, list(geoboxes))


def _places(part, name, geoboxes, read, wide, grid) -> dict[str, np.ndarray]:
    """What each pixel of a window belongs to: by kind of border, (y, x) integers."""
    zones = pixel_zones(part)
    row, col = (np.zeros(part.shape, np.int64) for _ in range(2))
    for zone in np.unique(zones[zones != 0]):
        mine = zones == zone
        down, right = map_pixels(part, int(zone), grid.resolution)
        row[mine], col[mine] = down[mine], right[mine]
    places = {
        "pixel": np.stack([row, col]),
        "zone": zones.astype(np.int64),
        "product tile": _product_tiles(part, geoboxes),
        "tile": np.stack([row // grid.tile_size, col // grid.tile_size]),
        "chip": np.stack([row // grid.core_size, col // grid.core_size]),
    }
    for kind, layer in (("optical pass", "optical_age"), ("SAR pass", "sar_age")):
        age = read(layer, *wide)
        if age is not None:
            places[kind] = age.astype(np.int64)
    return places


def _product_tiles(part: GeoBox, geoboxes: dict[str, GeoBox]) -> np.ndarray:
    """Number of the product tile of each pixel, in the order of `geoboxes`; -1 for none."""
    left, top = grid_position(part)
    number = np.full(part.shape, -1, np.int64)
    for i, geobox in enumerate(geoboxes.values()):
        x, y = grid_position(geobox)
        rows = slice(max(0, y - top), max(0, y + geobox.height - top))
        cols = slice(max(0, x - left), max(0, x + geobox.width - left))
        number[rows, cols] = i
    return number


def _pairs_along(axis: int, lulc, places, grid: Grid, names: list[str]) -> Iterator[Border]:
    """Borders that are crossed going down (axis 0) or right (axis 1)."""
    if axis == 0:  # one way of counting serves both
        lulc = lulc.T
        places = {kind: place.swapaxes(-1, -2) for kind, place in places.items()}
    mapped = lulc != NODATA
    both = mapped[:, :-1] & mapped[:, 1:]
    differ = both & (lulc[:, :-1] != lulc[:, 1:])
    free = both.copy()  # pairs between which no border runs
    kind_of = np.full(both.shape, -1, np.int8)
    for i, kind in reversed(list(enumerate(KINDS))):
        if kind in places:
            place = places[kind]
            crossed = place[..., :-1] != place[..., 1:]
            free &= ~(crossed.any(0) if place.ndim == 3 else crossed)
            # Rows and columns of tiles are oblique to the product's: where their border makes a
            # step, pairs that run along it are no pairs across.
            kind_of[crossed[axis] if place.ndim == 3 else crossed] = i
    # A pair belongs to the window of its far pixel.
    core = np.zeros(both.shape, bool)
    core[MARGIN:-MARGIN, MARGIN - 1 : -MARGIN] = True
    # Two product pixels that show one pixel of the map cannot differ: they are no pair, but where
    # two zones meet, which share no pixels.
    pixel = places["pixel"]
    apart = (pixel[..., :-1] != pixel[..., 1:]).any(0)
    between_zones = kind_of == KINDS.index("zone")
    y, x = np.nonzero((kind_of >= 0) & both & core & (apart | between_zones))
    if not len(y):
        return
    pairs = np.empty((len(y), 1 + len(BESIDE)), bool)
    changes = np.empty_like(pairs)
    pairs[:, 0], changes[:, 0] = True, differ[y, x]
    for k, offset in enumerate(BESIDE, 1):
        pairs[:, k] = free[y, x + offset] & (apart[y, x + offset] | between_zones[y, x])
        changes[:, k] = pairs[:, k] & differ[y, x + offset]
    far = np.stack([lulc[y + move, x + 1] for move in MOVED], 1)
    moved = np.stack([far != NODATA, (far != NODATA) & (far != lulc[y, x, None])], 2)
    for kind, name, mine in _named(kind_of[y, x], y, x, places, grid, names):
        counts = (part[mine].sum(0, np.int64) for part in (pairs, changes, moved))
        yield Border(kind, name, *counts)


def _named(kinds, y, x, places, grid: Grid, names: list[str]) -> Iterator[tuple]:
    """(kind, name, indices) of the borders among pairs."""
    for i in np.unique(kinds):
        kind = KINDS[i]
        mine = np.flatnonzero(kinds == i)
        # Chips are many: they are named by their tile.
        planes = [places["zone"], *places["tile"]] if kind in ("tile", "chip") else [places[kind]]
        sides = np.stack([p[y[mine], x[mine] + far] for far in (0, 1) for p in planes], 1)
        found, which = np.unique(sides, axis=0, return_inverse=True)
        for j, ids in enumerate(found.tolist()):
            half = len(ids) // 2
            near, far = (_name(kind, side, names) for side in (ids[:half], ids[half:]))
            label = near if near == far else f"{near} | {far}"
            yield kind, label, mine[which.ravel() == j]


def _name(kind: str, ids: list[int], names: list[str]) -> str:
    if kind == "zone":
        return zone_name(ids[0])
    if kind == "product tile":
        return names[ids[0]]
    if kind in ("tile", "chip"):
        zone, row, col = ids
        return str(TileIndex(zone, col, -row - 1))  # rows count southward, tiles northward
    return "none" if ids[0] == LAYERS["optical_age"].nodata else f"{ids[0]:+d} d"


def add_up(borders: Iterable[Border]) -> tuple[dict[str, Border], dict[tuple[str, str], Border]]:
    """Counts by kind, and by kind and name."""
    kinds: dict[str, Border] = {}
    named: dict[tuple[str, str], Border] = {}
    for border in borders:
        key = border.kind, border.name
        named[key] = named[key] + border if key in named else border
        whole = border._replace(name="all")
        kinds[border.kind] = kinds[border.kind] + whole if border.kind in kinds else whole
    return {kind: kinds[kind] for kind in KINDS if kind in kinds}, dict(sorted(named.items()))
