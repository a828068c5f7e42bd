"""What a run tells survives a resume, and TensorBoard is told the same numbers."""

import json

import pytest
import torch

from model.progress import Progress, _scalars


def steps(log, numbers):
    for step in numbers:
        log.step(step, 6, torch.tensor(float(step)), {"ce": torch.tensor(0.5)}, 0.1)


def test_lines_after_the_resumed_step_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    steps(Progress(path, 0, lambda _: None, every=2), range(1, 6))
    steps(Progress(path, 2, lambda _: None, every=2), range(3, 7))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(2, 1.5), (4, 3.5), (6, 5.5)]


def test_numbers_are_named_by_their_path():
    line = {"step": 3, "validation": {"by_cover": {"0-20": {"oa": 0.5, "miou": None}}}, "lr": 0.1}
    assert list(_scalars(line)) == [("validation/by_cover/0-20/oa", 0.5), ("lr", 0.1)]


def test_tensorboard_holds_the_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    steps(Progress(tmp_path / "metrics.jsonl", 0, lambda _: None, every=2), range(1, 5))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(2, 1.5), (4, 3.5)]
