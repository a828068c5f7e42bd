"""The mosaic against a brute-force one: every pixel projected on its own."""

import numpy as np
import pytest
from pyproj import Transformer

from transforms import mosaic
from transforms.grid import GeoBox, Grid, TileIndex
from transforms.lattice import map_pixels, pixel_centers, pixel_zones
from transforms.layers import LAYERS
from transforms.mosaic import mosaic_window, mosaic_windows
from transforms.product import ProductGrid
from transforms.zones import zone_epsg

GRID = Grid(chip_size=64, halo=16, chips_per_block=2, blocks_per_tile=3)
PRODUCT = ProductGrid()
TWO = (LAYERS["lulc"], LAYERS["sar_age"])


def value(zone, easting_px, northing_px):
    """A value of its own for every pixel of every zone, nearly."""
    return ((zone * 7919 + easting_px * 31 + northing_px * 17) % 30011).astype(np.int16)


def maps_everywhere(tile: TileIndex, layer: str, rows: slice, cols: slice):
    """Maps of all zones; a checkerboard of tiles is missing."""
    assert 0 <= rows.start < rows.stop <= GRID.tile_size
    assert 0 <= cols.start < cols.stop <= GRID.tile_size
    if (tile.x + tile.y) % 5 == 0:
        return None
    east = tile.x * GRID.tile_size + np.arange(cols.start, cols.stop)[None, :]
    north = (tile.y + 1) * GRID.tile_size - 1 - np.arange(rows.start, rows.stop)[:, None]
    return value(tile.zone, east, north).astype(LAYERS[layer].dtype)


def window(lon: float, lat: float, width: int, height: int, grid=PRODUCT) -> GeoBox:
    """Centred on a point, in product CRS units."""
    col, row = round(lon / grid.resolution), round(lat / grid.resolution)
    return grid.geobox(col - width // 2, row + height // 2, width, height)


def brute_force(geobox: GeoBox, layer: str) -> np.ndarray:
    left, top = round(geobox.x0 / geobox.resolution), round(geobox.y0 / geobox.resolution)
    x, y = np.meshgrid(
        (left + np.arange(geobox.width) + 0.5) * geobox.resolution,
        (top - np.arange(geobox.height) - 0.5) * geobox.resolution,
    )
    if geobox.epsg != 4326:
        x, y = Transformer.from_crs(geobox.epsg, 4326, always_xy=True).transform(x, y)
    number = np.floor((x + 180) / 6).astype(int) + 1
    out = np.full(geobox.shape, LAYERS[layer].nodata, LAYERS[layer].dtype)
    for n in np.unique(number):
        for sign in (1, -1):
            mine = (number == n) & ((y >= 0) if sign > 0 else (y < 0))
            to_utm = Transformer.from_crs(4326, zone_epsg(sign * n), always_xy=True)
            easting, northing = to_utm.transform(x[mine], y[mine])
            # A map pixel reaches from its lower edge, not included, to its upper one, included:
            # rows count southward.
            east, north = np.floor(easting / 10), -np.floor(-northing / 10) - 1
            east, north = east.astype(int), north.astype(int)
            there = (east // GRID.tile_size + north // GRID.tile_size) % 5 != 0
            pixels = value(sign * n, east, north).astype(LAYERS[layer].dtype)
            out[mine] = np.where(there, pixels, LAYERS[layer].nodata)
    return out


PLACES = {
    "zone border": window(12, 45, 300, 200),
    "four zones at the equator": window(6, 0, 260, 260),
    "equator": window(-69.3, 0, 150, 170),
    "far north": window(24.0, 69.9, 400, 130),
    "far south": window(-72.0, -54.5, 130, 150),
    "one pixel": window(12, 45, 1, 1),
    "a row": window(12, 0, 200, 1),
    "coarse pixels": window(12, 0.5, 90, 80, ProductGrid(resolution=1 / 1000)),
    "Europe's equal-area CRS": window(
        *Transformer.from_crs(4326, 3035, always_xy=True).transform(12, 45),
        300,
        250,
        ProductGrid(3035, 10.0, 1000),
    ),
    "Web Mercator at the equator": window(1_335_833.9, 0, 250, 250, ProductGrid(3857, 10.0, 1000)),
}


@pytest.mark.parametrize("place", PLACES)
def test_equals_projecting_every_pixel(place):
    geobox = PLACES[place]
    found = mosaic_window(geobox, TWO, maps_everywhere, GRID)
    for layer in TWO:
        expected = brute_force(geobox, layer.name)
        assert found[layer.name].dtype == layer.dtype
        np.testing.assert_array_equal(found[layer.name], expected)
        assert geobox.width < 2 or len(np.unique(expected)) > 100


def test_places_hold_several_zones():
    zones = {place: set(np.unique(pixel_zones(geobox))) for place, geobox in PLACES.items()}
    assert zones["zone border"] == {32, 33}
    assert zones["four zones at the equator"] == {31, 32, -31, -32}
    assert zones["Europe's equal-area CRS"] == {32, 33}
    assert zones["Web Mercator at the equator"] == {32, 33, -32, -33}


def test_a_pixel_of_every_kind_is_projected_again():
    """Where the lattice cannot decide, and only there: a large window, all pixels compared."""
    geobox = window(9.3, 57, 900, 900)
    down, right = map_pixels(geobox, 32, 10)
    x, y = np.meshgrid(*pixel_centers(geobox))
    easting, northing = Transformer.from_crs(4326, 32632, always_xy=True).transform(x, y)
    np.testing.assert_array_equal(right, np.floor(easting / 10))
    np.testing.assert_array_equal(down, np.floor(-northing / 10))


def test_windows_cover_the_tile_once_and_do_not_depend_on_their_size():
    geobox = PLACES["four zones at the equator"]
    whole = mosaic_window(geobox, TWO, maps_everywhere, GRID)
    for size in (64, 100, 512):
        seen = np.zeros(geobox.shape, int)
        pasted = np.zeros(geobox.shape, np.int16)
        for part in mosaic_windows(geobox, TWO, maps_everywhere, GRID, size):
            seen[part.rows, part.cols] += 1
            pasted[part.rows, part.cols] = part.layers["sar_age"]
        assert (seen == 1).all()
        np.testing.assert_array_equal(pasted, whole["sar_age"])


def test_large_reads_are_split(monkeypatch):
    geobox = PLACES["coarse pixels"]
    reads = []

    def read(tile, layer, rows, cols):
        reads.append((rows.stop - rows.start) * (cols.stop - cols.start))
        return maps_everywhere(tile, layer, rows, cols)

    monkeypatch.setattr(mosaic, "_LARGEST_READ", 10_000)
    found = mosaic_window(geobox, TWO, read, GRID)
    np.testing.assert_array_equal(found["lulc"], brute_force(geobox, "lulc"))
    assert max(reads) <= 10_000


def test_no_map_at_all_is_nodata():
    found = mosaic_window(PLACES["zone border"], TWO, lambda *window: None, GRID)
    assert (found["lulc"] == 0).all() and (found["sar_age"] == -32768).all()


def test_outside_of_the_projection_is_nodata():
    """A corner of Europe's CRS that lies beyond the domain of its inverse projection."""
    geobox = ProductGrid(3035, 1000.0, 1000).geobox(-40_000, 40_000, 20, 20)
    assert (pixel_zones(geobox) == 0).all()
    assert (mosaic_window(geobox, TWO, maps_everywhere, GRID)["lulc"] == 0).all()


def test_a_map_that_cannot_be_read_ends_the_windows():
    def unreadable(tile, layer, rows, cols):
        raise OSError("the map cannot be read")

    windows = mosaic_windows(PLACES["zone border"], TWO, unreadable, GRID, 64)
    with pytest.raises(OSError, match="cannot be read"):
        next(windows)


def test_a_window_within_one_zone_has_its_shape():
    zones = pixel_zones(window(9, 45, 30, 20))
    assert zones.shape == (20, 30) and (zones == 32).all()
