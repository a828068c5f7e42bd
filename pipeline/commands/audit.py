"""`cloudlulc audit`: the proof that a run is complete and as it was written."""

from __future__ import annotations

import argparse

from pipeline import EXIT_FAILED, EXIT_OK
from pipeline.options import add_execution_options, add_lock_option

DESCRIPTION = """\
Every chip block, map block and product tile is looked for, read, compared with the SHA-256 that its
writer left, decoded and checked. What is missing, corrupt or surplus is printed and written to
audit.json in the run's folder. --repair makes just that anew, and audits again.

--seams looks at the map instead: whether classes change more often across the borders of chips,
tiles, zones and passes than beside them. The product passes, is flagged, or fails.

Exit code 0 where nothing is wrong (or left wrong), 1 where something is, or where seams fail.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="RUN", help="output folder of a run, or gs:// address")
    parser.add_argument("--json", action="store_true", help="print what audit.json holds")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="make what is missing or corrupt anew, and remove what is surplus",
    )
    parser.add_argument("--seams", action="store_true", help="judge the seams of the product")
    add_execution_options(parser)
    add_lock_option(parser)


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Audit a run, repair it where asked to, and say what was found."""
    from functools import partial

    from pipeline import audit, chain, launch
    from pipeline.arguments import started_run
    from pipeline.lock import locked
    from pipeline.progress import say
    from pipeline.records import REPORTS
    from transforms.store import join, read_bytes, write_bytes

    run = started_run(args)
    if args.seams:
        return _judge_seams(run, args.json)
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
    said = audit.text(defects, f"run {run.id}, {launch.finished_classify(run)} blocks")
    write_bytes(join(run.out, REPORTS, "audit.txt"), f"{said}\n".encode())
    if args.json:
        print(read_bytes(url).decode(), end="")
    else:
        print(said)
    return EXIT_FAILED if defects else EXIT_OK


def _judge_seams(run, as_json: bool) -> int:
    import json

    from pipeline.records import REPORTS
    from transforms.published import open_product
    from transforms.seam_report import product_seams, report_dict, report_table
    from transforms.store import join, write_bytes, write_json

    seams = product_seams(open_product(run.out), run.grid)
    text, document = report_table(seams), report_dict(seams)
    write_bytes(join(run.out, REPORTS, "seams.txt"), f"{text}\n".encode())
    write_json(join(run.out, REPORTS, "seams.json"), document)
    print(json.dumps(document, indent=2) if as_json else text)
    return EXIT_FAILED if seams.verdict == "fails" else EXIT_OK


def _execute(source, beam_args: list[str], job: str, run) -> None:
    from pipeline import launch, report
    from pipeline.progress import say

    say(report.job_line(launch.execute(job, run, source, beam_args)))
