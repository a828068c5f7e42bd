"""`cloudlulc assess`: how accurate a product is, by a random sample that people interpret."""

from __future__ import annotations

import argparse

from pipeline import EXIT_FAILED, EXIT_OK

DESCRIPTION = """\
  cloudlulc assess design maps/ghana --out sample.csv
  (interpreters fill the column reference_class; see docs/accuracy.md)
  cloudlulc assess estimate maps/ghana --sample sample.csv --json accuracy.json

estimate ends with exit code 1 where the sample allows no estimates, and says why.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="what", required=True, metavar="design|estimate")
    product = {"metavar": "PRODUCT_OR_RUN", "help": "folder of a run or of a product, gs:// too"}

    design = what.add_parser("design", help="size a sample, draw it and write its table")
    design.add_argument("product", **product)
    design.add_argument("--out", required=True, help="table to write, .csv or .geojson")
    design.add_argument(
        "--strata",
        choices=("class-cloud", "class"),
        default="class-cloud",
        help="map class and how cloudy it was there, or map class alone (default: class-cloud)",
    )
    design.add_argument(
        "--standard-error",
        type=float,
        default=0.0125,
        help="wanted, of overall accuracy (default: 0.0125: an interval of 2.5 points each way)",
    )
    design.add_argument("--size", type=int, help="samples, instead of a wanted standard error")
    design.add_argument(
        "--expect",
        default="0.8",
        help="expected user's accuracy: one for all, or forest=0.9,water=0.95,... with 0.8 for the "
        "rest; a stratum counts, too: forest/cloudy=0.7 (default: 0.8)",
    )
    design.add_argument(
        "--allocation",
        choices=("proportional", "equal", "neyman"),
        default="proportional",
        help="how samples are shared out above the minimum (default: proportional, to area)",
    )
    design.add_argument(
        "--minimum", type=int, default=30, help="samples in each stratum (default: 30)"
    )
    design.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")

    estimate = what.add_parser("estimate", help="accuracy and areas from the filled table")
    estimate.add_argument("product", **product)
    estimate.add_argument("--sample", required=True, help="the filled table, .csv or .geojson")
    estimate.add_argument("--json", help="write all figures to this file")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Draw a sample, or estimate from a filled one."""
    return {"design": _design, "estimate": _estimate}[args.what](args)


def _design(args: argparse.Namespace) -> int:
    from transforms.assessment_text import design_text
    from transforms.published import open_product
    from transforms.sample_design import design
    from transforms.sample_table import is_geojson, write_table
    from transforms.sampling import draw
    from transforms.store import exists
    from transforms.strata import count_strata, stratification

    is_geojson(args.out)
    if exists(args.out):
        # Somebody may have filled it already.
        raise ValueError(f"--out: {args.out} is there already; choose another name or remove it")
    product = open_product(args.product)
    how = stratification(product, by_cloud=args.strata == "class-cloud")
    strata = count_strata(product, how)
    plan = design(
        strata.names,
        strata.pixels,
        strata.km2,
        expect=args.expect,
        standard_error=args.standard_error,
        size=args.size,
        rule=args.allocation,
        minimum=args.minimum,
    )
    write_table(args.out, draw(product, how, strata, plan.sizes, args.seed))
    print(design_text(strata, plan.sizes, plan.standard_error))
    print(f"{plan.sizes.sum()} samples in {args.out}; fill the column reference_class")
    return EXIT_OK


def _estimate(args: argparse.Namespace) -> int:
    from transforms.assessment import assess
    from transforms.assessment_text import assessment_text
    from transforms.published import open_product
    from transforms.sample_table import read_table
    from transforms.store import write_json

    product = open_product(args.product)
    rows = read_table(args.sample, [c.name for c in product.legend.classes])
    document = assess(product, rows)
    if args.json:
        write_json(args.json, document)
    print(assessment_text(document))
    return EXIT_FAILED if document["refused"] else EXIT_OK
