"""The command line: one module a command, and what they need is imported when they run."""

from __future__ import annotations

import argparse
import logging
import sys
from importlib import import_module
from types import ModuleType

import pipeline
from pipeline import EXIT_BAD_INPUT, EXIT_FAILED
from pipeline.options import JOBS
from transforms.masking import masked

DESCRIPTION = """\
Land-cover maps of a given date, cloud or not, from Sentinel-1 and Sentinel-2.

  cloudlulc run --region ghana --date 2024-06-15 --source files:my/catalog --out maps/ghana
"""

EPILOG = """\
Flags of Apache Beam follow after a lone --, for instance:
  cloudlulc run ... -- --direct_num_workers=2 --direct_running_mode=multi_processing

Exit codes: 0 done, 1 a job failed (see failures/ in the output folder), 2 bad input.
"""

COMMANDS = {name: (summary, "jobs") for name, summary in JOBS.items()} | {
    "plan": ("what a run will take and cost, before anything runs", "plan"),
    "submit": ("the jobs on Google Cloud Dataflow", "submit"),
    "audit": ("whether a run is complete and as written; --repair makes the rest anew", "audit"),
    "retry": ("the keys that a run's jobs gave up on, once more", "retry"),
    "canary": ("whether a new checkpoint maps golden chips as the one in use does", "canary"),
    "schedule": ("which countries are mapped when: show, list what is due, run it", "schedule"),
    "info": ("what a run or a checkpoint holds; or: info regions", "info"),
    "view": ("products on a local web map", "view"),
    "report": ("one HTML file on a run and its product", "report"),
    "inspect": ("what the pixels of scenes say of their metadata", "inspect"),
    "overview": ("a product at 100 m and 1 km, and in one piece for GDAL and QGIS", "overview"),
    "merge": ("one product from those of several dates", "merge"),
    "versions": ("a series of dated runs, each over the one before, with the changes", "versions"),
    "change": ("what changed between two dated products: rasters and a table of areas", "change"),
    "clean": ("remove the chips of a run whose product is final", "clean"),
    "train": ("train the network on a CloudLULC-Set folder", "train"),
    "evaluate": ("score a checkpoint or a product on a CloudLULC-Set folder", "evaluate"),
    "dataset": ("make a CloudLULC-Set folder from imagery and a land-cover product", "dataset"),
    "assess": ("accuracy and areas by a random sample that people interpret", "assess"),
    "agree": ("where a product and another land-cover map agree", "agree"),
}
"""Name of a command: what it is for, and its module in `pipeline.commands`."""

TAKE_BEAM_FLAGS = (*JOBS, "submit", "audit", "retry", "schedule")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    argv, beam_args = _split(argv)
    args = build_parser().parse_args(_join_negative_region(argv))
    from transforms.store import storage_errors

    # gcsfs prints a traceback of whatever it raises.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    try:
        return _module(args.command).run(args, beam_args)
    except ValueError as error:
        print(masked(f"cloudlulc {args.command}: {error}"), file=sys.stderr)
        return EXIT_BAD_INPUT
    except storage_errors() as error:
        urls = [value for value in vars(args).values() if isinstance(value, str) and "://" in value]
        where = f"storage ({', '.join(urls)})" if urls else "storage"
        why = masked(f"cloudlulc {args.command}: {where} refused, {type(error).__name__}: {error}")
        print(
            f"{why}; mend that and run the same command again: what is finished stays",
            file=sys.stderr,
        )
        return EXIT_FAILED


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """What stands before and after a lone `--`: ours, and Beam's."""
    if "--" not in argv:
        return argv, []
    cut = argv.index("--")
    return argv[:cut], argv[cut + 1 :]


def _join_negative_region(argv: list[str]) -> list[str]:
    """`--region -17,13,-13,14` -> `--region=-17,...`: argparse takes the box for an option."""
    joined = list(argv)
    for i in range(len(joined) - 2, -1, -1):
        if joined[i] == "--region" and joined[i + 1][:2].strip("-").isdigit():
            joined[i : i + 2] = [f"--region={joined[i + 1]}"]
    return joined


def build_parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "cloudlulc", description=DESCRIPTION, epilog=EPILOG, formatter_class=formatter
    )
    parser.add_argument("--version", action="version", version=f"cloudlulc {pipeline.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (summary, _) in COMMANDS.items():
        module = _module(name)
        module.add_options(
            commands.add_parser(
                name,
                help=summary,
                description=f"{summary}.\n\n{getattr(module, 'DESCRIPTION', '')}",
                epilog=EPILOG if name in TAKE_BEAM_FLAGS else None,
                formatter_class=formatter,
            )
        )
    return parser


def _module(command: str) -> ModuleType:
    return import_module(f"pipeline.commands.{COMMANDS[command][1]}")
