"""`cloudlulc evaluate`: its JSON against counts made here, what is refused, and going on."""

import json
from collections import Counter

import numpy as np
import pytest
from made_set import make_set, read, write
from planet import micro_checkpoint

from model import dataset as split_files
from model import scored_split
from model.checkpoint import load
from model.inputs import INPUTS
from model.legend import LULC6
from model.patch import read_sample
from model.precision import bfloat16_is_fast
from model.predict import Predictor
from pipeline.cli import main
from transforms.pixels.spectral_clouds import spectral_mask

COVERS = (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return micro_checkpoint(tmp_path_factory.mktemp("weights") / "micro.safetensors")


@pytest.fixture
def dataset(tmp_path):
    return make_set(tmp_path / "set", COVERS)


def evaluate(dataset, weights, out, *options):
    return main(
        ["evaluate", str(dataset), "--checkpoint", weights, "--json", str(out), "--threads", "1",
         "--bootstrap", "20", *options]
    )  # fmt: skip


def counted(dataset, name, weights, optical=True, sar=True):
    """(6, 6) counts by the network on the files as they lie there."""
    cloudy = read(dataset / "Opt_S2_cloudy" / f"{name}.tif")
    decibel = np.stack([read(dataset / f"SAR_S1/{p}/{name}.tif")[0] for p in ("VV", "VH")])
    chips = (
        cloudy if optical else np.zeros_like(cloudy),
        np.rint(100 * decibel).astype(np.int16) if sar else np.full((2, 32, 32), -32768, np.int16),
    )
    codes = Predictor(load(weights), threads=1).predict(*(c[None] for c in chips)).lulc[0]
    label, matrix = read(dataset / "Label" / f"{name}.tif")[0], np.zeros((6, 6), int)
    for truth, index in zip(label.ravel(), LULC6.indices(codes).ravel(), strict=True):
        if truth != 255:
            matrix[truth, index] += 1
    return matrix.tolist()


def test_the_json_holds_the_counts_of_every_sample(dataset, weights, tmp_path, capsys):
    assert evaluate(dataset, weights, tmp_path / "all.json", "--modalities") == 0
    found = json.loads((tmp_path / "all.json").read_text())
    for i, (sample, cover) in enumerate(zip(found["samples"], COVERS, strict=True)):
        assert (sample["name"], sample["cloud"]) == (f"p{i}", cover)
        assert sample["confusion"] == counted(dataset, f"p{i}", weights)
    for name, sensors in (("s1", {"optical": False}), ("s2", {"sar": False})):
        sample = found["modalities"][name]["samples"][1]
        assert sample["confusion"] == counted(dataset, "p1", weights, **sensors)
    total = np.sum([s["confusion"] for s in found["samples"]], 0)
    assert found["overall"]["oa"] == pytest.approx(np.trace(total) / total.sum())
    assert [b["samples"] for b in found["cloud_bins"].values()] == [1] * 5
    told = capsys.readouterr().out
    assert f"{100 * found['overall']['oa']:.2f}" in told and "truth \\ map" in told
    assert evaluate(dataset, weights, tmp_path / "s1.json", "--sensors", "s1") == 0
    alone = json.loads((tmp_path / "s1.json").read_text())
    assert alone["samples"] == found["modalities"]["s1"]["samples"]


@pytest.mark.skipif(not bfloat16_is_fast("cpu"), reason="no AVX512-BF16 here")
def test_the_precision_is_the_networks_and_told(dataset, weights, tmp_path):
    scores = []
    for precision in ("float32", "bfloat16"):
        out = tmp_path / f"{precision}.json"
        assert evaluate(dataset, weights, out, "--precision", precision) == 0
        scores.append(json.loads(out.read_text()))
        assert scores[-1]["precision"] == precision
    pixels = [np.sum([s["confusion"] for s in found["samples"]], 0) for found in scores]
    assert pixels[0].sum() == pixels[1].sum()
    assert 0 < np.abs(pixels[0] - pixels[1]).sum() < 0.1 * pixels[0].sum()
    crosswalk = ("--product", "maps", "--crosswalk", "lulc6", "--precision", "bfloat16")
    assert main(["evaluate", str(dataset), *crosswalk]) == 2


def test_without_masks_clouds_are_found_by_spectrum(weights, tmp_path):
    dataset = make_set(tmp_path / "set", (0.0, 1.0), masks=False)
    assert evaluate(dataset, weights, tmp_path / "out.json") == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["cloud"] == "spectral mask"
    images = [read(dataset / "Opt_S2_cloudy" / f"p{i}.tif") for i in range(2)]
    assert [s["cloud"] for s in found["samples"]] == [spectral_mask(i).mean() for i in images]
    assert found["samples"][1]["cloud"] == 1.0


def test_an_evaluation_goes_on_where_it_stopped(dataset, weights, tmp_path, capsys):
    whole, part = tmp_path / "whole.json", tmp_path / "part.json"
    assert evaluate(dataset, weights, whole) == 0
    lines = (tmp_path / "whole.counts.jsonl").read_bytes().splitlines(keepends=True)
    counts = tmp_path / "part.counts.jsonl"
    counts.write_bytes(b"".join(lines[:3]) + lines[3][:40])  # killed while it wrote the third
    capsys.readouterr()
    assert evaluate(dataset, weights, part, "--resume") == 0
    assert "5 of 5" in (said := capsys.readouterr().err) and "2 of 5" not in said
    assert part.read_bytes() == whole.read_bytes()
    # What is done is not done again: a line that was changed shows in the result.
    changed = json.loads(lines[1]) | {"unmapped": 17}
    counts.write_bytes(lines[0] + json.dumps(changed).encode() + b"\n" + b"".join(lines[2:]))
    assert evaluate(dataset, weights, part, "--resume") == 0
    assert json.loads(part.read_text())["samples"][0]["unmapped"] == 17
    assert evaluate(dataset, weights, part, "--resume", "--labels-from-1") == 2
    assert "is of another evaluation" in capsys.readouterr().err
    assert evaluate(dataset, weights, part) == 0 and part.read_bytes() == whole.read_bytes()


def test_samples_that_memory_holds_are_read_once(dataset, weights, tmp_path, monkeypatch):
    reads: Counter = Counter()

    def counting(row, labels_from_1=False):
        reads[row.name] += 1
        return read_sample(row, labels_from_1)

    for module in (split_files, scored_split):
        monkeypatch.setattr(module, "read_sample", counting)
    assert evaluate(dataset, weights, tmp_path / "once.json", "--modalities") == 0
    assert set(reads.values()) == {1}
    reads.clear()
    monkeypatch.setattr(scored_split, "KEPT", 40_000)  # bytes: one sample, not two
    assert evaluate(dataset, weights, tmp_path / "anew.json", "--modalities") == 0
    assert sorted(reads.values()) == [1, 4, 4, 4, 4]
    assert (tmp_path / "once.json").read_bytes() == (tmp_path / "anew.json").read_bytes()


def spoil_bands(root):
    write(root / "Opt_S2_clear" / "p2.tif", read(root / "Opt_S2_clear" / "p2.tif")[:11])


def spoil_shape(root):
    write(root / "SAR_S1/VH" / "p2.tif", read(root / "SAR_S1/VH" / "p2.tif")[:, :16])


def spoil_label(root):
    write(root / "Label" / "p2.tif", np.full((1, 32, 32), 7, np.uint8))


def spoil_file(root):
    (root / "Opt_S2_cloudy" / "p2.tif").write_bytes(b"II*\0 no more")


def spoil_list(root):
    (root / "Label" / "p2.tif").unlink()


@pytest.mark.parametrize("spoil", [spoil_bands, spoil_shape, spoil_label, spoil_file, spoil_list])
def test_a_spoilt_file_is_named_with_its_row_before_anything_is_scored(
    dataset, weights, tmp_path, capsys, spoil
):
    spoil(dataset)
    assert evaluate(dataset, weights, tmp_path / "out" / "x.json") == 2
    told = capsys.readouterr()
    assert "split test row 3" in told.err and "p2.tif" in told.err and not told.out
    assert not (tmp_path / "out").exists()


def test_foreign_checkpoints_and_options_that_contradict_are_refused(dataset, tmp_path, capsys):
    other = INPUTS._replace(optical=INPUTS.optical._replace(scale=1.0))
    foreign = micro_checkpoint(tmp_path / "foreign.safetensors", inputs=other)
    assert evaluate(dataset, foreign, tmp_path / "x.json") == 2
    assert "other inputs than the chips" in capsys.readouterr().err
    assert main(["evaluate", str(dataset), "--resume"]) == 2
    assert main(["evaluate", str(dataset), "--product", str(dataset)]) == 2
    assert main(["evaluate", str(tmp_path / "nothing")]) == 2
    assert "nothing/split/test.csv is missing" in capsys.readouterr().err


def test_a_product_is_scored_by_its_crosswalk(dataset, tmp_path, capsys):
    codes = np.array([80, 10, 30, 60, 50, 40], np.uint8)
    for i in range(len(COVERS)):
        label = read(dataset / "Label" / f"p{i}.tif")
        product = codes[np.where(label == 255, 0, label)]
        product[label == 2] = 20  # shrubs are grassland of ours
        product[label == 3] = 70  # snow is nothing of ours
        write(tmp_path / "map" / f"p{i}.tif", product)
    options = ["evaluate", str(dataset), "--json", str(tmp_path / "x.json"), "--product"]
    assert main([*options, str(tmp_path / "map"), "--crosswalk", "worldcover"]) == 0
    overall = json.loads((tmp_path / "x.json").read_text())["overall"]
    barren = sum((read(p) == 3).sum() for p in (dataset / "Label").iterdir())
    assert overall["oa"] == 1.0 and overall["unmapped"] == barren
    capsys.readouterr()
    assert main([*options, str(tmp_path / "map"), "--crosswalk", "dynamicworld"]) == 2
    assert "split test row 1: product" in capsys.readouterr().err
    (tmp_path / "map" / "p3.tif").unlink()
    assert main([*options, str(tmp_path / "map"), "--crosswalk", "worldcover"]) == 2
    assert "row 4: product" in capsys.readouterr().err
