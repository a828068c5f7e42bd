"""`cloudlulc agree`: where a product and another land-cover map agree."""

from __future__ import annotations

import argparse

from pipeline import EXIT_OK

DESCRIPTION = """\
  cloudlulc agree maps/ghana --with worldcover WorldCover/2021 --regions districts.geojson

Writes agreement.json, agreement.txt and a map of the differences of each tile. Agreement is not
accuracy: see docs/accuracy.md.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "product", metavar="PRODUCT", help="folder of a run or of a product, gs:// too"
    )
    parser.add_argument(
        "--with",
        dest="other",
        nargs=2,
        required=True,
        metavar=("NAME", "RASTER_OR_FOLDER"),
        help="worldcover, dynamicworld or esri; and its raster, or a folder of its tiles",
    )
    parser.add_argument(
        "--regions", help="GeoJSON of polygons, such as districts, that figures are wanted for"
    )
    parser.add_argument(
        "--region-name", default="name", help="property that names a polygon (default: name)"
    )
    parser.add_argument(
        "--out", help="folder to write to (default: RUN/reports, which the report reads)"
    )


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Compare, write, print."""
    from model.crosswalks import OTHER_MAPS
    from pipeline.region import load_places
    from transforms.agreement import Place, agreement, agreement_text, write_differences
    from transforms.other_map import OtherRasters
    from transforms.published import open_product, run_folder
    from transforms.store import exists, join, read_json, write_bytes, write_json

    name, address = args.other
    if name not in OTHER_MAPS:
        raise ValueError(f"--with: got {name}, expected one of {', '.join(OTHER_MAPS)}")
    other = OTHER_MAPS[name]
    product = open_product(args.product)
    out = args.out or join(run_folder(product), "reports")
    places = [Place("all that is mapped", None)]
    if args.regions:
        regions = load_places(args.regions, args.region_name)
        places += [Place(region.name, region.geometry) for region in regions]

    with OtherRasters(address, other.nodata) as rasters:
        document = agreement(
            product,
            other,
            rasters,
            places,
            lambda tile, windows: write_differences(
                join(out, f"agreement/{tile.name}_{name}.tif"),
                tile,
                windows,
                f"{product.title}, against {other.title}",
            ),
        )
    url = join(out, "agreement.json")
    all_of_product = read_json(url) if exists(url) else {}
    # Figures against several maps stand side by side; those of another product do not stay.
    kept = {k: v for k, v in all_of_product.items() if v["product"] == product.id}
    every = kept | {name: document}
    write_json(url, every)
    text = "\n\n".join(agreement_text(every[key]) for key in sorted(every))
    write_bytes(join(out, "agreement.txt"), f"{text}\n".encode())
    print(agreement_text(document))
    return EXIT_OK
