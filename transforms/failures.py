"""Dead letters: what could not be done, for which key, and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

import apache_beam as beam

from transforms.masking import masked
from transforms.store import exists, join, read_bytes, write_bytes

FAILED = "failed"
"""Tag of the output that carries failures."""


class Failure(NamedTuple):
    """One key that a job gave up on; the rest of the job goes on."""

    key: str  # of a block or tile
    stage: str  # "plan", "fetch", "read chips", ...
    error: str  # what failed, with X got and Y expected

    @classmethod
    def of(cls, key: object, stage: str, error: Exception) -> Failure:
        return cls(str(key), stage, masked(f"{type(error).__name__}: {error}"))


def failures_url(root: str, job: str) -> str:
    return join(root, "failures", f"{job}.jsonl")


def write_failures(failures: list[Failure], root: str, job: str) -> int:
    """Write a job's failures, sorted, one JSON object a line; returns their number.

    The file is of the job's last attempt: empty where nothing failed.
    """
    lines = [json.dumps(f._asdict(), ensure_ascii=False) + "\n" for f in sorted(failures)]
    write_bytes(failures_url(root, job), "".join(lines).encode())
    return len(lines)


def read_failures(root: str, job: str) -> list[Failure]:
    """Failures of a job's last attempt; [] where it was never run."""
    url = failures_url(root, job)
    lines = read_bytes(url).decode().splitlines() if exists(url) else []
    return [Failure(**json.loads(line)) for line in lines]


@dataclass
class WriteFailures(beam.PTransform):
    """Failures of all stages of a job -> `failures/<job>.jsonl`.

    Failures are gathered by one small shuffle: one file has one writer.

    Attributes:
      root: the run's folder.
      job: "ingest", "classify" or "mosaic".
    """

    root: str
    job: str

    def expand(self, failures):
        if isinstance(failures, tuple):
            failures = failures | "All stages" >> beam.Flatten()
        return (
            failures
            | "Gather" >> beam.combiners.ToList()
            | "Write" >> beam.Map(write_failures, self.root, self.job)
        )
