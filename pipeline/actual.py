"""What was planned of a run beside what came of it: `reports/plan.json` and the jobs' records."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from pipeline import launch
from pipeline.bill import Bill
from pipeline.config import RunConfig
from pipeline.records import REPORTS, read_records
from transforms.store import exists, join, list_sizes, read_json, write_json


class Row(NamedTuple):
    """One figure of a plan."""

    name: str
    planned: float
    actual: float | None  # None: nothing of it is on record

    @property
    def ratio(self) -> float | None:
        return self.actual / self.planned if self.planned and self.actual is not None else None


def folder_size(url: str) -> int:
    """Bytes of all files below `url`."""
    return sum(list_sizes(url).values())


def plan_report_url(root: str) -> str:
    return join(root, REPORTS, "plan.json")


def keep_bill(bill: Bill, made: datetime) -> str:
    """Keep a bill with its run, with what lies there already; returns where.

    Args:
      bill: of the run.
      made: when, UTC: the jobs that end later are compared with it.
    """
    url = plan_report_url(bill.run.out)
    before = {name: folder_size(join(bill.run.out, name)) for name in bill.estimate.bytes_out}
    write_json(
        url, bill.to_dict() | {"made": made.isoformat(timespec="seconds"), "bytes_before": before}
    )
    return url


def compare(run: RunConfig) -> list[Row] | None:
    """A run's plan beside what came of it since then; None where no plan was kept."""
    url = plan_report_url(run.out)
    if not exists(url):
        return None
    plan = read_json(url)
    since = {
        job: [r for r in read_records(run.out, job) if r["ended"] >= plan["made"]]
        for job in launch.JOBS
    }
    work, made = plan["work"], plan["estimate"]

    def counted(job: str, *names: str) -> float | None:
        if not since[job]:
            return None
        return sum(record["counters"].get(name, 0) for record in since[job] for name in names)

    blocks = counted("ingest", "fetch: blocks written")
    classified = counted("classify", "classify: blocks written")
    chips = run.grid.chips_in_block
    rows = [
        Row("tiles searched", work["searches"], counted("ingest", "plan: searches")),
        Row("chips made", work["chips"], None if blocks is None else blocks * chips),
        Row(
            "chips classified",
            work["classified"] * chips,
            None if classified is None else classified * chips,
        ),
        Row("product tiles", len(work["product"]), counted("mosaic", "mosaic: tiles written")),
        Row("reads to measure", work["looks"], counted("ingest", "measure: reads")),
        Row("reads for chips", work["reads"], counted("ingest", "fetch: reads")),
        Row(
            "bytes in",
            work["bytes_in"],
            counted("ingest", "fetch: bytes read", "measure: bytes read"),
        ),
    ]
    for name, size in made["bytes_out"].items():
        written = folder_size(join(run.out, name)) - plan["bytes_before"][name]
        # Less than there was: the chips of a finished run were removed.
        rows.append(Row(f"bytes out, {name}", size, written if written > 0 else None))
    seconds = {job: sum(r["seconds"] for r in since[job]) for job in launch.JOBS}
    rows += [
        Row(f"seconds of {job}", made["wall"][job], seconds[job] if since[job] else None)
        for job in launch.JOBS
    ]
    whole = sum(seconds.values()) if all(since.values()) else None
    return [*rows, Row(f"seconds, {made['workers']} worker(s)", sum(made["wall"].values()), whole)]


def comparison_rows(run: RunConfig) -> list[dict[str, Any]]:
    """The rows of `compare` as JSON; [] without a plan."""
    return [row._asdict() | {"ratio": row.ratio} for row in compare(run) or ()]
