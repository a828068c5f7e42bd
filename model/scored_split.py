"""A split of a data set, scored: checked, counted, gone on with after a stop, and reported."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from model.dataset import check, fingerprint, read_split
from model.evaluate import SampleScore, report
from model.evaluation_log import EvaluationLog
from model.patch import Row, Sample, read_sample

Counter = Callable[[Iterable[Sample]], Iterator[SampleScore]]
"""Counts samples one by one, in their order, such as `evaluate` with a network."""

KEPT = 2**30
"""Bytes of samples that are not read a second time: about 2,000 of 128 px."""


def score_split(
    dataset: str | Path,
    split: str,
    counters: dict[str, Counter],
    about: dict,
    labels_from_1: bool = False,
    out: str | Path | None = None,
    resume: bool = False,
    draws: int = 1000,
    check_rows: Callable[[Sequence[Row]], None] = lambda rows: None,
    each: Callable[[int, int], None] = lambda done, total: None,
) -> dict:
    """Scores a split; the report, plain JSON.

    Args:
      dataset: root of the data set; see `model.dataset`. Checked as a whole before it is scored.
      split: train, val or test.
      counters: what is scored, by name; the first one is reported as such, and where there are
        several, each under `modalities`.
      about: what tells this evaluation from others, plain JSON; is part of the report.
      labels_from_1: labels are 1-6, and 0 is unknown.
      out: JSON file to write; counts lie beside it, in `NAME.counts.jsonl`.
      resume: go on with the counts that lie there.
      draws: of the bootstrap.
      check_rows: what else is to be checked of the rows first.
      each: takes how many counts are done, and of how many.

    Raises:
      ValueError: a file of the data set is wrong, or the counts are of another evaluation.
    """
    rows = read_split(dataset, split)
    about = {**about, "dataset": str(dataset), "split": split, "labels_from_1": labels_from_1}
    about["cloud"] = _cloud_origin(rows)
    log = None if out is None else Path(out).with_suffix(".counts.jsonl")
    going_on = resume and log is not None and log.is_file()
    samples = {}
    if not going_on:  # the same files were checked before, or the log refuses them
        samples = check(rows, labels_from_1, KEPT)
        check_rows(rows)
    state = log and EvaluationLog(log, about | fingerprint(rows, labels_from_1), resume)
    total, finished, reports = len(rows) * len(counters), 0, {}
    for name, counter in counters.items():
        done = state.done(name) if state else {}
        finished += len(done)
        left = (row for row in rows if row.name not in done)
        counted = counter(samples.get(r.name) or read_sample(r, labels_from_1) for r in left)
        for score in state.keep(counted, name) if state else counted:
            done[score.name] = score
            finished += 1
            each(finished, total)
        reports[name] = report([done[row.name] for row in rows], draws)
    document = about | next(iter(reports.values()))
    if len(reports) > 1:
        document["modalities"] = reports
    if out is not None:
        _write(Path(out), document)
    return document


def _cloud_origin(rows: Sequence[Row]) -> str:
    masked = sum("cloud" in row.files for row in rows)
    if masked in (0, len(rows)):
        return "masks of the data set" if masked else "spectral mask"
    return f"masks of the data set for {masked} of {len(rows)} samples, else spectral mask"


def _write(path: Path, document: dict) -> None:
    """Writes JSON: a temporary file beside `path`, then a rename."""
    temporary = path.with_name(path.name + ".writing")
    temporary.write_text(json.dumps(document, allow_nan=False) + "\n")
    os.replace(temporary, path)
