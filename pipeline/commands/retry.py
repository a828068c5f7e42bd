"""`cloudlulc retry`: a run's dead letters once more, and nothing else."""

from __future__ import annotations

import argparse

from pipeline import EXIT_OK
from pipeline.options import add_execution_options, add_lock_option

DESCRIPTION = """\
Tries the keys in failures/*.jsonl again: blocks that could not be fetched or classified, tiles that
could not be planned or published. Products over blocks that succeed now are published anew.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="RUN", help="output folder of a run, or gs:// address")
    add_execution_options(parser)
    add_lock_option(parser)


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Run the jobs on those keys that the last attempts gave up on."""
    from dataclasses import replace

    from pipeline import chain, launch
    from pipeline.arguments import started_run
    from pipeline.progress import say
    from pipeline.retry import anything_failed, failed_blocks

    run = started_run(args)
    if not anything_failed(run):
        say(f"run {run.id}: no dead letters in {run.out}/failures; nothing to retry")
        return EXIT_OK
    run = replace(run, only=failed_blocks(run))
    say(f"run {run.id}: {len(run.only)} blocks again")
    return chain.start_jobs(run, launch.JOBS, beam_args, break_lock=args.break_lock)
