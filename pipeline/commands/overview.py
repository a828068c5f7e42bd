"""`cloudlulc overview`: a product at 100 m and 1 km, and in one piece for GDAL and QGIS."""

from __future__ import annotations

import argparse

from pipeline import EXIT_OK

DESCRIPTION = """\
PRODUCT is a folder of a run or of a product. Writes its folder overview/: lulc_100m.tif and
lulc_1km.tif (the most frequent class of each cell), class_share_1km.tif, and a VRT per layer over
all tiles; QGIS opens lulc.vrt with colours and class names.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("product", metavar="PRODUCT", help="folder; gs:// too")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Write the overview and print where its files lie."""
    from pipeline.arguments import absolute
    from transforms.overview import overview_url, write_overview
    from transforms.published import open_product
    from transforms.store import join

    product = open_product(absolute(args.product))
    for name in write_overview(product):
        print(join(overview_url(product), name))
    return EXIT_OK
