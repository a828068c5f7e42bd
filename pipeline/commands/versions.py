"""`cloudlulc versions`: the versions of a series of dated runs, brought up to date."""

from __future__ import annotations

import argparse

from pipeline import EXIT_OK

DESCRIPTION = """\
SERIES is a folder of runs by date, as the schedule and the workflow make them: SERIES/2024-06-15.
Beside it, SERIES-versions/DATE/map is the run of that date over the version before it, and change
what changed between the two. What is up to date is left as it is.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("series", metavar="SERIES", help="folder of runs by date; gs:// too")
    parser.add_argument(
        "--rule",
        choices=("newest", "best-evidence"),
        default="newest",
        help="which date decides a pixel: the newest that shows it, or the most confident, of "
        "equals the newest (default: newest)",
    )


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Make every version that is not up to date, and print where they all lie."""
    from pipeline.arguments import absolute
    from pipeline.dated import make_versions

    series = absolute(args.series).rstrip("/")
    made = make_versions(series, args.rule)
    if not made:
        raise ValueError(f"{series} holds no finished run; expected a folder of runs by date")
    print("\n".join(made))
    return EXIT_OK
