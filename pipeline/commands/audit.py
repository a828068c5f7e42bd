"""`cloudlulc audit`: the proof that a run is complete and as it was written."""

from __future__ import annotations

import argparse

from pipeline import EXIT_FAILED, EXIT_OK
from pipeline.options import add_execution_options, add_lock_option

DESCRIPTION = """\
Every chip block, map block and product tile is looked for, read, compared with the SHA-256 that its
writer left, decoded and checked. What is missing, corrupt or surplus is printed and written to
audit.json in the run's folder. --repair makes just that anew, and audits again.

Exit code 0 where nothing is wrong (or left wrong), 1 where something is.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="RUN", help="output folder of a run, or gs:// address")
    parser.add_argument("--json", action="store_true", help="print what audit.json holds")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="make what is missing or corrupt anew, and remove what is surplus",
    )
    add_execution_options(parser)
    add_lock_option(parser)


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Audit a run, repair it where asked to, and say what was found."""
    from functools import partial

    from pipeline import audit, chain, launch
    from pipeline.arguments import started_run
    from pipeline.lock import locked
    from pipeline.progress import say
    from transforms.store import read_bytes

    run = started_run(args)
    defects = audit.audit(run)
    repaired = bool(defects) and args.repair
    if repaired:
        say(audit.text(defects, f"run {run.id}"))
        with locked(run.out, run.id, args.break_lock):
            fetched = any(defect.rest in ("plan", "chips") for defect in defects)
            source = chain.checked_source(run, anew=fetched)
            audit.repair(run, defects, partial(_execute, source, beam_args))
            defects = audit.audit(run)
    url = audit.write_report(run, defects, repaired)
    if args.json:
        print(read_bytes(url).decode(), end="")
    else:
        print(audit.text(defects, f"run {run.id}, {launch.finished_classify(run)} blocks"))
    return EXIT_FAILED if defects else EXIT_OK


def _execute(source, beam_args: list[str], job: str, run) -> None:
    from pipeline import launch, report
    from pipeline.progress import say

    say(report.job_line(launch.execute(job, run, source, beam_args)))
