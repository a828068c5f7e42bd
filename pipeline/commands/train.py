"""`cloudlulc train`: train the network on a CloudLULC-Set folder."""

from __future__ import annotations

import argparse

from pipeline import EXIT_OK


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="folder in the layout of CloudLULC-Set")
    parser.add_argument("--out", required=True, help="folder for checkpoints and metrics")
    parser.add_argument("--preset", default="tiny", help="tiny, base or large (default: tiny)")
    parser.add_argument("--start", help="checkpoint to start from (default: random weights)")
    parser.add_argument("--steps", type=int, default=40_000, help="in all (default: 40000)")
    parser.add_argument("--batch", type=int, default=16, help="crops per step (default: 16)")
    parser.add_argument("--crop", type=int, default=256, help="side of a crop, px (default: 256)")
    parser.add_argument("--lr", type=float, default=4e-4, help="peak rate (default: 4e-4)")
    parser.add_argument("--warmup", type=int, default=1500, help="steps to the peak rate")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument("--save-every", type=int, default=500, help="steps between saved states")
    parser.add_argument(
        "--validate-every", type=int, default=1000, help="steps between validations"
    )
    parser.add_argument(
        "--card", help="JSON file for the checkpoint's card: data, licences, limits"
    )
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--labels-from-1", action="store_true", help="labels are 1..6, not 0..5, in the files"
    )


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Train the network on a folder in the layout of CloudLULC-Set; a stopped run goes on."""
    from model.train import train
    from pipeline.progress import say
    from transforms.store import exists, read_json

    options = {k: v for k, v in vars(args).items() if k not in ("command", "dataset", "out")}
    if args.card:
        if not exists(args.card):
            raise ValueError(f"--card: there is no file {args.card}")
        options["card"] = read_json(args.card)
    checkpoint = train(args.dataset, args.out, report=say, **options)
    print(f"{args.out}/checkpoint.safetensors {checkpoint.digest}")
    return EXIT_OK
