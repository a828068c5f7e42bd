import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from rio_cogeo.cogeo import cog_validate

from model.legend import LULC6
from transforms import store
from transforms.export import ZARR_SHARD, read_zarr, write_cog, write_tile, write_zarr
from transforms.layers import LAYERS
from transforms.mosaic import Window
from transforms.product import ProductGrid, ProductTile

GEOBOX = ProductGrid().geobox(6 * 12000, 24000, 2500, 2300)
LULC, AGE = LAYERS["lulc"], LAYERS["sar_age"]
TAGS = {"TITLE": "Land cover", "TARGET_DATE": "2024-06-15"}


def scene() -> dict[str, np.ndarray]:
    """Forest, with a cropland pixel in every 2 x 2 at the top left, and nodata at the right."""
    lulc = np.full(GEOBOX.shape, 10, np.uint8)
    lulc[:1000:2, :1000:2] = 40
    lulc[:, 2000:] = 0
    age = np.where(lulc > 0, np.int16(-3), np.int16(-32768))
    age[700:, :900] = 12
    return {"lulc": lulc, "sar_age": age}


PIXELS = scene()


def windows(size=ZARR_SHARD, names=("lulc", "sar_age")):
    for top in range(0, GEOBOX.height, size):
        for left in range(0, GEOBOX.width, size):
            rows = slice(top, min(top + size, GEOBOX.height))
            cols = slice(left, min(left + size, GEOBOX.width))
            yield Window(rows, cols, {name: PIXELS[name][rows, cols] for name in names})


@pytest.fixture(scope="module")
def cogs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("product")
    for layer in (LULC, AGE):
        write_cog(str(folder / f"{layer.name}.tif"), GEOBOX, layer, windows(), LULC6, TAGS)
    return folder


@pytest.mark.parametrize("layer", [LULC, AGE])
def test_cog_is_valid_and_holds_the_pixels(cogs, layer):
    path = cogs / f"{layer.name}.tif"
    valid, errors, warnings = cog_validate(path, strict=True)
    assert valid, (errors, warnings)
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(raster.read(1), PIXELS[layer.name])
        assert (raster.crs.to_epsg(), raster.nodata) == (4326, layer.nodata)
        assert raster.transform.to_gdal() == GEOBOX.gdal_transform
        assert raster.overviews(1) == [2, 4, 8]
        assert raster.block_shapes == [(512, 512)]
        assert raster.descriptions == (layer.name,)
        assert raster.tags()["TARGET_DATE"] == "2024-06-15"
        assert raster.tags(1)["DESCRIPTION"] == layer.description
        assert raster.units == (layer.unit or None,)
    # All of it is in the file but the names of classes, for which GeoTIFF has no place.
    names = ["lulc.tif", "lulc.tif.aux.xml", "sar_age.tif"]
    assert sorted(p.name for p in cogs.iterdir()) == names


def test_lulc_has_colours_names_and_mode_overviews(cogs):
    with rasterio.open(cogs / "lulc.tif") as raster:
        assert raster.colormap(1)[10] == (0, 100, 0, 255)
        assert raster.colormap(1)[0] == (0, 0, 0, 0)
        assert raster.tags(1)["CLASS_50"] == "built-up"
    with rasterio.open(cogs / "lulc.tif", overview_level=0) as half:
        # Nearest would show cropland all over the upper left: it is at every even pixel.
        assert (half.read(1)[:500, :500] == 10).mean() > 0.99
    with rasterio.open(cogs / "sar_age.tif", overview_level=1) as quarter:
        assert set(np.unique(quarter.read(1))) == {-32768, -3, 12}


def test_same_pixels_same_bytes_however_they_are_cut(cogs, tmp_path):
    for layer in (LULC, AGE):
        again = str(tmp_path / f"{layer.name}.tif")
        write_cog(again, GEOBOX, layer, windows(700), LULC6, TAGS)
        assert Path(again).read_bytes() == (cogs / f"{layer.name}.tif").read_bytes()


def test_a_failed_write_leaves_no_file(tmp_path):
    def torn():
        yield next(windows())
        raise OSError("the map cannot be read")

    with pytest.raises(OSError, match="cannot be read"):
        write_cog(str(tmp_path / "lulc.tif"), GEOBOX, LULC, torn(), LULC6, TAGS)
    assert list(tmp_path.iterdir()) == []


def test_a_tile_is_written_in_one_pass_and_no_cog_before_its_end(cogs, tmp_path):
    tile, both = ProductTile("N00E006", GEOBOX), (LULC, AGE)
    folder = tmp_path / "product" / "N00E006"

    def once():
        for window in windows():
            assert not list(folder.glob("*.tif"))
            yield window

    written = write_tile(str(tmp_path), tile, both, once(), LULC6, TAGS)
    for layer in both:
        expected = (cogs / f"{layer.name}.tif").read_bytes()
        assert Path(written[layer.name]).read_bytes() == expected
    window = next(read_zarr(str(folder / "N00E006.zarr"), ["sar_age"]))
    np.testing.assert_array_equal(
        window.layers["sar_age"], PIXELS["sar_age"][window.rows, window.cols]
    )
    shutil.rmtree(folder)

    def torn():
        yield next(windows())
        raise OSError("the map cannot be read")

    with pytest.raises(OSError, match="cannot be read"):
        write_tile(str(tmp_path), tile, both, torn(), LULC6, TAGS)
    assert not list(folder.rglob("*.tif"))


def write_product(url):
    attributes = {"title": "Land cover", "target_date": "2024-06-15"}
    write_zarr(url, GEOBOX, (LULC, AGE), windows(), LULC6, attributes)


def test_zarr_opens_in_xarray_with_crs(tmp_path):
    url = str(tmp_path / "N00E006.zarr")
    write_product(url)
    product = xr.open_zarr(url, consolidated=True, decode_coords="all")
    assert set(product.data_vars) == {"lulc", "sar_age"}
    assert product.rio.crs.to_epsg() == 4326
    assert product.rio.transform().to_gdal() == GEOBOX.gdal_transform
    assert product.rio.bounds() == pytest.approx(GEOBOX.bounds, abs=1e-12)
    for name, pixels in PIXELS.items():
        assert product[name].dtype == pixels.dtype
        np.testing.assert_array_equal(product[name], pixels)
    lulc = product.lulc
    assert lulc.rio.nodata == 0 and product.sar_age.rio.nodata == -32768
    meanings = dict(zip(lulc.flag_values, lulc.flag_meanings.split(), strict=True))
    assert meanings[50] == "built-up" and meanings[0] == "nodata"
    assert product.attrs["proj:code"] == "EPSG:4326"
    assert product.x.standard_name == "longitude" and product.y.units == "degrees_north"
    # Without decode_coords, as most people open it.
    assert xr.open_zarr(url).lulc.sel(x=6.01, y=1.99, method="nearest") == 10


def test_zarr_has_the_same_bytes_when_it_is_written_again(tmp_path):
    def digest(folder):
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        return {
            str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
        }

    first, second = tmp_path / "first.zarr", tmp_path / "second.zarr"
    write_product(str(first))
    before = digest(first)
    shutil.copytree(first, second)
    write_product(str(first))
    assert digest(first) == before
    shutil.rmtree(second)
    write_product(str(second))
    assert digest(second) == before


def test_cog_from_zarr_equals_cog_from_the_mosaic(cogs, tmp_path):
    url = f"memory://{tmp_path.name}/N00E006.zarr"
    write_product(url)
    target = f"memory://{tmp_path.name}/sar_age.tif"
    write_cog(target, GEOBOX, AGE, read_zarr(url, (AGE.name,)), LULC6, TAGS)
    assert store.read_bytes(target) == (cogs / "sar_age.tif").read_bytes()


def test_another_product_in_the_same_place_is_an_error(tmp_path):
    url = str(tmp_path / "N00E006.zarr")
    write_product(url)
    with pytest.raises(ValueError, match="2024-06-15, expected 2025-06-15"):
        write_zarr(url, GEOBOX, (LULC, AGE), [], LULC6, {"target_date": "2025-06-15"})
