"""What a training run tells: lines for people, JSON lines, and TensorBoard where there is one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from model.validation import Validation


class Progress:
    """Progress lines and `metrics.jsonl`; lines after the resumed step are dropped."""

    def __init__(self, path: Path, done: int, report: Callable[[str], None], every: int = 20):
        self.path, self.report, self.every = path, report, every
        lines = path.read_text().splitlines() if path.is_file() and done else []
        kept = [line for line in lines if json.loads(line)["step"] <= done]
        path.write_text("".join(f"{line}\n" for line in kept))
        self.since, self.sums = (done, time.monotonic()), {}
        self.board = _board(path.parent / "tensorboard", done)

    def note(self, text: str) -> None:
        self.report(text)

    def step(self, step: int, steps: int, total: Tensor, parts: dict, lr: float) -> None:
        for name, value in {"loss": total.detach(), **parts}.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        if step % self.every and step != steps:
            return
        before, at = self.since
        count, self.since = step - before, (step, time.monotonic())
        means = {k: round(v / max(1, count), 4) for k, v in self.sums.items()}
        self.sums = {}
        pace = (self.since[1] - at) / max(1, count)
        self._write({"step": step, "lr": lr, **means})
        self.report(
            f"step {step}/{steps} loss {means['loss']:.3f} ce {means['ce']:.3f} "
            f"{pace:.2f} s/step, {pace * (steps - step) / 60:.0f} min left"
        )

    def validation(self, step: int, scores: Validation) -> None:
        self._write({"step": step, "validation": scores.to_dict()})
        bins = " ".join(f"{k}%:{v['miou']:.3f}" for k, v in scores.by_cover.items())
        self.report(
            f"step {step} val OA {scores.overall_accuracy:.3f} mIoU {scores.mean_iou:.3f} "
            f"[{bins}] reliability AUC {scores.reliability_auc:.2f}"
        )

    def _write(self, line: dict) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")
        if self.board is not None:
            for name, value in _scalars(line):
                self.board.add_scalar(name, value, line["step"])
            self.board.flush()


def _board(folder: Path, done: int):
    """A writer for TensorBoard that forgets what came after step `done`; None without TensorBoard,
    which is no dependency."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        return None
    return SummaryWriter(folder, purge_step=done + 1)


def _scalars(line: dict, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of nested JSON with their path as name, without the step."""
    for name, value in line.items():
        if isinstance(value, dict):
            yield from _scalars(value, f"{prefix}{name}/")
        elif name != "step" and value is not None:
            yield prefix + name, value
