"""`cloudlulc evaluate`: scores of a checkpoint, or of a product, on a CloudLULC-Set folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from pipeline import EXIT_OK

DESCRIPTION = """\
Scores on a folder in the layout of CloudLULC-Set: overall, by class, by cloud cover, on clear and
on cloudy pixels, with 95 % bootstrap intervals; as a table, and as JSON with the counts of every
sample. Every file is checked before the first sample is scored. See docs/dataset.md.
"""

MODALITIES = ("s1+s2", "s1", "s2")
PRECISIONS = ("float32", "bfloat16")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="folder in the layout of CloudLULC-Set")
    parser.add_argument("--checkpoint", help="weights, .safetensors (default: the shipped ones)")
    parser.add_argument("--split", default="test", help="train, val or test (default: test)")
    parser.add_argument("--json", help="file for all figures and the counts of every sample")
    parser.add_argument(
        "--resume", action="store_true", help="go on where an evaluation to the same JSON stopped"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--sensors", choices=MODALITIES, help="what the network is given (default: s1+s2)"
    )
    which.add_argument("--modalities", action="store_true", help="all three, one after the other")
    parser.add_argument("--product", help="score this folder of rasters NAME.tif, not a network")
    parser.add_argument(
        "--crosswalk", help="whose codes the rasters hold: worldcover, dynamicworld or lulc6"
    )
    parser.add_argument(
        "--bootstrap", type=int, default=1000, help="draws for the intervals (default: 1000)"
    )
    parser.add_argument(
        "--labels-from-1", action="store_true", help="labels are 1..6, not 0..5, in the files"
    )
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="what the network computes in (default: float32)"
    )


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Score a checkpoint or a product on a split and print the table."""
    import warnings

    from rasterio.errors import NotGeoreferencedWarning

    from model.score_table import score_table
    from model.scored_split import score_split
    from pipeline.progress import say

    _check(args)
    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # labels need no place on the earth
    counters, about, check_rows = (_product if args.product else _network)(args)
    document = score_split(
        args.dataset,
        args.split,
        counters,
        about,
        labels_from_1=args.labels_from_1,
        out=args.json,
        resume=args.resume,
        draws=args.bootstrap,
        check_rows=check_rows,
        each=_teller(say),
    )
    print(score_table(document))
    return EXIT_OK


def _check(args: argparse.Namespace) -> None:
    if args.resume and not args.json:
        raise ValueError("--resume needs --json: the counts lie beside that file")
    if args.json and "://" in args.json:
        raise ValueError(f"--json {args.json}: expected a local file, as the data set is local")
    if args.bootstrap < 0:
        raise ValueError(f"--bootstrap: got {args.bootstrap}, expected 0 or more draws")
    if bool(args.product) != bool(args.crosswalk):
        raise ValueError("--product and --crosswalk go together: which rasters, and whose codes")
    if args.product and (args.checkpoint or args.sensors or args.modalities or args.precision):
        raise ValueError(
            "--product scores rasters: --checkpoint, --sensors, --modalities and --precision do "
            "not apply"
        )


def _network(args: argparse.Namespace):
    """What counts with a checkpoint, what tells it from others, and what else to check: nothing."""
    from functools import partial

    import torch

    from model.checkpoint import load, require_match
    from model.evaluate import evaluate
    from model.inputs import INPUTS
    from model.legend import LULC6
    from model.predict import Predictor
    from pipeline.config import DEFAULT_CHECKPOINT
    from transforms.pixels.spectral_clouds import spectral_mask

    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: got cuda, and torch finds no GPU here; use --device cpu")
    checkpoint = load(args.checkpoint or DEFAULT_CHECKPOINT)
    require_match(checkpoint, INPUTS, LULC6)
    precision = args.precision or PRECISIONS[0]
    predictor = Predictor(checkpoint, args.device, args.threads, precision=precision)
    chosen = MODALITIES if args.modalities else (args.sensors or MODALITIES[0],)
    counters = {
        name: partial(
            evaluate,
            predictor.predict,
            inputs=name,
            batch=predictor.batch,
            cloud_mask=spectral_mask,
        )
        for name in chosen
    }
    about = {
        "checkpoint": checkpoint.digest,
        "inputs": list(chosen),
        "device": args.device,
        "precision": precision,
    }
    return counters, about, lambda rows: None


def _product(args: argparse.Namespace):
    """What counts with a product's rasters, what tells it from others, and their check."""
    from functools import partial

    from model.evaluate import evaluate_maps
    from model.product_maps import ProductMaps
    from transforms.pixels.spectral_clouds import spectral_mask

    maps = ProductMaps(args.product, args.crosswalk)
    counters = {"product": partial(evaluate_maps, maps, cloud_mask=spectral_mask)}
    return counters, {"product": args.product, "crosswalk": args.crosswalk}, maps.check


def _teller(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """Tells every 20th part, and the last count."""

    def tell(done: int, total: int) -> None:
        if done == total or done % max(1, total // 20) == 0:
            say(f"evaluate: {done} of {total} samples")

    return tell
