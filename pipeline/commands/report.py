"""`cloudlulc report`: one self-contained HTML file on a run."""

from __future__ import annotations

import argparse

from pipeline import EXIT_OK

DESCRIPTION = """\
Map, class areas, cloud cover and coverage, evidence, seams, agreement, inputs, jobs, failures and
provenance of a run with a product, in one HTML file without scripts or outside addresses.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="output folder of a run, local or gs://")
    parser.add_argument("--to", help="file to write (default: RUN/reports/report.html)")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    from pipeline.arguments import absolute
    from pipeline.pages.run_page import run_page
    from pipeline.run_document import from_dict, read_run
    from transforms.store import join, write_bytes

    out = absolute(args.run)
    existing = read_run(out)
    if existing is None:
        raise ValueError(f"report: {out} holds no run (no run.json); name the folder of a run")
    url = absolute(args.to) if args.to else join(out, "reports", "report.html")
    write_bytes(url, run_page(from_dict(existing, out)).encode())
    print(url)
    return EXIT_OK
