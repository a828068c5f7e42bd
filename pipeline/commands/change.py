"""`cloudlulc change`: what changed between two dated products."""

from __future__ import annotations

import argparse

from pipeline import EXIT_OK

DESCRIPTION = """\
OLD and NEW are folders of runs or of products, of the same region, grid, legend and weights.
Only tiles whose newer map was made from other scenes are compared.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help="folder of the earlier product; gs:// too")
    parser.add_argument("new", metavar="NEW", help="folder of the later one")
    parser.add_argument("--out", required=True, help="folder of the change; gs:// too")
    parser.add_argument(
        "--confidence",
        type=int,
        default=60,
        help="percent that both dates need for a pixel to count (default: 60)",
    )


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Write the change between two products, and print its table."""
    from pipeline.arguments import absolute
    from pipeline.progress import say
    from transforms.change import write_change
    from transforms.product import product_url
    from transforms.store import join, read_bytes
    from transforms.versions import open_versions

    if not 0 <= args.confidence <= 100:
        raise ValueError(f"--confidence: got {args.confidence}, expected 0 to 100 percent")
    old, new, out = (absolute(url) for url in (args.old, args.new, args.out))
    older, newer = open_versions([old, new])
    done = write_change(older, newer, out, args.confidence)
    say(", ".join(f"{len(names)} tile(s) {how}" for how, names in done.items()))
    print(read_bytes(join(product_url(out), "change.csv")).decode(), end="")
    return EXIT_OK
