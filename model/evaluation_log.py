"""What an evaluation has counted so far, one JSON line a sample, so that it can stop and go on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from model.evaluate import SampleScore

_FIRST = "evaluation"  # key of the first line, which says what is evaluated


class EvaluationLog:
    """A file that grows by one line a sample.

    Args:
      path: the file.
      about: what is evaluated, plain JSON; only an equal evaluation may go on with the file.
      resume: keep what is there; otherwise the file starts anew.

    Raises:
      ValueError: the file is of another evaluation.
    """

    def __init__(self, path: Path, about: dict, resume: bool):
        self.path = path
        self._done: dict[tuple[str, str], SampleScore] = {}
        lines = self._whole_lines() if resume and path.is_file() else []
        if lines:
            self._check(lines[0], about)
            for line in lines[1:]:
                self._done[line["inputs"], line["name"]] = SampleScore.from_dict(
                    {k: v for k, v in line.items() if k != "inputs"}
                )
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({_FIRST: about}) + "\n")

    def done(self, inputs: str) -> dict[str, SampleScore]:
        """What is counted already of these inputs, by the sample's name."""
        return {name: score for (of, name), score in self._done.items() if of == inputs}

    def keep(self, counted: Iterable[SampleScore], inputs: str) -> Iterator[SampleScore]:
        """Passes scores on, each once it is in the file."""
        with open(self.path, "a") as file:
            for score in counted:
                file.write(json.dumps({"inputs": inputs, **score.to_dict()}) + "\n")
                file.flush()
                yield score

    def _whole_lines(self) -> list[dict]:
        """The lines of the file; one that a kill cut short is taken off it."""
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            self.path.write_bytes(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def _check(self, first: dict, about: dict) -> None:
        before, now = first.get(_FIRST, {}), json.loads(json.dumps(about))
        if before != now:
            other = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
            changes = {k: (before.get(k), now.get(k)) for k in other}
            raise ValueError(
                f"{self.path} is of another evaluation (before, now): {changes}; evaluate the "
                "same, write to another file, or leave --resume out to start over"
            )
