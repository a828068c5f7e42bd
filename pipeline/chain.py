"""The jobs of a run, one after the other, until one fails."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from model.precision import check_precision
from pipeline import EXIT_FAILED, EXIT_OK, launch, report
from pipeline.arguments import run_from
from pipeline.config import RunConfig
from pipeline.launch import JobReport
from pipeline.lock import locked
from pipeline.progress import say
from pipeline.records import add_record
from pipeline.refresh import Changes, forget, new_since, write_changes
from pipeline.retry import by_cause
from pipeline.runners import beam_options, check_services
from pipeline.watchdog import WorkerDied, leave
from transforms.failures import failures_url, read_failures
from transforms.scene import ImagerySource, SourceUnavailable
from transforms.sources import open_source


def checked_source(run: RunConfig, anew: bool = False) -> ImagerySource:
    """The run's source, after everything was checked that can be; nothing is written.

    Args:
      run: what is to be made.
      anew: whether blocks will be made anew, even where nothing is left to do.

    Raises:
      ValueError: the run cannot be made.
    """
    source = open_source(run.source)
    try:
        launch.check(run, source, anew)
    except SourceUnavailable as error:
        raise ValueError(str(error)) from error
    return source


def run_jobs(args: argparse.Namespace, beam_args: list[str], jobs: tuple[str, ...]) -> int:
    """Run the jobs of the run that the options describe; see `start_jobs`."""
    return start_jobs(run_from(args), jobs, beam_args, args.refresh, args.break_lock)


def start_jobs(
    run: RunConfig,
    jobs: tuple[str, ...],
    beam_args: list[str],
    refresh: bool = False,
    break_lock: bool = False,
) -> int:
    """Check everything, then run jobs one after the other until one fails.

    Args:
      run: what is to be made.
      jobs: some of `launch.JOBS`, in their order.
      beam_args: flags of Beam.
      refresh: take back blocks first whose scenes came late or were replaced.
      break_lock: take the folder over from a run that shows no sign of life.
    """
    check_services(beam_options(beam_args))
    changes = searched_again(run) if refresh else Changes()
    source = checked_source(run, anew=bool(changes.blocks))
    if launch.is_finished(run) and not changes.blocks:
        # Nothing is written: neither a lock is needed, nor a folder that can be written to.
        return in_order(run, jobs, partial(launch.nothing_to_do, run=run))
    if "classify" in jobs:
        check_precision(run.precision, run.device)
    with locked(run.out, run.id, break_lock):
        take_back(run, changes)
        launch.start(run)
        say(f"run {run.id}: {run.region.name}, {run.target}, {run.source} -> {run.out}")
        return _execute_here(run, jobs, source, beam_args)


def searched_again(run: RunConfig) -> Changes:
    """What a search of today finds otherwise than the run's plan says.

    Raises:
      ValueError: the catalogue cannot be read.
    """
    try:
        return new_since(run, open_source(run.source))
    except SourceUnavailable as error:
        raise ValueError(str(error)) from error


def take_back(run: RunConfig, changes: Changes) -> None:
    """Take back the blocks that changed, so that the jobs make them anew; says which."""
    if changes.blocks:
        say(f"run {run.id}: {changes}; they are made anew, see {write_changes(run, changes)}")
        forget(run, changes.blocks)


def _execute_here(
    run: RunConfig, jobs: tuple[str, ...], source: ImagerySource, beam_args: list[str]
) -> int:

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
        for line in by_cause(read_failures(run.out, job)) if done.failed else ():
            say(line)
        if done.failed > run.max_failed:
            say(
                f"{job} failed: {done.failed} of {done.todo} keys, {run.max_failed} allowed; see "
                f"{failures_url(run.out, job)}; cloudlulc retry {run.out} tries them again"
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
