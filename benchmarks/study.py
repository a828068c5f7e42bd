"""CloudLULC-Net against its peers and its own ablations: equal data, steps, seeds and decoder.

    python -m benchmarks.study DATASET OUT --real DATA [--steps 300] [--seeds 0 1 2] [--models ...]
    python -m benchmarks.study --table OUT

DATASET is a folder in CloudLULC-Set's layout with clear images. The queue trains every model with
every seed and appends one line per finished run to OUT/results.jsonl; a killed queue goes on where
it stopped, in the middle of a run, too. Every network is scored on the test split: the central crop
of each clear image under a simulated cloud of each bin of cover, so that bins differ in nothing
else. DATA, if given, holds the real scenes of `real_scenes`, which no sample was made from; their
labels are those of another network (Dynamic World on the clear image), not truth. `--table` prints
the means over seeds and the paired bootstrap over places of `full` minus each other model.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.real_scenes import scenes
from model.baselines import PEERS
from model.bootstrap import paired_bootstrap
from model.clouds import simulate_clouds
from model.config import Config
from model.dataset import decode, read_split
from model.evaluate import BINS, Predict, cloud_bin, evaluate
from model.fit import Recipe, fit
from model.inputs import INPUTS
from model.legend import LULC6
from model.losses import PLUS
from model.metrics import mean_iou, overall_accuracy
from model.network import CloudLULCNet
from model.patch import Patches, Sample
from model.predict import UNKNOWN, Prediction
from model.train import class_weights, statistics

SMALL = Config(
    stem=16,
    dims=(16, 32, 48, 64),
    optical_depths=(1, 1, 2, 1),
    sar_depths=(1, 1, 1, 1),
    tokens=64,
    latent=32,
    usmt_depth=1,
    decoder=(48, 24),
)
"""The preset of the study: about 0.65 M parameters."""

ABLATIONS = {
    "full": {},
    "no ORM": {"orm": False},
    "no HIAA": {"hiaa": False},
    "no SHOI": {"shoi": False},
    "no CHOI": {"choi": False},
    "no USMT": {"usmt": False},
    "no anchor": {"anchor": "none"},
}
NO_CLOUD_LOSS = "no reliability loss"
MODELS = ["full", *PEERS, *list(ABLATIONS)[1:], NO_CLOUD_LOSS]
REAL_COVERS = (0.0, 0.3, 0.5, 0.7, 0.9)
REAL_SIZE = 256  # px, the central part of a scene
CLOUDY = BINS[1:]


class Model(NamedTuple):
    make: Callable[[], nn.Module]
    recipe: Recipe


def model_of(name: str, recipe: Recipe) -> Model:
    """What a name of `MODELS` stands for; peers and ablations learn by the same recipe."""
    if name in PEERS:  # they have no reliability to teach
        return Model(
            partial(PEERS[name], SMALL), recipe._replace(loss=replace(recipe.loss, reliability=0.0))
        )
    if name == NO_CLOUD_LOSS:
        return Model(
            partial(CloudLULCNet, SMALL),
            recipe._replace(loss=replace(recipe.loss, reliability=0.0)),
        )
    return Model(partial(CloudLULCNet, replace(SMALL, **ABLATIONS[name])), recipe)


def clouded_samples(patches: Patches, names: list[str], places: list[str], crop: int) -> list:
    """The central crop of each patch under a simulated cloud of each bin of cover."""
    samples = []
    y, x = ((n - crop) // 2 for n in patches.label.shape[1:])
    window = (..., slice(y, y + crop), slice(x, x + crop))
    for i, (name, place) in enumerate(zip(names, places, strict=True)):
        for k in range(len(BINS)):
            rng = np.random.default_rng([11, i, k])
            under = simulate_clouds(patches.clear[i][window], rng, (k + rng.uniform()) / len(BINS))
            sar, label = patches.sar[i][window], patches.label[i][window]
            samples.append(
                Sample(f"{name}@{k}", place, label.shape, under.optical, sar, label, under.mask())
            )
    return samples


def real_samples(data: Path) -> list[Sample]:
    """Clear, labelled real scenes of both sensors under simulated clouds."""
    samples = []
    for scene in scenes(data):
        both = scene.optical.any(0) & (scene.sar != INPUTS.sar.nodata).all(0)
        if scene.source != "teacher" or not scene.clear or not both.any():
            continue
        window = (..., *(slice((n - REAL_SIZE) // 2, (n + REAL_SIZE) // 2) for n in both.shape))
        optical, sar, label = (a[window] for a in (scene.optical, scene.sar, scene.label))
        for cover in REAL_COVERS:
            under = simulate_clouds(optical, np.random.default_rng(int(100 * cover)), cover)
            name, place = f"{scene.name}@{cover}", scene.name.split()[0]
            samples.append(
                Sample(name, place, label.shape, under.optical, sar, label, under.mask())
            )
    return samples


def predict_with(network: nn.Module) -> Predict:
    """A network as a function of chips; it tells neither confidence nor reliability."""

    def predict(optical: np.ndarray, sar: np.ndarray) -> Prediction:
        with torch.inference_mode():
            logits = network(
                *(torch.from_numpy(a.astype(np.float32)) for a in (optical, sar))
            ).logits
        lulc = LULC6.codes(logits.argmax(1).to(torch.uint8).numpy())
        unknown = np.full(lulc.shape, UNKNOWN, np.uint8)
        return Prediction(lulc, unknown, unknown)

    return predict


def counted(network: nn.Module, samples: list[Sample]) -> list[dict]:
    return [
        {"name": s.name, "place": s.place, "cloud": s.cloud, "confusion": s.confusion.tolist()}
        for s in evaluate(predict_with(network), samples, batch=8)
    ]


def run_queue(
    dataset: Path, out: Path, real: Path | None, recipe: Recipe, seeds: list[int], names: list[str]
) -> None:
    """Trains and scores what is not in OUT/results.jsonl yet, one seed of all models at a time."""
    out.mkdir(parents=True, exist_ok=True)
    splits = {s: decode(dataset, s, out / "decoded") for s in ("train", "val", "test")}
    rows = read_split(dataset, "test")
    tests = clouded_samples(
        splits["test"], [r.name for r in rows], [r.place for r in rows], recipe.crop
    )
    reals = [] if real is None else real_samples(real)
    weights = class_weights(splits["train"].label)
    recipe = recipe._replace(loss=replace(recipe.loss, classes=weights))
    results = out / "results.jsonl"
    done = {(r["model"], r["seed"]): r["arguments"] for r in finished(out)}
    for seed in seeds:
        for name in names:
            model = model_of(name, recipe._replace(seed=seed))
            torch.manual_seed(seed)
            network = model.make()
            arguments = model.recipe.arguments(
                splits["train"], model=name, config=network.config.to_dict()
            )
            arguments = json.loads(json.dumps(arguments))
            if (name, seed) in done:
                if done[name, seed] != arguments:
                    raise ValueError(
                        f"{results}: {name}, seed {seed} was made with other arguments "
                        f"{done[name, seed]}, expected {arguments}; use another OUT"
                    )
                continue
            network.scaling.set_statistics(*statistics(network.scaling, splits["train"]))
            folder = out / "runs" / f"{name.replace(' ', '-')}-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            began = time.process_time()
            trained = fit(
                network, splits, folder, model.recipe, arguments, save_every=100,
                validate_every=model.recipe.steps, report=lambda _: None,
            )  # fmt: skip
            line = {
                "model": name,
                "seed": seed,
                "parameters": sum(p.numel() for p in network.parameters()),
                "arguments": arguments,
                "cpu_seconds": round(time.process_time() - began, 1),
                "test": counted(trained, tests),
                "real": counted(trained, reals),
            }
            with open(results, "a") as file:
                file.write(json.dumps(line) + "\n")
            print(f"{name} seed {seed}: {summary(line)}", flush=True)


def finished(out: Path) -> list[dict]:
    path = out / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def summary(line: dict) -> str:
    bins = " ".join(f"{b} {100 * mean_iou(total(line['test'], [b])):.1f}" for b in BINS)
    return f"{line['cpu_seconds']:.0f} s, mIoU by cover {bins}"


def total(samples: list[dict], bins: tuple[str, ...] | list[str] = BINS) -> np.ndarray:
    """Confusion (C,C) of the samples whose cloud cover is in the bins."""
    empty = np.zeros((len(LULC6.classes),) * 2, np.int64)
    return sum((np.array(s["confusion"]) for s in within(samples, bins)), empty)


def within(samples: list[dict], bins: tuple[str, ...] | list[str]) -> list[dict]:
    return [s for s in samples if cloud_bin(s["cloud"]) in bins]


def table(results: list[dict]) -> Iterator[str]:
    """Markdown: scores by bin of cover, then full minus each other model."""
    by_model = {
        name: {r["seed"]: r for r in results if r["model"] == name}
        for name in MODELS
        if any(r["model"] == name for r in results)
    }
    for kind in ("test", "real"):
        if any(r[kind] for r in results):
            yield from _scores(by_model, kind)
            yield from _differences(by_model, kind)


def _scores(by_model: dict[str, dict[int, dict]], kind: str) -> Iterator[str]:
    seeds = sorted({seed for runs in by_model.values() for seed in runs})
    yield f"\n{kind}: mIoU in percent by cloud cover, mean +- sd over seeds {seeds}; OA last\n"
    yield f"| model | parameters | CPU s | {' | '.join(BINS)} | 20-100 | OA 20-100 |"
    yield "|---" * (len(BINS) + 5) + "|"
    for name, runs in by_model.items():
        cells = [
            _spread([100 * score(total(r[kind], bins)) for r in runs.values()])
            for score, bins in (
                *((mean_iou, [b]) for b in BINS), (mean_iou, CLOUDY), (overall_accuracy, CLOUDY),
            )
        ]  # fmt: skip
        first = next(iter(runs.values()))
        seconds = np.mean([r["cpu_seconds"] for r in runs.values()])
        yield (
            f"| {name} | {first['parameters'] / 1e6:.2f} M | {seconds:.0f} | {' | '.join(cells)} |"
        )


def _differences(by_model: dict[str, dict[int, dict]], kind: str) -> Iterator[str]:
    """The interval is over places, with the seeds as they are; so each seed's gap stands beside."""
    yield f"\n{kind}: full minus model at 20-100 % cover, points [95 % interval over places]\n"
    yield "| model | mIoU | OA | mIoU of each seed |"
    yield "|---|---|---|---|"
    full = by_model.get("full", {})
    for name, runs in by_model.items():
        common = sorted(full.keys() & runs.keys())
        if name == "full" or not common:
            continue
        sides = [
            [
                {**s, "name": f"{s['name']} {seed}"}
                for seed in common
                for s in within(side[seed][kind], CLOUDY)
            ]
            for side in (full, runs)
        ]
        cells = []
        for statistic in ("miou", "oa"):
            d = paired_bootstrap(*sides, statistic)
            cells.append(f"{100 * d.estimate:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]")
        gaps = [
            100 * (mean_iou(total(full[s][kind], CLOUDY)) - mean_iou(total(runs[s][kind], CLOUDY)))
            for s in common
        ]
        cells.append(", ".join(f"{gap:+.1f}" for gap in gaps))
        yield f"| {name} | {' | '.join(cells)} |"


def _spread(values: list[float]) -> str:
    spread = np.std(values, ddof=1) if len(values) > 1 else np.nan
    return f"{np.mean(values):.1f} +- {spread:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--table", type=Path, metavar="OUT", help="print the tables of a queue")
    parser.add_argument("--real", type=Path, metavar="DATA", help="real scenes to score on, too")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()
    if args.table:
        print("\n".join(table(finished(args.table))))
        return
    if args.out is None:
        parser.error("give DATASET and OUT, or --table OUT")
    torch.set_num_threads(1)
    recipe = Recipe(args.steps, args.batch, args.crop, args.lr, warmup=30, seed=0, loss=PLUS)
    run_queue(args.dataset, args.out, args.real, recipe, args.seeds, args.models)


if __name__ == "__main__":
    main()
