"""The jobs of a run, one after the other, until one fails."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime

from pipeline import EXIT_FAILED, EXIT_OK, launch, report
from pipeline.arguments import run_from
from pipeline.config import RunConfig
from pipeline.launch import JobReport
from pipeline.progress import say
from pipeline.records import add_record
from pipeline.runners import beam_options, check_services
from pipeline.watchdog import WorkerDied, leave
from transforms.failures import failures_url, read_failures
from transforms.scene import ImagerySource, SourceUnavailable
from transforms.sources import open_source


def checked_source(run: RunConfig) -> ImagerySource:
    """The run's source, after everything was checked that can be; nothing is written.

    Raises:
      ValueError: the run cannot be made.
    """
    source = open_source(run.source)
    try:
        launch.check(run, source)
    except SourceUnavailable as error:
        raise ValueError(str(error)) from error
    return source


def run_jobs(args: argparse.Namespace, beam_args: list[str], jobs: tuple[str, ...]) -> int:
    """Check everything, then run jobs one after the other until one fails."""
    check_services(beam_options(beam_args))
    run = run_from(args)
    source = checked_source(run)
    launch.start(run)
    say(f"run {run.id}: {run.region.name}, {run.target}, {run.source} -> {run.out}")

    def execute(job: str) -> JobReport:
        try:
            return launch.execute(job, run, source, beam_args)
        except WorkerDied as died:
            say(f"{job} failed: {died}")
            leave(EXIT_FAILED)

    return in_order(run, jobs, execute)


def in_order(run: RunConfig, jobs: tuple[str, ...], execute: Callable[[str], JobReport]) -> int:
    """Execute jobs one after the other until one fails; says how they went."""
    for job in jobs:
        done = execute(job)
        add_record(run.out, done, datetime.now(UTC))
        say(report.job_line(done))
        if done.failed > run.max_failed:
            for failure in read_failures(run.out, job)[:5]:
                say(f"  {failure.key} ({failure.stage}): {failure.error}")
            say(
                f"{job} failed: {done.failed} of {done.todo} keys, {run.max_failed} allowed; see "
                f"{failures_url(run.out, job)}; the next run tries them again"
            )
            return EXIT_FAILED
    if jobs[-1] == "mosaic":
        print(report.summary(run))
        if not launch.finished_classify(run):
            period = run.rule.period
            if launch.left(run, "ingest") or launch.left(run, "classify"):
                say(f"nothing was mapped yet: cloudlulc run --out {run.out} does all three jobs")
                return EXIT_FAILED
            say(
                f"nothing was mapped: {run.source} has no scene of {run.region.name} in {period}; "
                "try another --date, or widen --max-optical-days and --max-sar-days"
            )
            return EXIT_FAILED
    return EXIT_OK
