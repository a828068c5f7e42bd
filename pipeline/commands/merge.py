"""`cloudlulc merge`: one product from those of several dates."""

from __future__ import annotations

import argparse

from pipeline import EXIT_OK

DESCRIPTION = """\
PRODUCT is a folder of a run or of a product; all of the same region, grid, legend and weights.
Every pixel, with all its evidence, comes from one of them; the layer `date` says from which.
Tiles to which only one product adds scenes are linked, not made.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("products", nargs="+", metavar="PRODUCT", help="folder; gs:// too")
    parser.add_argument("--out", required=True, help="folder of the new product; gs:// too")
    parser.add_argument(
        "--rule",
        choices=("newest", "best-evidence"),
        default="newest",
        help="which product decides a pixel: the newest that shows it, or the most confident, of "
        "equals the newest (default: newest)",
    )


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Write the product of several dates."""
    from pipeline.arguments import absolute
    from pipeline.progress import say
    from transforms.merge import write_merged
    from transforms.product import collection_url
    from transforms.versions import open_versions

    if len(args.products) < 2:
        raise ValueError(f"got one product, {args.products[0]}; expected two or more to merge")
    out = absolute(args.out)
    versions = open_versions([absolute(url) for url in args.products])
    done = write_merged(versions, out, args.rule)
    say(", ".join(f"{len(names)} tile(s) {how}" for how, names in done.items()))
    print(collection_url(out))
    return EXIT_OK
