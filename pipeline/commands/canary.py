"""`cloudlulc canary`: whether a new checkpoint may be used."""

from __future__ import annotations

import argparse

from pipeline import EXIT_FAILED, EXIT_OK

DESCRIPTION = """\
Maps twelve real chips, shipped with the package, with a new checkpoint and with the one in use:
shares of the classes, agreement, confidence and reliability of both. A checkpoint that drifts is
refused by run, submit and schedule, unless --accept-drift says that the drift is meant. The verdict
is left beside the weights, CHECKPOINT.canary.json.

Exit code 0 where it may be used, 1 where it may not.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="weights, .safetensors")
    parser.add_argument("--against", help="weights in use (default: the shipped ones)")
    parser.add_argument(
        "--accept-drift", action="store_true", help="let it be used whatever is found"
    )
    parser.add_argument("--json", action="store_true", help="print what the verdict's file holds")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Compare a checkpoint with the one in use on the golden chips."""
    from pipeline import canary
    from pipeline.arguments import absolute
    from pipeline.config import DEFAULT_CHECKPOINT
    from transforms.store import read_bytes

    path = absolute(args.checkpoint)
    found = canary.try_checkpoint(path, absolute(args.against or DEFAULT_CHECKPOINT))
    url = canary.write_verdict(path, found, args.accept_drift)
    print(read_bytes(url).decode() if args.json else canary.text(found))
    return EXIT_OK if found.passed or args.accept_drift else EXIT_FAILED
