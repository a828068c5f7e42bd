"""Training: learns, goes on exactly where it stopped, and stops before it starts on bad input."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from planet import MICRO

from model.checkpoint import load
from model.config import PRESETS
from model.fit import learning_rate
from model.train import class_weights, train

SHORT = {"preset": "micro", "batch": 2, "crop": 32, "bf16": False, "threads": 1, "half": False}


@pytest.fixture(autouse=True)
def micro(monkeypatch):
    monkeypatch.setitem(PRESETS, "micro", MICRO)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Water on the left and crop on the right, told apart by both sensors."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    for split, number, count in (("train", 1, 6), ("val", 2, 3)):
        rows = []
        for i in range(count):
            label = np.zeros((1, 32, 32), np.uint8)
            label[:, :, 10 + 2 * i :] = 5
            water = label[0] == 0
            clear = np.where(water, 300, 2500) + rng.integers(0, 200, (12, 32, 32))
            arrays = {
                "sar_vh": np.where(water, -26, -17) + rng.normal(0, 1, (1, 32, 32)),
                "sar_vv": np.where(water, -20, -10) + rng.normal(0, 1, (1, 32, 32)),
                "opt_cloudy": clear,
                "opt_clear": clear,
                "label": label,
            }
            row = {"split_id": number}
            for column, array in arrays.items():
                kind = {"s": "float32", "o": "uint16", "l": "uint8"}[column[0]]
                row[column] = f"{column}/{split}{i}.tif"
                path = root / row[column]
                path.parent.mkdir(parents=True, exist_ok=True)
                with rasterio.open(
                    path, "w", driver="GTiff", count=len(array), height=32, width=32, dtype=kind,
                    crs="EPSG:32633", transform=rasterio.transform.from_origin(0, 0, 10, 10),
                ) as file:  # fmt: skip
                    file.write(array.astype(kind))
            rows.append(row)
        (root / "split").mkdir(exist_ok=True)
        with open(root / "split" / f"{split}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return root


def test_a_short_run_learns_two_classes_and_says_what_it_did(dataset, tmp_path):
    lines = []
    checkpoint = train(
        dataset, tmp_path, steps=40, lr=6e-3, validate_every=20, save_every=20,
        card={"data": "two stripes"}, report=lines.append, **SHORT,
    )  # fmt: skip
    assert load(tmp_path / "checkpoint.safetensors").digest == checkpoint.digest
    assert checkpoint.card["data"] == "two stripes"
    assert checkpoint.card["validation"]["overall_accuracy"] > 0.75
    assert checkpoint.card["arguments"]["steps"] == 40
    assert checkpoint.temperature > 0
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [m["loss"] for m in metrics if "loss" in m]
    assert losses[-1] < losses[0]
    assert [m["step"] for m in metrics if "validation" in m] == [20, 40]
    assert any("step 40/40" in line for line in lines)


def test_a_resumed_run_equals_an_undisturbed_one(dataset, tmp_path):
    arguments = {"steps": 8, "save_every": 3, "report": lambda _: None, **SHORT}
    whole = train(dataset, tmp_path / "whole", **arguments)
    assert train(dataset, tmp_path / "parts", stop_at=5, **arguments) is None
    parts = train(dataset, tmp_path / "parts", **arguments)
    for name, value in whole.state.items():
        assert torch.equal(value, parts.state[name]), name
    assert whole.temperature == parts.temperature
    files = [(tmp_path / run / "checkpoint.safetensors").read_bytes() for run in ("whole", "parts")]
    assert files[0] == files[1]


CHILD = """
import sys
sys.path.insert(0, "tests")
from planet import MICRO
from model.config import PRESETS
from model.train import train
PRESETS["micro"] = MICRO
train(sys.argv[1], sys.argv[2], "micro", steps=24, batch=2, crop=32, bf16=False, threads=1,
      half=False, save_every=5, report=lambda _: None)
"""


def test_a_killed_run_equals_an_undisturbed_one(dataset, tmp_path):
    victim = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(dataset), str(tmp_path / "parts")],
        cwd=Path(__file__).parents[2],
    )
    while not (tmp_path / "parts" / "state.safetensors").is_file():
        assert victim.poll() is None
        time.sleep(0.005)
    victim.kill()
    victim.wait()
    assert not (tmp_path / "parts" / "checkpoint.safetensors").exists()
    arguments = {"steps": 24, "save_every": 5, "report": lambda _: None, **SHORT}
    whole, parts = (train(dataset, tmp_path / run, **arguments) for run in ("whole", "parts"))
    assert whole.digest == parts.digest


def test_another_seed_gives_other_weights(dataset, tmp_path):
    arguments = {"steps": 2, "report": lambda _: None, **SHORT}
    a, b = (train(dataset, tmp_path / str(s), seed=s, **arguments) for s in (0, 1))
    assert any(not torch.equal(v, b.state[k]) for k, v in a.state.items())


def test_a_run_can_start_from_a_checkpoint(dataset, tmp_path):
    arguments = {"report": lambda _: None, **SHORT}
    first = train(dataset, tmp_path / "first", steps=4, lr=4e-3, **arguments)
    path = tmp_path / "first" / "checkpoint.safetensors"
    second = train(dataset, tmp_path / "second", steps=1, lr=1e-9, start=path, **arguments)
    for name, value in first.state.items():
        torch.testing.assert_close(second.state[name], value, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="expected preset 'tiny'"):
        train(dataset, tmp_path / "third", start=path, **(arguments | {"preset": "tiny"}))


def test_a_run_does_not_go_on_with_other_arguments(dataset, tmp_path):
    train(dataset, tmp_path, steps=4, stop_at=2, report=lambda _: None, **SHORT)
    with pytest.raises(ValueError, match=r"made with other arguments .*'lr'"):
        train(dataset, tmp_path, steps=4, lr=1.0, report=lambda _: None, **SHORT)
    again = train(dataset, tmp_path, steps=4, lr=1e-3, resume=False, report=lambda _: None, **SHORT)
    assert again.card["arguments"]["lr"] == 1e-3


def test_a_damaged_state_is_named(dataset, tmp_path):
    train(dataset, tmp_path, steps=4, stop_at=2, report=lambda _: None, **SHORT)
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"state\.safetensors: cannot be read"):
        train(dataset, tmp_path, steps=4, report=lambda _: None, **SHORT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "huge"}, "got 'huge', expected one of"),
        ({"crop": 48}, "crop a multiple of 32"),
        ({"crop": 64}, r"crop: got 64, patches are \(32, 32\)"),
        ({"steps": 0}, "expected positive numbers"),
    ],
)
def test_bad_arguments_are_refused(dataset, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        train(dataset, tmp_path, report=lambda _: None, **(SHORT | change))
    assert not (tmp_path / "metrics.jsonl").exists()


def test_the_learning_rate_rises_and_falls():
    rates = [learning_rate(s, 100, 1.0, 10) for s in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] == rates[10] == 1.0
    assert rates[-1] < 0.01 and all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))


def test_rare_classes_weigh_more_within_bounds():
    label = np.repeat(np.arange(6, dtype=np.uint8), [10000, 10000, 10000, 3000, 70, 40000])
    weights = class_weights(label)
    assert weights[0] == pytest.approx(1.0, abs=0.01)
    assert weights[4] == 3.0 and weights[5] == pytest.approx(0.5, abs=0.01)
    assert 3.0 > weights[3] > 1.0
