"""A run's configuration: what is refused before anything is written, and what run.json keeps."""

from datetime import date

import pytest
import shapely

from pipeline.config import RunConfig
from pipeline.launch import create_maps
from pipeline.region import Region
from pipeline.run_document import from_dict
from transforms.grid import Grid
from transforms.pixels.pairing import PairRule
from transforms.product import ProductGrid


def run_with(**changes) -> RunConfig:
    region = Region("box", shapely.box(6, 50, 6.1, 50.1))
    rule = PairRule(date(2024, 6, 15))
    return RunConfig(region, rule, "synthetic:seed=1", "out", "weights", "00" * 32, **changes)


@pytest.mark.parametrize(
    ("product", "choose"),
    [
        (ProductGrid(resolution=1 / 30000), "4.5e-05"),
        (ProductGrid(3035, 4.9), "choose 5 or more"),
        (ProductGrid(6933, 1.0), "choose 5 or more"),
    ],
)
def test_a_product_grid_finer_than_half_a_map_pixel_is_refused(product, choose):
    with pytest.raises(ValueError, match="finer than half") as error:
        run_with(product=product)
    assert choose in str(error.value)


@pytest.mark.parametrize("product", [ProductGrid(), ProductGrid(3035, 5.0), ProductGrid(6933)])
def test_half_a_map_pixel_is_not(product):
    assert run_with(product=product).product == product


def test_what_is_shown_outside_of_the_region_decides_the_run():
    plain, whole = run_with(), run_with(keep_outside=True)
    assert plain.id != whole.id
    assert whole.publication().keep_outside and not plain.publication().keep_outside
    assert from_dict(whole.to_dict(), "out").keep_outside


def test_the_precision_decides_the_run_and_is_told_in_its_product():
    plain, half = run_with(), run_with(precision="bfloat16")
    assert plain.id != half.id
    assert from_dict(half.to_dict(), "out") == half
    told = [run.publication().run.precision for run in (plain, half)]
    assert told == ["float32", "bfloat16"]
    with pytest.raises(ValueError, match="precision: got 'int8', expected one of float32"):
        run_with(precision="int8")


@pytest.mark.parametrize(
    ("changes", "blended"),
    [({}, True), ({"blend": False}, False), ({"grid": Grid(chip_size=448, halo=0)}, False)],
)
def test_blending_decides_the_run_and_needs_an_overlap(tmp_path, changes, blended):
    run = run_with(**changes)
    assert run.blended == blended and run.publication().blended == blended
    assert from_dict(run.to_dict(), "out").blend == run.blend
    assert (run.id == run_with().id) == (not changes)
    (tile, *_) = run.tiles()
    create_maps(run, tile, str(tmp_path))
    assert any(tmp_path.rglob("edges")) == blended


def test_layers_on_demand_are_asked_for_by_name_and_once():
    assert "quality" in run_with(layers=("lulc", "quality")).layers
    for layers in (("confidence",), ("lulc", "lulc"), ("lulc", "snow")):
        with pytest.raises(ValueError, match="layers"):
            run_with(layers=layers)
