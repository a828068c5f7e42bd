"""Products of a planet whose maps are perfect: two zones, four tiles and more, three CRSs."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr
from planet import micro_checkpoint
from pyproj import Geod, Transformer
from rio_cogeo.cogeo import cog_validate

from model import checkpoint
from model.legend import LULC6
from tests.stac_validation import validate
from transforms.grid import Grid
from transforms.lattice import pixel_centers
from transforms.layers import choose_layers
from transforms.mapcube import create_map_cube, map_cube_url, open_map_cube, write_core
from transforms.pixels.pairing import Pair, Regime
from transforms.plan_file import BlockRequest, write_plan
from transforms.product import ProductGrid, product_tiles, zarr_url
from transforms.publish import Publication, publish_collection, publish_tile
from transforms.scene import SENTINEL1, SENTINEL2, Scene
from transforms.stac_product import ProductRun
from transforms.zones import zone_epsg

DAY = date(2024, 6, 15)
GRID = Grid(chip_size=96, halo=16, blocks_per_tile=2)
# Around the border of zones 31 and 32, which is also where four tiles of 3 degrees meet.
REGION = shapely.Polygon(
    [(5.972, 50.985), (6.003, 50.981), (6.031, 50.996), (6.02, 51.018), (5.99, 51.021)]
)
PRODUCTS = {
    4326: ProductGrid(),
    6933: ProductGrid(6933, 10.0, 400),
    3035: ProductGrid(3035, 10.0, 400),
}
CODES = np.array([10, 30, 40, 50, 60, 80], np.uint8)


def truth(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Class codes of the planet: patches of a few hundred metres, without a zone or a tile."""
    wave = np.sin(lon * 1900) + np.sin(lat * 2300 + np.cos(lon * 700)) + 2
    return CODES[np.minimum(wave / 4 * 6, 5).astype(int)]


def of_zone(zone: int, easting: np.ndarray, northing: np.ndarray) -> np.ndarray:
    """What a perfect classifier maps at a point: the truth at the centre of its 10 m pixel."""
    # A map pixel reaches from its lower edge, not included, to its upper one.
    east = np.floor(easting / 10) * 10 + 5
    north = -np.floor(-northing / 10) * 10 - 5
    to_geographic = Transformer.from_crs(zone_epsg(zone), 4326, always_xy=True)
    return truth(*to_geographic.transform(east, north))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return micro_checkpoint(tmp_path_factory.mktemp("weights") / "micro.safetensors")


@pytest.fixture(scope="module")
def publication(weights, tmp_path_factory):
    """Maps of the region in both zones, as a perfect classifier writes them."""
    root = str(tmp_path_factory.mktemp("planet"))
    digest = checkpoint.load(weights).digest
    layers = choose_layers(("lulc",))
    run = ProductRun("planet", "the border", DAY, LULC6, layers, "perfect", digest, "0.1.0")
    moment = datetime(2024, 6, 14, 10, tzinfo=UTC)
    everywhere = (-180.0, -90.0, 180.0, 90.0)
    pair = Pair(
        *(
            (Scene(name, sensor, moment, moment, moment, everywhere),)
            for name, sensor in (("S2A_made", SENTINEL2), ("S1A_made", SENTINEL1))
        )
    )
    for tile in GRID.tiles_covering(REGION):
        create_map_cube(root, tile, GRID, layers, LULC6, run.made_from)
        keys = list(GRID.blocks(tile, REGION))
        write_plan(root, tile, [BlockRequest(key, pair, Regime.BOTH) for key in keys])
        cube = open_map_cube(root, tile, GRID)
        for key in keys:
            box = GRID.core_geobox(key)
            x, y = pixel_centers(box)
            pixels = of_zone(tile.zone, *np.meshgrid(x, y))
            write_core(cube, GRID, key, {"lulc": pixels})
    return Publication(root, REGION, GRID, run, weights)


@pytest.fixture(scope="module", params=PRODUCTS)
def product(publication, request):
    """(tiles, lulc by tile, STAC items by tile), published and read back."""
    tiles = product_tiles(REGION, PRODUCTS[request.param])
    for tile in tiles:
        publish_tile(tile, publication)
    publish_collection(tiles, publication)
    lulc, items = {}, {}
    for tile in tiles:
        folder = f"{publication.root}/product/{tile.name}/{tile.name}"
        assert cog_validate(f"{folder}_lulc.tif", strict=True)[0]
        with rasterio.open(f"{folder}_lulc.tif") as raster:
            lulc[tile] = raster.read(1)
        with open(f"{folder}.json") as file:
            items[tile] = json.load(file)
    return tiles, lulc, items


def test_mosaic_equals_the_truth_on_the_products_grid(product):
    tiles, lulc, _ = product
    assert len(tiles) >= 4
    zones, pixels = set(), 0
    for tile in tiles:
        x, y = np.meshgrid(*pixel_centers(tile.geobox))
        to_geographic = Transformer.from_crs(tile.geobox.epsg, 4326, always_xy=True)
        lon, lat = to_geographic.transform(x, y)
        expected = np.zeros(tile.geobox.shape, np.uint8)
        inside = shapely.contains_xy(REGION, lon, lat)
        for zone, mine in ((31, lon < 6), (32, lon >= 6)):
            mine = mine & inside
            to_utm = Transformer.from_crs(4326, zone_epsg(zone), always_xy=True)
            expected[mine] = of_zone(zone, *to_utm.transform(lon[mine], lat[mine]))
            zones |= {zone} if mine.any() else set()
        np.testing.assert_array_equal(lulc[tile], expected)
        # No gap at the border of zones, and nothing outside of the region.
        np.testing.assert_array_equal(lulc[tile] > 0, inside)
        pixels += inside.sum()
    assert zones == {31, 32} and pixels > 50_000
    assert len(np.unique(np.concatenate([a.ravel() for a in lulc.values()]))) == 7


def test_areas_are_those_of_the_region(product):
    tiles, _, items = product
    edges = shapely.segmentize(REGION, 0.001)
    whole = abs(Geod(ellps="WGS84").geometry_area_perimeter(edges)[0]) / 1e6
    for name in ("cloudlulc:mapped_km2", "cloudlulc:region_km2"):
        total = sum(item["properties"][name] for item in items.values())
        assert total == pytest.approx(whole, rel=1e-3), name
    classes = [item["properties"]["cloudlulc:class_area_km2"] for item in items.values()]
    # The truth, sampled far finer than the product.
    lon, lat = np.meshgrid(np.linspace(5.97, 6.035, 2600), np.linspace(50.98, 51.022, 2600))
    sampled = truth(lon, lat)[shapely.contains_xy(REGION, lon, lat)]
    for c in LULC6.classes:
        share = (sampled == c.code).mean()
        found = sum(areas.get(c.name, 0) for areas in classes)
        assert found == pytest.approx(share * whole, abs=1e-3 * whole), c.name


def test_stac_and_zarr_are_valid_and_say_whose_data_they_are(product, publication):
    tiles, lulc, items = product
    with open(f"{publication.root}/product/collection.json") as file:
        collection = json.load(file)
    for document in (collection, *items.values()):
        validate(document)
        properties = document.get("properties", document)
        assert properties["license"] == "CC-BY-4.0"
        assert properties["attribution"] == "Contains modified Copernicus Sentinel data 2024."
        assert properties["version"] == "2024-06-15"
        assert any(link["rel"] == "license" for link in document["links"])
    for tile, item in items.items():
        assert item["properties"]["cloudlulc:outside_region"] == "nodata"
        opened = xr.open_zarr(zarr_url(publication.root, tile.name))
        np.testing.assert_array_equal(opened.lulc, lulc[tile])
        assert opened.attrs["outside_region"] == "nodata"


def test_what_lies_outside_of_the_region_is_kept_on_demand(publication):
    tile = product_tiles(REGION, ProductGrid())[0]
    publish_tile(tile, replace(publication, keep_outside=True))
    with rasterio.open(f"{publication.root}/product/{tile.name}/{tile.name}_lulc.tif") as raster:
        everything = raster.read(1)
    publish_tile(tile, publication)
    with rasterio.open(f"{publication.root}/product/{tile.name}/{tile.name}_lulc.tif") as raster:
        masked = raster.read(1)
    inside = masked > 0
    np.testing.assert_array_equal(masked[inside], everything[inside])
    assert (everything[~inside] > 0).any()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("checkpoint_digest", "00" * 32),
        ("date", "2024-07-01"),
        ("legend", {"name": "other", "classes": []}),
    ],
)
def test_maps_of_another_network_date_or_legend_are_refused(publication, name, value):
    tile = next(GRID.tiles_covering(REGION))
    path = f"{map_cube_url(publication.root, tile)}/zarr.json"
    with open(path) as file:
        text = file.read()
    document = json.loads(text)
    document["attributes"][name] = value
    try:
        with open(path, "w") as file:
            json.dump(document, file)
        with pytest.raises(ValueError, match=f"made with {name} = "):
            for product_tile in product_tiles(REGION, ProductGrid()):
                publish_tile(product_tile, publication)
    finally:
        with open(path, "w") as file:
            file.write(text)
