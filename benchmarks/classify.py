"""The classify job beside the bare loop of its network over the same chips in memory.

Usage: python -m benchmarks.classify [--blocks 48] [--in-memory 6] [--repeats 2] [--threads N]
         [--precision float32] [--checkpoint FILE] [--folder FOLDER]

Blocks of the default grid (2 x 2 chips of 512 px). A few are ingested from the synthetic source,
the others hold their chips again: the network's time does not depend on what it sees. In turn:

* loop: a warm `Predictor` maps the chips of some blocks, in memory, and writes nothing;
* loop with probabilities: what the job asks of the network, for maps whose chips are blended;
* job: `launch.execute` on the default runner as `cloudlulc classify` runs it, model load and start
  of Beam included, imports not; from chip cubes to sealed map cubes;
* job, half: the same of half of the blocks. The difference is what further blocks cost.

Times are per block, on the clock and of the processors. All ways use the same threads. That the
job's maps are those of the loop is checked: equal bytes. Last, the steps beside the network, one
after the other by themselves: what they take of a processor is how many keep a GPU busy.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks import timing
from benchmarks.rates import run_in
from model import checkpoint
from model.precision import PRECISIONS
from model.predict import Predictor
from pipeline import launch
from pipeline.config import DEFAULT_CHECKPOINT, RunConfig
from transforms.chips import finished_chips, open_chip_cube, read_chips, write_chips
from transforms.classify import map_block
from transforms.grid import BlockKey
from transforms.mapcube import open_map_cube, write_core
from transforms.pixels.chip import Chips
from transforms.sources import open_source
from transforms.store import join

TARGET = 1.05


def make_chips(run: RunConfig, blocks: int) -> list[BlockKey]:
    """Fill the run's one tile up to so many blocks; returns them."""
    (tile,) = run.tiles()
    launch.start(run)
    launch.execute("ingest", run, open_source(run.source), [])
    made = sorted(finished_chips(run.out, tile, run.grid))
    cube = open_chip_cube(run.out, tile, run.grid, run.inputs)
    places = itertools.product(range(run.grid.blocks_per_tile), repeat=2)
    others = [
        key for place in places if (key := replace(made[0], row=place[0], col=place[1])) not in made
    ]
    for key, like in zip(others[: max(0, blocks - len(made))], itertools.cycle(made), strict=False):
        write_chips(cube, run.grid, run.inputs, key, read_chips(cube, run.grid, like))
    return sorted(finished_chips(run.out, tile, run.grid))


def prepared(run: RunConfig, out: Path) -> RunConfig:
    """The run in a folder of its own, with the same chips and no maps yet."""
    out.mkdir()
    (out / "chips").symlink_to(join(run.out, "chips"))
    of_its_own = replace(run, out=str(out))
    launch.start(of_its_own)
    return of_its_own


def run_job(run: RunConfig) -> None:
    report = launch.execute("classify", run, None, [])
    if report.failed or report.done != report.todo:
        raise RuntimeError(f"classify: {report}")


def check_maps(run: RunConfig, chips: dict[BlockKey, Chips], network: Predictor) -> None:
    """Raise RuntimeError where the job's maps are not those that the loop makes."""
    (tile,) = run.tiles()
    cube = open_map_cube(run.out, tile, run.grid)
    for key, of_block in chips.items():
        mapped = of_block, *network.predict_with_probabilities(of_block.optical, of_block.sar)
        layers, edges = map_block(mapped, run.grid, run.layers, run.blended)
        same = [np.array_equal(cube.arrays[n][run.grid.core(key)], p) for n, p in layers.items()]
        if not all(same) or not np.array_equal(cube.edges[key.row, key.col], edges):
            raise RuntimeError(f"block {key}: the job's map is not the loop's")


def steps(run: RunConfig, chips: dict[BlockKey, Chips], network: Predictor) -> dict[str, float]:
    """CPU seconds per block, medians, of what the job does beside the network, step by step."""
    (tile,) = run.tiles()
    taken: dict[str, list[float]] = {"read chips": [], "map block": [], "write core": []}

    def timed(step: str, work: Callable, *args):
        began = time.process_time()
        result = work(*args)
        taken[step].append(time.process_time() - began)
        return result

    maps = open_map_cube(run.out, tile, run.grid)
    cube = open_chip_cube(run.out, tile, run.grid, run.inputs)
    for key in chips:
        found = timed("read chips", read_chips, cube, run.grid, key)
        mapped = found, *network.predict_with_probabilities(found.optical, found.sar)
        made = timed("map block", map_block, mapped, run.grid, run.layers, run.blended)
        timed("write core", write_core, maps, run.grid, key, *made)
    return {step: median(seconds) for step, seconds in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=48, help="of the job, 100 at most")
    parser.add_argument("--in-memory", type=int, default=6, help="blocks of the loops")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, help="as of `cloudlulc classify`")
    parser.add_argument("--precision", default="float32", choices=PRECISIONS)
    parser.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT)
    parser.add_argument("--folder", help="keep the chips there for the next time")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(args.folder or temporary) / "made"
        run = run_in(out, 2, "synthetic:seed=1", args.checkpoint, "cpu")
        keys = make_chips(run, args.blocks)[: args.blocks]
        run = replace(run, threads=args.threads, precision=args.precision)
        measure(run, keys, args.in_memory, args.repeats, Path(temporary))


def measure(
    run: RunConfig, keys: list[BlockKey], in_memory: int, repeats: int, folder: Path
) -> None:
    network = Predictor(
        checkpoint.load(run.checkpoint), run.device, run.threads, precision=run.precision
    )
    cube = open_chip_cube(run.out, keys[0].tile, run.grid, run.inputs)
    chips = {key: read_chips(cube, run.grid, key) for key in keys[:in_memory]}
    half = len(keys) // 2
    runs = [prepared(run, folder / f"job-{n}") for n in range(2 * repeats + 1)]
    wholes = iter([replace(r, only=frozenset(keys)) for r in runs[:repeats]])
    halves = iter([replace(r, only=frozenset(keys[:half])) for r in runs[repeats:-1]])

    def loop(predict: Callable) -> None:
        for of_block in chips.values():
            predict(of_block.optical, of_block.sar)

    cpu: dict[str, list[float]] = {}

    def counted(way: str, work: Callable) -> Callable:
        def run_way() -> None:
            began = time.process_time()
            work()
            cpu.setdefault(way, []).append(time.process_time() - began)

        return run_way

    loop(network.predict_with_probabilities)
    ways = {
        "loop": lambda: loop(network.predict),
        "loop with probabilities": lambda: loop(network.predict_with_probabilities),
        "job": lambda: run_job(next(wholes)),
        "job, half": lambda: run_job(next(halves)),
    }
    seconds = timing.interleaved({way: counted(way, work) for way, work in ways.items()}, repeats)
    check_maps(runs[0], chips, network)
    each, of_cpu = (per_block(taken, len(chips), len(keys), half) for taken in (seconds, cpu))
    about = timing.context(("torch", "apache-beam", "zarr")) | {
        "threads": run.threads or torch.get_num_threads(),
        "precision": run.precision,
        "blocks": len(keys),
        "checkpoint": Path(run.checkpoint).name,
    }
    rows = []
    for way, taken in each.items():
        to_loop, processors = timing.ratio(taken, each["loop"]), median(of_cpu[way])
        figures = {"seconds_per_block": round(median(taken), 4), "cpu": round(processors, 4)}
        target = f"at most {TARGET} x the loop" if way.startswith("job") else ""
        reached = not target or to_loop.median <= TARGET
        timing.print_line(way, figures | to_loop._asdict(), about, target, reached)
        rows.append(
            {
                "way": way,
                "s per block": median(taken),
                "CPU s": processors,
                "x loop": to_loop.median,
                "CPU x loop": processors / median(of_cpu["loop"]),
            }
        )
    start = median(seconds["job"]) - len(keys) * median(each["job, a further block"])
    timing.print_line("job's start, extrapolated", {"seconds": round(start, 2)}, about)
    for step, taken in steps(runs[-1], chips, network).items():
        timing.print_line(step, {"cpu_seconds_per_block": round(taken, 4)}, about)
    timing.print_table(rows)


def per_block(
    taken: dict[str, list[float]], in_memory: int, whole: int, half: int
) -> dict[str, list[float]]:
    """What the ways take of each block, and what a further block takes of the job."""
    counts = {"loop": in_memory, "loop with probabilities": in_memory, "job": whole}
    each = {way: [t / n for t in taken[way]] for way, n in counts.items()}
    pairs = zip(taken["job"], taken["job, half"], strict=True)
    return each | {"job, a further block": [(full - part) / (whole - half) for full, part in pairs]}


if __name__ == "__main__":
    main()
