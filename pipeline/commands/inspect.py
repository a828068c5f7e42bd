"""`cloudlulc inspect`: what the pixels of scenes say of their metadata."""

from __future__ import annotations

import argparse

from pipeline import EXIT_FAILED, EXIT_OK

DESCRIPTION = """\
Look at scenes: offset, defects, range of values, shift of SAR against optical.

Exit code 1 where a scene belongs in quarantine.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "items", nargs="+", metavar="ITEM", help="STAC item, folder of items, or catalog"
    )


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Print what the pixels of STAC items say of them; fails where one belongs in quarantine."""
    from pipeline.progress import say
    from transforms.inspect import inspect_items
    from transforms.scene import SourceUnavailable

    try:
        text, quarantined = inspect_items(args.items)
    except SourceUnavailable as error:
        say(f"cloudlulc inspect: {error}")
        return EXIT_FAILED
    print(text)
    return EXIT_FAILED if quarantined else EXIT_OK
