"""`cloudlulc info`: what a run, a checkpoint or the shipped regions hold."""

from __future__ import annotations

import argparse

from pipeline import EXIT_OK


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", help="output folder, .safetensors file, or the word regions")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Print what a run, a checkpoint or the shipped regions hold."""
    from pipeline import report
    from pipeline.arguments import absolute
    from pipeline.region import shipped_regions
    from pipeline.run_document import from_dict, read_run

    what = args.what
    if what == "regions":
        print("\n".join(shipped_regions()))
    elif what.endswith(".safetensors"):
        print(report.checkpoint_text(what))
    elif (existing := read_run(absolute(what))) is not None:
        print(report.run_text(from_dict(existing, absolute(what))))
    else:
        raise ValueError(
            f"got {what!r}, expected the output folder of a run, a .safetensors file or: regions"
        )
    return EXIT_OK
