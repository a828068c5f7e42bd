"""The seam gate: quiet on a map without seams, loud and precise on planted ones."""

from functools import lru_cache

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from model.legend import LULC6
from transforms.grid import Grid
from transforms.lattice import pixel_centers
from transforms.layers import LAYERS
from transforms.mosaic import mosaic_window
from transforms.product import ProductGrid
from transforms.seam_report import SeamReport, judge, report, report_table
from transforms.seams import MARGIN, Border, find_seams
from transforms.zones import zone_epsg

GRID = Grid(chip_size=192, halo=32, blocks_per_tile=3)
PRODUCT = ProductGrid()
LEFT, TOP, WIDTH, HEIGHT = round(5.95 * 12000), round(50.05 * 12000), 1900, 1500
BOXES = {  # zones 31 and 32 meet at column 600
    "west": PRODUCT.geobox(LEFT, TOP, 200, HEIGHT),
    "east": PRODUCT.geobox(LEFT + 200, TOP, WIDTH - 200, HEIGHT),
}
CODES = np.array([c.code for c in LULC6.classes], np.uint8)
INNER = (slice(MARGIN, -MARGIN),) * 2
VERTICAL, HORIZONTAL = "32N/x037y721 | 32N/x038y721", "32N/x037y722 | 32N/x037y721"
FRAME = 8  # px around a tile, to move it by


def classes_at(lon, lat):
    """Land cover without borders: fields of some 100 m."""
    rng = np.random.default_rng(5)
    field = np.zeros(np.shape(lon))
    for angle, length, phase in zip(
        rng.uniform(0, 2 * np.pi, 40), rng.uniform(130, 400, 40), rng.uniform(0, 7, 40), strict=True
    ):
        east, north = 71_500 * (lon - 6), 111_200 * (lat - 50)
        along = east * np.cos(angle) + north * np.sin(angle)
        field += np.sin(2 * np.pi * along / length + phase)
    return CODES[np.digitize(field, [-4.5, -2, 0, 2, 4.5])]


@lru_cache
def tile_map(tile):
    """The tile's true map with FRAME px around it."""
    geobox = GRID.tile_geobox(tile)
    frame = FRAME * 10
    x, y = pixel_centers(
        geobox._replace(
            x0=geobox.x0 - frame,
            y0=geobox.y0 + frame,
            width=geobox.width + 2 * FRAME,
            height=geobox.height + 2 * FRAME,
        )
    )
    to_geographic = Transformer.from_crs(zone_epsg(tile.zone), 4326, always_xy=True)
    return classes_at(*to_geographic.transform(*np.meshgrid(x, y)))


def moved(pixels, dy=0, dx=0):
    size = pixels.shape[0] - 2 * FRAME
    return pixels[FRAME + dy : FRAME + dy + size, FRAME + dx : FRAME + dx + size]


def found(spoil=None, ages=None) -> SeamReport:
    """The report of a product whose tiles were spoilt by `spoil(tile, pixels)`."""

    def read_map(tile, layer, rows, cols):
        pixels = tile_map(tile)
        return (spoil(tile, pixels) if spoil else moved(pixels))[rows, cols]

    product = np.zeros((HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN), np.uint8)
    whole = PRODUCT.geobox(LEFT, TOP, WIDTH, HEIGHT)
    product[INNER] = mosaic_window(whole, (LAYERS["lulc"],), read_map, GRID)["lulc"]
    layers = {"lulc": product, "optical_age": ages}

    def read(layer, rows, cols):
        if layers.get(layer) is None:
            return None
        down, right = MARGIN + TOP, MARGIN - LEFT
        return layers[layer][
            rows.start + down : rows.stop + down, cols.start + right : cols.stop + right
        ]

    return report(find_seams(BOXES, read, GRID, 512))


def test_a_map_without_seams_passes_at_every_border():
    seams = found()
    assert seams.verdict == "passes" and seams.worst == []
    assert list(seams.kinds) == ["zone", "product tile", "tile", "chip"]
    assert {v.verdict for v in seams.kinds.values()} == {"passes"}
    assert 0.9 < seams.kinds["chip"].ratio < 1.1
    assert 0.8 < seams.kinds["zone"].ratio < 1.25
    assert "seams: passes" in report_table(seams)


@pytest.mark.parametrize(
    ("dy", "dx", "chosen", "where"),
    [
        (1, 0, lambda t: t.zone == 32, ("zone", "31N | 32N")),
        (0, 1, lambda t: t.zone == 32 and t.x == 37, ("tile", VERTICAL)),
        (0, -1, lambda t: t.zone == 32 and t.x == 37, ("tile", VERTICAL)),
        (0, 1, lambda t: t.zone == 32 and t.y == 721, ("tile", HORIZONTAL)),
    ],
)
def test_a_shift_of_one_pixel_is_located(dy, dx, chosen, where):
    seams = found(lambda tile, pixels: moved(pixels, *((dy, dx) if chosen(tile) else (0, 0))))
    assert seams.verdict in ("fails", "flagged")
    assert where in [(kind, name) for kind, name, _ in seams.worst]
    # Borders that the moved tiles do not touch are left alone.
    assert seams.kinds["chip"].verdict == seams.kinds["product tile"].verdict == "passes"
    moved_tiles = [str(t) for t in tiles() if chosen(t)]
    for kind, name, _ in seams.worst:
        assert kind == "zone" or any(tile in name for tile in moved_tiles)


def test_the_direction_of_a_shift_along_the_border_is_told():
    seams = found(lambda tile, pixels: moved(pixels, 1 if tile.zone == 32 else 0))
    shifts = {name: v.shift for kind, name, v in seams.worst if kind == "zone"}
    assert shifts == {"31N | 32N": -1}, "what lay a row further down lies here now"


def test_chips_that_do_not_fit_together_fail():
    def cut(tile, pixels):
        whole, core = moved(pixels).copy(), GRID.core_size
        rng = np.random.default_rng(tile.x * 1000 + tile.y)
        for y in range(0, GRID.tile_size, core):
            for x in range(0, GRID.tile_size, core):
                here = slice(y, y + core), slice(x, x + core)
                whole[here] = moved(pixels, *rng.integers(-2, 3, 2))[here]
        return whole

    seams = found(cut)
    assert seams.verdict == seams.kinds["chip"].verdict == "fails"


def test_the_border_of_a_pass_is_one():
    ages = np.full((HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN), -3, np.int16)
    across = np.add.outer(np.arange(ages.shape[0]) // 5, np.arange(ages.shape[1]))
    ages[across > 400] = 2
    seams = found(ages=ages)
    assert seams.kinds["optical pass"].verdict == "passes"
    assert seams.kinds["optical pass"].pairs > 700
    assert seams.kinds["optical pass"].changes > 20


def test_too_little_is_not_judged():
    counts = np.full(13, 50), np.full(13, 3), np.zeros((7, 2), int)
    assert judge(Border("chip", "all", *counts)).verdict == "undetermined"
    assert report([]).verdict == "undetermined"


def tiles():
    edges = LEFT / 12000, (TOP - HEIGHT) / 12000, (LEFT + WIDTH) / 12000, TOP / 12000
    return GRID.tiles_covering(shapely.box(*edges))
