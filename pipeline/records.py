"""How the jobs of a run went: `reports/<job>.jsonl`, a line for every time one was executed.

Beside them stands the same for Prometheus, `reports/metrics.prom`.

Reports hold times, so they are no part of the promise of equal bytes. A job that finds nothing to
do leaves no line.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pipeline.launch import JOBS, JobReport
from pipeline.metrics import metrics_text
from transforms.store import exists, join, read_bytes, write_bytes

REPORTS = "reports"
"""Folder of a run that holds what is said of it, not what it made."""


def records_url(root: str, job: str) -> str:
    return join(root, REPORTS, f"{job}.jsonl")


def read_records(root: str, job: str) -> list[dict[str, Any]]:
    """The executions of a job, oldest first: the fields of `JobReport`, and `ended` (UTC, ISO)."""
    url = records_url(root, job)
    return [json.loads(line) for line in read_bytes(url).splitlines()] if exists(url) else []


def add_record(root: str, report: JobReport, ended: datetime) -> None:
    """Keep how a job ended, unless it had nothing to do."""
    if report.todo == 0:
        return
    record = report._asdict() | {"ended": ended.isoformat(timespec="seconds")}
    record["seconds"] = round(report.seconds, 1)
    lines = [*read_records(root, report.job), record]
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    write_bytes(records_url(root, report.job), text.encode())
    records = {job: read_records(root, job) for job in JOBS}
    write_bytes(join(root, REPORTS, "metrics.prom"), metrics_text(root, records).encode())
