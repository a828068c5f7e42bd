"""`cloudlulc run`, `ingest`, `classify` and `mosaic`."""

from __future__ import annotations

import argparse

from pipeline.importing import importing
from pipeline.options import add_recovery_options, add_run_options

DESCRIPTION = """\
A run that was started before goes on where it stopped: then --out alone is enough,
and options that differ from run.json are an error.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run_options(parser)
    add_recovery_options(parser)


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Check everything, then run the command's jobs one after the other until one fails."""
    with importing():
        from pipeline import chain, launch

    jobs = launch.JOBS if args.command == "run" else (args.command,)
    return chain.run_jobs(args, beam_args, jobs)
