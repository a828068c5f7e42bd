"""Data sets made of the synthetic planet: pixels, labels, masks and splits, and that they train."""

import csv
import json
from datetime import date

import numpy as np
import pytest
import rasterio
from made_set import read
from planet import MICRO

from model import train as training
from model.dataset import check, read_samples, read_split
from model.legend import CROSSWALKS, LULC6
from pipeline.cli import main
from transforms.dataset_build import SplitRule
from transforms.grid import BlockKey, GeoBox, Grid
from transforms.pixels.pairing import PairRule
from transforms.pixels.prepare import PixelOptions, prepare_block
from transforms.plan import plan_tile
from transforms.sources.synthetic import SyntheticSource

REGION = "14.99,45.13,15.01,45.14"
SOURCE = "synthetic:seed=3,cloud=0.3"
DAY = "2024-06-15"
BOX = GeoBox(32633, 497000, 5002000, 10, 600, 600)
GRID = Grid(chip_size=64, halo=0)


def write_labels(path, box, codes):
    x0, dx, _, y0, _, dy = box.gdal_transform
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=box.height, width=box.width, dtype="uint8",
        crs=f"EPSG:{box.epsg}", transform=rasterio.Affine(dx, 0, x0, 0, dy, y0), nodata=0,
    ) as file:  # fmt: skip
        file.write(codes, 1)


def build(root, labels, *options, source=SOURCE):
    return main(
        ["dataset", "build", str(root), "--region", REGION, "--date", DAY, "--source", source,
         "--labels", str(labels), "--label-product", "worldcover", "--patch", "64", "--blocks", "4",
         "--shares", "50,25,25", *options]
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set of four blocks; labels are the planet's truth."""
    folder = tmp_path_factory.mktemp("made")
    write_labels(folder / "labels.tif", BOX, LULC6.codes(SyntheticSource(3).truth(BOX)))
    assert build(folder / "set", folder / "labels.tif") == 0
    return folder


def rows(root):
    return [
        row
        for split in ("train", "val", "test")
        for row in csv.DictReader(open(root / "split" / f"{split}.csv"))
    ]


def key_of(name):
    place, cell = name.rsplit("_20240615", 1)[0].split("N_")[1].split("_")
    x, y = (int(part) for part in place[1:].split("y"))
    return BlockKey(33, x, y, *(int(part) for part in cell[1:].split("c")))


def test_patches_are_the_chips_of_a_run_with_labels_and_masks(made):
    source = SyntheticSource(3, 0.3)
    rule = PairRule(date.fromisoformat(DAY))
    row = next(r for r in rows(made / "set") if r["label"].endswith("_p2.tif"))
    key = key_of(row["label"].split("/")[1])
    (request,) = plan_tile(key.tile, [key], GRID, rule, source)
    options = PixelOptions(inputs="trust")
    chips = prepare_block(key, request.pair, rule.target, GRID, source.read, options)
    np.testing.assert_array_equal(read(made / "set" / row["opt_cloudy"]), chips.optical[2])
    sar = [read(made / "set" / row[f"sar_{p}"])[0] for p in ("vv", "vh")]
    np.testing.assert_array_equal(sar, chips.sar[2])
    with rasterio.open(made / "set" / row["label"]) as file:
        left, top = file.transform.c, file.transform.f
        assert file.crs.to_epsg() == 32633
        box = GeoBox(32633, left, top, 10, 64, 64)
        np.testing.assert_array_equal(file.read(1), source.truth(box))
    cloud, shadow = source.cloud_mask(request.pair.optical[0], box)
    np.testing.assert_array_equal(read(made / "set" / row["cloud"])[0], cloud | shadow)


def test_places_never_share_a_split_and_every_split_reads(made):
    of_place = {}
    for split in ("train", "val", "test"):
        listed = read_split(made / "set", split)
        check(listed)
        for row in listed:
            assert of_place.setdefault(row.place, split) == split
    assert sorted(of_place.values()) == ["test", "train", "train", "val"]


def test_a_clear_image_is_clear_and_left_out_where_there_is_none(made):
    clear = [row for row in rows(made / "set") if row["opt_clear"]]
    assert 0 < len(clear) < 16
    for row in clear:
        image = read(made / "set" / row["opt_clear"])
        if (image == read(made / "set" / row["opt_cloudy"])).all():
            assert read(made / "set" / row["cloud"]).mean() <= 0.05
    with_none = next(s for s in rows(made / "set") if not s["opt_clear"])
    assert read(made / "set" / with_none["cloud"]).mean() > 0.05


def test_a_build_that_was_stopped_ends_as_an_undisturbed_one(made, tmp_path, capsys):
    def files(root):
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    again = tmp_path / "set"
    assert build(again, made / "labels.tif") == 0
    assert files(again) == files(made / "set")
    kept = next((again / "blocks").rglob("*.json"))
    stamp = kept.stat().st_mtime_ns
    for record in list((again / "blocks").rglob("*.json"))[1:]:
        record.unlink()
    for path in (again / "Label").iterdir():
        if path.name.startswith("33N") and "_p0" in path.name:
            path.unlink()
    for row in json.loads(kept.read_text())["patches"]:
        (again / row["label"]).write_bytes((made / "set" / row["label"]).read_bytes())
    assert build(again, made / "labels.tif") == 0
    assert files(again) == files(made / "set") and kept.stat().st_mtime_ns == stamp
    capsys.readouterr()
    assert build(again, made / "labels.tif", "--seed", "1") == 2
    assert "built with other options (seed" in capsys.readouterr().err


def test_patches_without_label_or_sensor_are_counted_and_left_out(made, tmp_path, capsys):
    codes = LULC6.codes(SyntheticSource(3).truth(BOX))
    codes[:, :300] = 0
    write_labels(tmp_path / "half.tif", BOX, codes)
    root = tmp_path / "set"
    assert build(root, tmp_path / "half.tif", "--shares", "100,0,0", "--inputs", "trust") == 0
    told = capsys.readouterr().out
    left_out = int(told.split("left out, no label: ")[1].split()[0])
    assert left_out > 0 and left_out + len(read_split(root, "train")) == 16
    without = tmp_path / "without"
    assert build(without, made / "labels.tif", source="synthetic:seed=3,without=sentinel-1") == 1
    told = capsys.readouterr().out
    assert "left out, no SAR: 16" in told and "without a list: train, val, test" in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shares", "1,2"), "shares: got"),
        (("--split-by-place", "tile"), "split by tile: the region holds"),
        (("--patch", "50"), "chip of 50 px"),
        (("--label-product", "corine"), "got 'corine', expected one of"),
        (("--labels", "nowhere"), "there is no GeoTIFF"),
        (("--clear-days", "-1"), "--clear-days: got -1"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(made, tmp_path, capsys, options, message):
    assert build(tmp_path / "set", made / "labels.tif", *options) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "set").exists()


def test_every_split_with_a_share_gets_a_place():
    keys = [BlockKey(33, 0, 0, row, col) for row in range(4) for col in range(5)]
    count = lambda rule: sorted(  # noqa: E731
        list(rule.assign(keys).values()).count(s) for s in ("train", "val", "test")
    )
    assert count(SplitRule(shares=(70, 10, 20))) == [2, 4, 14]
    assert count(SplitRule(shares=(98, 1, 1))) == [1, 1, 18]
    assert count(SplitRule(shares=(0, 0, 1))) == [0, 0, 20]
    assert SplitRule(seed=1).assign(keys) != SplitRule().assign(keys)
    assert SplitRule().assign(reversed(keys)) == SplitRule().assign(keys)


def test_a_made_set_trains_and_is_scored(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(training.PRESETS, "micro", MICRO)
    training.train(
        made / "set", tmp_path / "run", "micro", steps=3, batch=2, crop=32, threads=1, bf16=False
    )
    options = ["--checkpoint", str(tmp_path / "run" / "checkpoint.safetensors"), "--threads", "1"]
    assert main(["evaluate", str(made / "set"), *options, "--json", str(tmp_path / "x.json")]) == 0
    found = json.loads((tmp_path / "x.json").read_text())
    samples = list(read_samples(made / "set", "test"))
    assert [s["cloud"] for s in found["samples"]] == [s.cloud.mean() for s in samples]
    assert {s["place"] for s in found["samples"]} == {s.place for s in samples}
    assert set(CROSSWALKS["worldcover"].table) >= {c.code for c in LULC6.classes}
