"""`cloudlulc submit`: the jobs on Google Cloud Dataflow."""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline import EXIT_FAILED, EXIT_OK
from pipeline.options import JOBS, add_gpu_options, add_recovery_options, add_run_options

DESCRIPTION = """\
Run the jobs on Google Cloud Dataflow, one after the other, and wait for them.

A job that has nothing left to do is not started; one that is running is waited for.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("jobs", nargs="+", choices=JOBS, metavar="JOB", help=", ".join(JOBS))
    add_run_options(parser)
    add_recovery_options(parser)
    place = parser.add_argument_group("where Dataflow runs it")
    place.add_argument("--gcp-project", required=True, help="project of Google Cloud")
    place.add_argument("--gcp-region", required=True, help="region of Google Cloud: europe-west4")
    place.add_argument("--temp", required=True, help="gs:// folder for staged and temporary files")
    place.add_argument("--network", help="VPC network of the workers")
    place.add_argument("--subnetwork", help="its subnetwork, by name or path")
    place.add_argument(
        "--no-public-ips", action="store_true", help="workers have no public address"
    )
    place.add_argument("--service-account", help="e-mail address that the workers act as")
    place.add_argument("--labels", help="labels of the jobs: key=value,...")
    workers = parser.add_argument_group("what it runs on")
    workers.add_argument("--image", help="container image of the workers (default: Beam's own)")
    workers.add_argument(
        "--setup-file",
        help="setup.py of the package that workers install (default: this checkout's), or none "
        "where the image holds it",
    )
    workers.add_argument(
        "--max-workers", type=int, help="workers a job (default: Dataflow's limit)"
    )
    for job in ("ingest", "mosaic"):
        workers.add_argument(f"--machine-type-{job}", help=f"workers of {job}")
    add_gpu_options(parser)
    how = parser.add_argument_group("how it is submitted")
    how.add_argument("--template", help="gs:// folder of Flex Templates to launch the jobs from")
    how.add_argument("--dry-run", action="store_true", help="print the requests, send nothing")
    how.add_argument("--detach", action="store_true", help="start one job and do not wait for it")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Check everything, then run jobs on Dataflow one after the other until one fails."""
    from pipeline import dataflow, launch, report
    from pipeline import submit as submission
    from pipeline.arguments import run_from
    from pipeline.chain import checked_source, in_order, searched_again, take_back
    from pipeline.dataflow_service import FAILURES, DataflowService
    from pipeline.dry_run import preview
    from pipeline.lock import locked
    from pipeline.progress import say
    from pipeline.refresh import Changes

    jobs = tuple(job for job in launch.JOBS if job in args.jobs or "run" in args.jobs)
    if args.detach and len(jobs) > 1:
        raise ValueError(
            f"--detach starts one job, got {', '.join(jobs)}: a job needs the output of the one "
            "before it, so a chain has to be waited for; submit one job, or leave --detach out"
        )
    cloud = dataflow.cloud_from(args)
    run = replace(run_from(args), device="cpu")  # the machine that submits needs no GPU
    submission.check_reachable(run)
    changes = searched_again(run) if args.refresh else Changes()
    source = checked_source(run, anew=bool(changes.blocks))
    run = replace(run, device="cuda" if cloud.gpu else "cpu")
    with tempfile.TemporaryDirectory(prefix="cloudlulc-") as folder:
        sdist = None
        if args.setup_file != "none" and not args.template:
            setup_file = Path(args.setup_file or submission.SETUP_FILE)
            sdist = submission.build_sdist(setup_file, Path(folder))
        how = submission.Submission(cloud, beam_args, sdist, args.template)
        options = [how.options(job, run) for job in jobs]
        if args.dry_run:
            print(json.dumps(preview(run, source, jobs, how, changes), indent=2))
            return EXIT_OK
        # The lock is the submitter's: a job that is left to itself (--detach) has none.
        with locked(run.out, run.id, args.break_lock):
            service = DataflowService(options[0])
            try:
                if changes.blocks:
                    submission.require_idle(run, service)
                    take_back(run, changes)
                run = submission.share_checkpoint(run)
                launch.start(run)
                say(f"run {run.id}: {run.region.name}, {run.target}, {run.source} -> {run.out}")
                if args.detach:
                    if launch.left(run, jobs[0]):
                        submission.start(jobs[0], run, source, how, service, say)
                    else:
                        say(report.job_line(launch.nothing_to_do(jobs[0], run)))
                    return EXIT_OK
                execute = partial(
                    submission.execute, run=run, source=source, how=how, service=service, say=say
                )
                return in_order(run, jobs, execute)
            except FAILURES as error:
                say(f"cloudlulc submit: {error}")
                return EXIT_FAILED
