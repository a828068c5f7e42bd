"""The command line as a user meets it: help, bad input, exit codes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from planet import micro_checkpoint

from model.inputs import INPUTS
from model.legend import LULC6
from model.precision import bfloat16_is_fast
from pipeline.cli import main

ROOT = Path(__file__).parent.parent.parent
SAMPLE = ROOT / "data" / "sample"
DEMO = {run["name"]: run for run in json.loads((SAMPLE / "demo.json").read_text())}
PLACE = DEMO["ireland-east"]


@pytest.fixture
def catalog(tmp_path):
    """One pair of the sample, which a test may spoil."""
    shutil.copytree(SAMPLE / "bigearthnet", tmp_path / "catalog" / "bigearthnet")
    return tmp_path / "catalog"


@pytest.fixture
def command(tmp_path, catalog):
    def arguments(**changes) -> list[str]:
        options = {
            "region": str(SAMPLE / PLACE["region"]),
            "date": PLACE["date"],
            "source": f"files:{catalog}",
            "out": str(tmp_path / "out"),
            "checkpoint": micro_checkpoint(tmp_path / "weights" / "micro.safetensors"),
            "chip-size": "96",
            "halo": "16",
            "threads": "1",
        } | changes
        return ["run", *(f"--{k}={v}" for k, v in options.items() if v is not None)]

    return arguments


def item_of(catalog: Path, sensor: str) -> Path:
    """The item of the sample pair that the tests map."""
    day = PLACE["date"].replace("-", "")
    found = [p for p in catalog.rglob("*.json") if p.stem.startswith(sensor) and day in p.stem]
    assert found, "the sample has no such item"
    return sorted(found)[0]


def files_of(item: Path) -> list[Path]:
    assets = json.loads(item.read_text())["assets"].values()
    return [item.parent / a["href"] for a in assets if a["href"].endswith(".tif")]


def refused(capsys, arguments: list[str], tmp_path: Path, *says: str) -> str:
    assert main(arguments) == 2
    message = capsys.readouterr().err
    for words in says:
        assert words in message
    assert not (tmp_path / "out").exists(), "something was written"
    return message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"region": "atlantis"}, ["region: got 'atlantis'"]),
        ({"region": "10,70,20,86"}, ["cut the polygon there"]),
        ({"date": "17.06.2017"}, ["expected YYYY-MM-DD"]),
        ({"source": "ftp:x"}, ["source: got 'ftp:x'", "files"]),
        ({"source": "files:/nowhere"}, ["/nowhere"]),
        ({"chip-size": "64", "halo": "32"}, ["not larger than its two halos"]),
        ({"layers": "lulc,ndvi"}, ["ndvi", "reliability"]),
        ({"checkpoint": "/nowhere.safetensors"}, ["/nowhere.safetensors"]),
        ({"max-requests": "0"}, ["max-requests", "got 0"]),
        ({"threads": "0"}, ["threads: got 0"]),
        ({"date": "0001-01-01"}, ["date: got 0001-01-01", "2014"]),
        ({"max-sar-days": "100000"}, ["100000", "366"]),
        ({"product-epsg": "999999"}, ["EPSG:999999"]),
        ({"product-epsg": "2154"}, ["EPSG:2154", "choose a CRS"]),
        ({"product-resolution": "nan"}, ["positive"]),
        pytest.param(
            {"device": "cuda"},
            ["device: got cuda"],
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        ({"date": None}, ["--date is missing"]),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_wrong_options_are_refused(command, capsys, tmp_path, changes, says):
    refused(capsys, command(**changes), tmp_path, *says)


def test_an_output_folder_that_cannot_be_one_is_refused(command, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    for out in ("file", "file/below"):
        assert main(command(out=tmp_path / out)) == 2
        assert "no folder that can be written to" in capsys.readouterr().err


def test_what_an_unknown_run_left_is_not_gone_on_with(command, capsys, tmp_path):
    (tmp_path / "out" / "chips").mkdir(parents=True)
    assert main(command()) == 2
    assert "holds chips but no run.json" in capsys.readouterr().err


def test_products_are_not_written_into_the_catalogue(command, capsys, catalog):
    assert main(command(out=catalog / "out")) == 2
    assert "lies inside the catalogue" in capsys.readouterr().err
    assert not (catalog / "out").exists()


def test_a_projected_product_has_pixels_of_ten_metres(command, tmp_path):
    assert main(command(**{"product-epsg": "3035"})) == 0
    (lulc,) = (tmp_path / "out" / "product").glob("*/*_lulc.tif")
    with rasterio.open(lulc) as raster:
        assert raster.crs.to_epsg() == 3035
        assert raster.res == (10, 10)
        assert (raster.read(1) > 0).mean() > 0.5


def test_jobs_after_ingest_do_not_need_the_imagery(command, tmp_path, catalog):
    arguments = command()
    assert main(["ingest", *arguments[1:]]) == 0
    shutil.rmtree(catalog)
    assert main(["classify", f"--out={tmp_path / 'out'}", "--threads=1"]) == 0
    assert main(["mosaic", f"--out={tmp_path / 'out'}"]) == 0
    assert list((tmp_path / "out" / "product").glob("*/*_lulc.tif"))


@pytest.mark.skipif(not bfloat16_is_fast("cpu"), reason="no AVX512-BF16 here")
def test_a_map_in_bfloat16_says_so_and_is_another_run(command, capsys, tmp_path):
    assert main([*command(), "--precision=bfloat16"]) == 0
    (item,) = (tmp_path / "out" / "product").glob("*/*.json")
    assert json.loads(item.read_text())["properties"]["cloudlulc:precision"] == "bfloat16"
    assert main([*command(), "--precision=float32"]) == 2
    assert "its precision is bfloat16, this run's is float32" in capsys.readouterr().err


def test_a_mosaic_without_maps_says_what_is_missing(command, capsys):
    assert main(["mosaic", *command()[1:]]) == 1
    assert "nothing was mapped yet: cloudlulc run --out" in capsys.readouterr().err


def test_unknown_beam_flags_are_refused(command, capsys, tmp_path):
    refused(capsys, [*command(), "--", "--direct_num_wrokers=2"], tmp_path, "direct_num_wrokers")
    refused(capsys, [*command(), "--", "two"], tmp_path, "'two'")
    refused(capsys, [*command(), "--", "--runner=DaskRunner"], tmp_path, "silently loses results")


def test_unknown_flags_of_ours_are_refused(command, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([*command(), "--direct_num_workers=2"])
    assert exit_info.value.code == 2
    assert "direct_num_workers" in capsys.readouterr().err


@pytest.mark.parametrize("sensor", ["S1", "S2"])
def test_a_truncated_file_is_named(command, capsys, tmp_path, catalog, sensor):
    path = files_of(item_of(catalog, sensor))[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    refused(capsys, command(), tmp_path, path.name)


def test_an_unreadable_file_is_named(command, capsys, tmp_path, catalog):
    path = files_of(item_of(catalog, "S2"))[0]
    path.write_bytes(b"not a TIFF")
    refused(capsys, command(), tmp_path, path.name)


def test_an_item_without_crs_is_named(command, capsys, tmp_path, catalog):
    item = item_of(catalog, "S2")
    path = files_of(item)[0]
    with rasterio.open(path) as source:
        pixels, profile = source.read(), source.profile
    path.unlink()
    profile.pop("crs")
    with rasterio.open(path, "w", **profile) as target:
        target.write(pixels)
    refused(capsys, command(), tmp_path, "CRS", path.name)


def test_a_missing_band_is_named(command, capsys, tmp_path, catalog):
    item = item_of(catalog, "S1")
    document = json.loads(item.read_text())
    bands = document["assets"]["sar"]["bands"]
    bands[:] = [band for band in bands if band["name"] != "VH"]
    assert len(bands) == 1
    item.write_text(json.dumps(document))
    refused(capsys, command(), tmp_path, document["id"], "VH", "cloudlulc:missing_bands")


def test_a_checkpoint_of_other_bands_or_legend_is_refused(command, capsys, tmp_path):
    optical = INPUTS.optical._replace(bands=INPUTS.optical.bands[::-1])
    other = micro_checkpoint(
        tmp_path / "bands.safetensors", inputs=INPUTS._replace(optical=optical)
    )
    refused(capsys, command(checkpoint=other), tmp_path, "inputs")
    legend = LULC6._replace(name="other", classes=LULC6.classes[::-1])
    legend = legend._replace(
        classes=tuple(c._replace(index=i) for i, c in enumerate(legend.classes))
    )
    other = micro_checkpoint(tmp_path / "legend.safetensors", legend=legend)
    refused(capsys, command(checkpoint=other), tmp_path, "legend")


def test_a_file_that_is_no_checkpoint_is_refused(command, capsys, tmp_path):
    fake = tmp_path / "fake.safetensors"
    fake.write_bytes(b"\x80\x04pickle")
    refused(capsys, command(checkpoint=fake), tmp_path, "fake.safetensors")


def test_the_folder_of_another_run_is_kept(command, capsys, tmp_path):
    assert main(command()) == 0
    files = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    capsys.readouterr()
    assert main(command(date="2017-06-18")) == 2
    message = capsys.readouterr().err
    assert "holds another run: its date is 2017-06-17, this run's is 2017-06-18" in message
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == files


def test_a_run_goes_on_with_out_alone_and_info_tells_about_it(command, capsys, tmp_path):
    assert main(command()) == 0
    first = capsys.readouterr()
    assert "km2" in first.out and "ingest: " in first.err
    assert main(["run", "--out", str(tmp_path / "out"), "--threads=1"]) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert again.err.count("nothing to do") == 3
    assert main(["info", str(tmp_path / "out")]) == 0
    assert "ingest: 0, classify: 0, mosaic: 0" in capsys.readouterr().out


def test_failed_blocks_end_the_run_with_exit_code_1(command, capsys, tmp_path, catalog):
    """A file that breaks between the check and the fetch: one dead letter, nothing else lost."""
    from pipeline import launch

    arguments = command()
    path = files_of(item_of(catalog, "S2"))[0]
    check = launch.check

    def check_then_break(*args):
        check(*args)
        data = bytearray(path.read_bytes())
        data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
        path.write_bytes(data)

    launch.check = check_then_break
    try:
        assert main(arguments) == 1
    finally:
        launch.check = check
    message = capsys.readouterr().err
    assert path.name in message and "ingest failed" in message
    letters = (tmp_path / "out" / "failures" / "ingest.jsonl").read_text().splitlines()
    assert letters and {"key", "stage", "error"} == set(json.loads(letters[0]))


def test_info_on_regions_and_checkpoints(capsys, tmp_path):
    assert main(["info", "regions"]) == 0
    assert "ghana" in capsys.readouterr().out.split()
    assert main(["info", micro_checkpoint(tmp_path / "micro.safetensors")]) == 0
    assert "B8A" in capsys.readouterr().out
    assert main(["info", str(tmp_path)]) == 2


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from pipeline.cli import main\n"
        "try:\n    main(['run', '--help'])\nexcept SystemExit as done:\n    assert done.code == 0\n"
        "heavy = {'numpy', 'torch', 'apache_beam', 'rasterio', 'zarr', 'xarray', 'shapely'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--region" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_torch_is_for_who_classifies_alone():
    code = (
        "import sys\n"
        "import pipeline.chain, pipeline.jobs, transforms.fetch, transforms.publish\n"
        "print(sorted({'torch', 'scipy.optimize', 'pipeline.jobs'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["['pipeline.jobs']"], done.stderr


def test_python_m_pipeline_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "--version"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.startswith("cloudlulc ")


def test_a_box_with_a_negative_corner_is_a_region(command, capsys, tmp_path):
    arguments = command(region=None, date="2017")
    assert main([*arguments, "--region", "-17,13,-13,14"]) == 2
    assert "expected YYYY-MM-DD" in capsys.readouterr().err


def test_layers_can_be_chosen(command, tmp_path):
    assert main(command(layers="lulc,confidence")) == 0
    (product,) = [p for p in (tmp_path / "out" / "product").iterdir() if p.is_dir()]
    assert {p.stem.split("_")[1] for p in product.glob("*.tif")} == {"lulc", "confidence"}
    with rasterio.open(next(product.glob("*_lulc.tif"))) as lulc:
        assert set(np.unique(lulc.read())) <= {0, 10, 30, 40, 50, 60, 80}
