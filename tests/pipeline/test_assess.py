"""`cloudlulc assess` and `cloudlulc agree`, from the command line to their files."""

import csv
import json

import numpy as np
import pytest
import rasterio
from made_products import DAY, geobox, make_product, patchwork

from pipeline.cli import main
from transforms.product import ProductTile

BOX = geobox(3.0, 50.0, 200, 160)
TILE = ProductTile("N49E003", BOX)


@pytest.fixture(scope="module")
def layers():
    return patchwork(np.random.default_rng(3), *BOX.shape)


@pytest.fixture
def run(layers, tmp_path):
    return make_product(str(tmp_path / "run"), DAY, {TILE: layers})


def design(run, path, *options):
    return main(["assess", "design", run, f"--out={path}", "--minimum=5", *options])


def test_design_fill_estimate(run, tmp_path, capsys):
    table, figures = tmp_path / "sample.csv", tmp_path / "accuracy.json"
    assert design(run, table, "--size=300", "--seed=2") == 0
    printed = capsys.readouterr().out
    assert "forest/cloudy" in printed and f"samples in {table}" in printed

    with open(table) as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["reference_class"] = row["map_class"]
    with open(table, "w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert main(["assess", "estimate", run, f"--sample={table}", f"--json={figures}"]) == 0
    overall = json.loads(figures.read_text())["overall_accuracy"]
    assert overall["value"] == overall["high"] == 1
    assert overall["low"] < 1
    assert overall["interval"] == "mid-p gamma"
    assert "overall accuracy  100.0 %" in capsys.readouterr().out

    rows[0]["selection"] = "chosen"
    with open(table, "w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert main(["assess", "estimate", run, f"--sample={table}"]) == 1
    printed = capsys.readouterr().out
    assert "row 1 was not drawn at random" in printed
    assert "300 of 300 samples agree" in printed


def test_the_same_seed_gives_the_same_bytes(run, tmp_path):
    paths = [tmp_path / name for name in ("a.geojson", "b.geojson", "c.geojson")]
    for path, seed in zip(paths, (5, 5, 6), strict=True):
        assert design(run, path, f"--seed={seed}") == 0
    a, b, c = (path.read_bytes() for path in paths)
    assert a == b != c


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--standard-error=0"], "standard error: got 0.0"),
        (["--expect=jungle=0.9"], "there is no jungle"),
        (["--minimum=1"], "2 or more in each stratum"),
    ],
)
def test_bad_designs_write_nothing(run, tmp_path, capsys, options, message):
    table = tmp_path / "sample.csv"
    assert design(run, table, *options) == 2
    assert message in capsys.readouterr().err
    assert not table.exists()


def test_a_table_that_may_be_filled_is_not_overwritten(run, tmp_path, capsys):
    table = tmp_path / "sample.csv"
    assert design(run, table) == 0
    before = table.read_bytes()
    assert design(run, table) == 2
    assert "is there already" in capsys.readouterr().err
    assert table.read_bytes() == before


@pytest.fixture
def worldcover(layers, tmp_path):
    """A raster on the product's grid that says of every forest that it is shrubland."""
    codes = np.where(layers["lulc"] == 10, 20, layers["lulc"]).astype(np.uint8)
    path = tmp_path / "worldcover.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=BOX.width,
        height=BOX.height,
        count=1,
        dtype="uint8",
        crs="EPSG:4326",
        transform=rasterio.Affine(BOX.resolution, 0, BOX.x0, 0, -BOX.resolution, BOX.y0),
        nodata=0,
    ) as raster:
        raster.write(codes, 1)
    return str(path)


def test_agree_writes_figures_table_and_maps(run, worldcover, tmp_path, capsys):
    west, north, east = BOX.x0, BOX.y0, BOX.x0 + BOX.width * BOX.resolution
    ring = [[west, 49.9], [(west + east) / 2, 49.9], [(west + east) / 2, north], [west, north]]
    regions = tmp_path / "regions.geojson"
    feature = {
        "type": "Feature",
        "properties": {"district": "west"},
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
    }
    regions.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    command = ["agree", run, "--with", "worldcover", worldcover, f"--regions={regions}"]
    assert main([*command, "--region-name=district"]) == 0
    reports = tmp_path / "run" / "reports"
    document = json.loads((reports / "agreement.json").read_text())["worldcover"]
    everything, west_half = document["places"]
    assert everything["classes"]["forest"]["both_km2"] == 0
    assert everything["classes"]["water"]["of_ours"] == 1
    assert (west_half["place"], everything["place"]) == ("west", "all that is mapped")
    assert west_half["mapped_km2"] == pytest.approx(everything["mapped_km2"] / 2, rel=0.01)
    assert (reports / "agreement.txt").read_text() == capsys.readouterr().out
    with rasterio.open(reports / "agreement/N49E003_worldcover.tif") as raster:
        assert set(np.unique(raster.read(1))) == {0, 1, 23}

    assert main(command) == 2
    assert "has no property name, it has district" in capsys.readouterr().err


def test_agreement_of_several_maps_stands_in_one_file(run, worldcover, tmp_path):
    out = tmp_path / "out"
    for name in ("worldcover", "esri"):
        raster = worldcover
        if name == "esri":
            raster = str(tmp_path / "esri.tif")
            with rasterio.open(worldcover) as source:
                profile, shape = source.profile, source.shape
            with rasterio.open(raster, "w", **profile) as target:
                target.write(np.full(shape, 2, np.uint8), 1)
        assert main(["agree", run, "--with", name, raster, f"--out={out}"]) == 0
    document = json.loads((out / "agreement.json").read_text())
    assert set(document) == {"worldcover", "esri"}
    assert document["esri"]["places"][0]["classes"]["forest"]["of_ours"] == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (["corine", "x.tif"], "expected one of worldcover, dynamicworld, esri"),
        (["esri", "gone.tif"], "cannot be opened"),
        (["dynamicworld", None], "declares nodata 0, expected 255"),
    ],
)
def test_other_maps_that_cannot_be_used(run, worldcover, tmp_path, capsys, other, message):
    name, path = other
    out = tmp_path / "out"
    assert main(["agree", run, "--with", name, path or worldcover, f"--out={out}"]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
