"""`cloudlulc schedule`: show a schedule, what of it is due, and run that."""

from __future__ import annotations

import argparse

DESCRIPTION = """\
render prints every country's newest run, due what has to be run and why, run runs it here.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("render", "due", "run"))
    parser.add_argument("--file", required=True, help="the schedule: deploy/schedule.toml")
    parser.add_argument("--date", help="the day taken for today (default: today, UTC)")
    parser.add_argument("--country", action="append", help="only this one; may be repeated")
    parser.add_argument("--due", action="store_true", help="run: only what is due, not every one")
    parser.add_argument("--json", action="store_true", help="render, due: for machines")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    from pipeline import scheduler

    return scheduler.schedule(args, beam_args)
