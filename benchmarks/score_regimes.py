"""The accuracy of a checkpoint by regime, printed and, if wanted, written into its card.

    python -m benchmarks.score_regimes CHECKPOINT SET [--split test] [--data WORDS] [--into FILE]

SET is a folder in CloudLULC-Set's layout, as `cloudlulc train` takes it. Every patch lies under the
simulated clouds of `model.validation`. `--into` writes the checkpoint with the table in its card:
another file, with another digest. Products made with it repeat the table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from model.checkpoint import load, save
from model.dataset import decode
from model.predict import Predictor
from model.regime_scores import score_regimes, split_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("set", type=Path)
    parser.add_argument("--split", default="test", choices=["train", "val", "test"])
    parser.add_argument("--data", help="what the patches are; the folder's name by default")
    parser.add_argument("--labels-from-1", action="store_true")
    parser.add_argument("--into", type=Path, help="checkpoint to write, with the table in its card")
    parser.add_argument("--float16", action="store_true", help="store its weights as float16")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    checkpoint = load(args.checkpoint)
    words = args.data or f"{args.split} split of {args.set.name}"
    words += ", simulated clouds of 0 to 100 %"
    with tempfile.TemporaryDirectory(prefix="cloudlulc-") as folder:
        patches = decode(args.set, args.split, folder, args.labels_from_1)
        predictor = Predictor(checkpoint, threads=args.threads)
        table = score_regimes(predictor, split_samples(patches), words)
    print(json.dumps(table, indent=1))
    if args.into:
        card = checkpoint.card | {"regimes": table}
        saved = save(args.into, replace(checkpoint, card=card), half=args.float16)
        print(f"{args.into}: {saved.digest}")


if __name__ == "__main__":
    main()
