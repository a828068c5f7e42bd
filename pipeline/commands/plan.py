"""`cloudlulc plan`: what a run will take and cost, before anything runs."""

from __future__ import annotations

import argparse

from pipeline import EXIT_BAD_INPUT, EXIT_OK
from pipeline.options import add_run_options

DESCRIPTION = """\
Searches the catalogue as the run would, and reads no pixel. With --out the bill is kept in
reports/plan.json; once the run is finished the same command, or cloudlulc report, shows it beside
what came of it. Rates were measured by benchmarks/rates.py; prices are examples to be checked.

Exit code 2, and the bill, where it exceeds --budget.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run_options(parser, needs_out=False)
    plan = parser.add_argument_group("the bill")
    plan.add_argument("--workers", type=int, default=1, help="processes of one core (default: 1)")
    plan.add_argument("--rates", metavar="FILE", help="JSON of benchmarks/rates.py")
    plan.add_argument("--prices", metavar="FILE", help="TOML like pipeline/prices.toml")
    plan.add_argument("--budget", type=float, metavar="AMOUNT", help="refuse a higher bill")
    plan.add_argument(
        "--no-search",
        action="store_true",
        help="ask no catalogue: every block is taken to have one pair, every tile one search",
    )
    plan.add_argument("--json", action="store_true", help="print the bill as JSON")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    import json
    from dataclasses import replace
    from datetime import UTC, datetime
    from math import isfinite
    from tempfile import TemporaryDirectory

    from pipeline import launch
    from pipeline.actual import compare, comparison_rows, keep_bill
    from pipeline.arguments import run_from
    from pipeline.bill import bill_of
    from pipeline.bill_text import bill_text, comparison_text
    from pipeline.chain import checked_source
    from pipeline.progress import say
    from pipeline.tariffs import PRICES, default_rates, load_prices, load_rates
    from transforms.scene import SourceUnavailable
    from transforms.sources import open_source

    if args.budget is not None and not (isfinite(args.budget) and args.budget >= 0):
        raise ValueError(f"budget: got {args.budget}, expected an amount, 0 or more")
    rates = load_rates(args.rates or default_rates())
    prices = load_prices(args.prices or PRICES)
    out = args.out
    with TemporaryDirectory(prefix="cloudlulc-plan-") as nowhere:
        planned = run_from(argparse.Namespace(**vars(args) | {"out": out or nowhere}))
        if out and launch.is_finished(planned):
            rows = compare(planned)
            if args.json:
                print(json.dumps({"run": planned.id, "comparison": comparison_rows(planned)}))
            else:
                said = comparison_text(planned, rows) if rows else "and no plan of it was kept"
                print(f"run {planned.id} is finished: nothing is left to do\n{said}")
            return EXIT_OK
        if args.no_search:
            open_source(planned.source)
            planned.product_tiles()
            source = None
        else:
            # The machine that plans needs no GPU.
            source = checked_source(replace(planned, device="cpu"))
        try:
            bill = bill_of(planned, source, rates, prices, args.workers)
        except SourceUnavailable as error:
            raise ValueError(f"{error}; --no-search plans without a catalogue") from error
        print(json.dumps(bill.to_dict(), indent=2) if args.json else bill_text(bill))
    if args.budget is not None and bill.total > args.budget:
        say(
            f"cloudlulc plan: {bill.total:,.2f} {prices.currency} exceed the budget of "
            f"{args.budget:,.2f}; choose a smaller region or fewer layers, or raise --budget"
        )
        return EXIT_BAD_INPUT
    if out:
        say(f"kept in {keep_bill(bill, datetime.now(UTC))}")
    return EXIT_OK
