"""The study's queue goes on where it stopped, and its table says what the counts say."""

import json

import numpy as np
import pytest
from made_set import make_set
from planet import MICRO

from benchmarks import study
from benchmarks.study import MODELS, finished, model_of, run_queue, table
from model.fit import Recipe

RECIPE = Recipe(steps=3, batch=1, crop=32, lr=1e-3, warmup=1, seed=0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("set")
    for split in (("train", 1), ("val", 2), ("test", 3)):
        make_set(root, (0.2, 0.6), split=split)
    return root


def test_every_name_stands_for_another_network_or_loss(monkeypatch):
    monkeypatch.setattr(study, "SMALL", MICRO)
    seen = set()
    for name in MODELS:
        model = model_of(name, RECIPE)
        network = model.make()
        shapes = tuple((k, tuple(v.shape)) for k, v in network.state_dict().items())
        seen.add((shapes, network.config, model.recipe.loss))
        assert model.recipe._replace(loss=RECIPE.loss) == RECIPE
    assert len(seen) == len(MODELS) == 13


def test_a_killed_queue_goes_on(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "SMALL", MICRO)
    names = ["full", "early-fusion"]
    run_queue(dataset, tmp_path / "whole", None, RECIPE, [0], names)
    real_fit, calls = study.fit, []

    def killed(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:  # the second run dies after its first step
            real_fit(*args, **kwargs, stop_at=1)
            raise KeyboardInterrupt
        return real_fit(*args, **kwargs)

    monkeypatch.setattr(study, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        run_queue(dataset, tmp_path / "parts", None, RECIPE, [0], names)
    assert [r["model"] for r in finished(tmp_path / "parts")] == ["full"]
    run_queue(dataset, tmp_path / "parts", None, RECIPE, [0], names)
    assert len(calls) == 3  # the finished run was not made again
    whole, parts = (finished(tmp_path / run) for run in ("whole", "parts"))
    assert [r["test"] for r in whole] == [r["test"] for r in parts]
    with pytest.raises(ValueError, match="made with other arguments"):
        run_queue(dataset, tmp_path / "parts", None, RECIPE._replace(lr=1.0), [0], names)


def test_every_bin_is_scored(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "SMALL", MICRO)
    run_queue(dataset, tmp_path, None, RECIPE, [0], ["s1-only"])
    (line,) = finished(tmp_path)
    assert len(line["test"]) == 2 * 5
    covers = [s["cloud"] for s in line["test"]]
    assert min(covers) < 0.3 and max(covers) > 0.7
    assert sum(np.sum(s["confusion"]) for s in line["test"]) == 2 * 5 * 32 * 31  # a column is 255


def made(model, seed, right):
    """A result of which a share of the pixels of class 0 and 1 is right, at every cover."""
    confusion = np.zeros((6, 6), int)
    confusion[0, :2] = right, 100 - right
    confusion[1, :2] = 100 - right, right
    samples = [
        {"name": f"p{i}@{k}", "place": f"p{i}", "cloud": 0.1 + 0.2 * k,
         "confusion": confusion.tolist()}
        for i in range(4) for k in range(5)
    ]  # fmt: skip
    return {
        "model": model, "seed": seed, "parameters": 650_000, "cpu_seconds": 60.0,
        "test": samples, "real": [],
    }  # fmt: skip


def test_the_table_tells_means_spreads_and_differences():
    results = [made("full", s, 80 + s) for s in (0, 1)] + [made("s1-only", s, 60) for s in (0, 1)]
    text = "\n".join(table(json.loads(json.dumps(results))))
    oa = [row for row in text.splitlines() if row.startswith("| full")][0].split("|")[-2].strip()
    assert oa == "80.5 +- 0.7"
    gap = [row for row in text.splitlines() if row.startswith("| s1-only")][1]
    assert "+20.5 [+20.5, +20.5]" in gap and gap.endswith("+23.8, +25.2 |")
    assert "real" not in text
