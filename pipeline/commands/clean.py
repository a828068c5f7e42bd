"""`cloudlulc clean`: remove the chips of a run whose product is final."""

from __future__ import annotations

import argparse

from pipeline import EXIT_OK

DESCRIPTION = """\
Removes the folder chips/, which takes most room. Maps and product stay, and the run stays
finished; a product that is not complete is refused.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="output folder of the run; gs:// too")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Remove the chip cubes, or say why not."""
    from pipeline import launch
    from pipeline.arguments import absolute
    from pipeline.progress import say
    from pipeline.run_document import from_dict, read_run

    out = absolute(args.out)
    existing = read_run(out)
    if existing is None:
        raise ValueError(f"{out} holds no run; expected the output folder of cloudlulc run")
    launch.clean(from_dict(existing, out))
    say(f"{out}: the chips are gone, the product stays")
    return EXIT_OK
