"""Seconds, memory, requests and shuffled bytes per chip, from 32 to 3,200 chips; two processes.

Usage: python -m benchmarks.scaling [--chips 32 320 3200] [--repeats 3] [--keep FILE]
       python -m benchmarks.scaling --processes [--chips 640]
       python -m benchmarks.scaling --requests [--chips 400 1600]

The three jobs on the synthetic source, each run in a process of its own, one thread. Chips are
small (64 px), so that what is not arithmetic counts 64 times as much as it does in chips of the
default size; a tile of the grid has 4 blocks or 16 chips, and so has a product tile: there are two
for 32 chips and two hundred for 3,200.

Seconds per chip are those of the further chips from one size to the next: what every run takes
once, its fixed start, is in both and falls out; it is stated by itself. With --requests tiles have
100 blocks, as by default, and runs write to a Google Cloud Storage emulator, which logs every
request. What is shuffled is counted where Beam's runner takes it in to be grouped.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.timing import context, print_line, print_table
from transforms.grid import BlockKey, Grid
from transforms.zones import geographic_bounds

EPSG = 32631
STAGES = ("start", "ingest", "classify", "mosaic")

FINISHED = {"ingest": "chips/*/r*.json", "classify": "maps/*/r*.json"}
FINISHED["mosaic"] = "product/*/E*[0-9].json"

ONCE_FROM = 1000  # chips: what takes minutes is its own mean

CONSTANT = 0.10  # seconds per chip may differ by this share between sizes
FLAT = 0.10  # peak memory may grow by this share
SPEEDUP = 1.8  # of two processes over one

_REQUEST = re.compile(r'\\"(GET|POST|PUT|DELETE|PATCH) (\S+) HTTP')


def grid_of(blocks_per_tile: int) -> Grid:
    return Grid(chip_size=64, halo=16, blocks_per_tile=blocks_per_tile)


def chips_in_tile(grid: Grid) -> int:
    return grid.blocks_in_tile * grid.chips_in_block


def region_of(chips: int, grid: Grid) -> str:
    """A box of so many chips, whole tiles, around a zone's meridian."""
    tiles = -(-chips // chips_in_tile(grid))
    rows = next(n for n in range(int(tiles**0.5), 0, -1) if tiles % n == 0)
    columns = tiles // rows
    step = grid.tile_size * grid.resolution
    x, y = round(500_000 / step) - columns // 2, round(5_504_000 / step)
    box = grid.core_geobox(BlockKey(31, x, y, 0, 0))
    inner = 100.0  # m: clear of the neighbours
    left, top = box.x0 + inner, box.y0 - inner
    right, bottom = box.x0 + columns * step - inner, box.y0 - rows * step + inner
    bounds = geographic_bounds(box.epsg, (left, bottom, right, top))
    return ",".join(f"{edge:.6f}" for edge in bounds)


def child(chips: int, grid: Grid, out: str, beam_args: list[str], emulator: str) -> dict:
    """One run in this process, measured."""
    began = time.perf_counter()
    from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer

    from pipeline import launch
    from pipeline.config import DEFAULT_CHECKPOINT, RunConfig, file_digest
    from pipeline.region import load_region
    from transforms.period import parse_day
    from transforms.pixels.pairing import PairRule
    from transforms.product import ProductGrid
    from transforms.sources import open_source

    if emulator:
        from fsspec.registry import _registry
        from gcsfs.core import GCSFileSystem

        # gcsfs would ask for the kind of a bucket by gRPC, which an emulator does not speak.
        _registry["gs"] = GCSFileSystem
    shuffled, append = Counter(), GroupingBuffer.append

    def counting(buffer: GroupingBuffer, elements: bytes) -> None:
        shuffled["bytes"] += len(elements)
        append(buffer, elements)

    GroupingBuffer.append = counting
    run = RunConfig(
        region=load_region(region_of(chips, grid)),
        rule=PairRule(parse_day("2024-06-15")),
        source="synthetic:seed=1",
        out=out,
        checkpoint=DEFAULT_CHECKPOINT,
        checkpoint_digest=file_digest(DEFAULT_CHECKPOINT),
        grid=grid,
        product=ProductGrid(EPSG, 10.0, grid.tile_size),
        threads=1,
    )
    source = open_source(run.source)
    moments, reports = [time.perf_counter()], []
    launch.check(run, source)
    launch.start(run)
    moments.append(time.perf_counter())
    for job in launch.JOBS:
        reports.append(launch.execute(job, run, source, beam_args))
        moments.append(time.perf_counter())
    if any(report.failed or report.done != report.todo for report in reports):
        raise RuntimeError(str(reports))
    counters = {name: n for report in reports for name, n in report.counters.items()}
    return {
        "chips": reports[0].done * grid.chips_in_block,
        "imports": moments[0] - began,
        "seconds": dict(zip(STAGES, (b - a for a, b in pairwise(moments)), strict=True)),
        "spans": {} if emulator else {job: span(out, FINISHED[job]) for job in launch.JOBS},
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "reads": sum(n for name, n in counters.items() if name.endswith(": reads")),
        "searches": counters["plan: searches"],
        "shuffled": shuffled["bytes"],
    }


def span(out: str, pattern: str) -> dict:
    """Seconds from the first to the last file that finishes a key, and how many keys there are."""
    moments = sorted(path.stat().st_mtime_ns for path in Path(out).glob(pattern))
    return {"seconds": (moments[-1] - moments[0]) / 1e9, "keys": len(moments)}


def measured(chips: int, *beam_args: str, emulator: str = "", blocks_per_tile: int = 2) -> dict:
    """One run in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = "gs://bucket/run" if emulator else f"{folder}/run"
        command = [sys.executable, "-m", "benchmarks.scaling", "--child", str(chips), out]
        command += [f"--emulator={emulator}", f"--blocks-per-tile={blocks_per_tile}", "--"]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        if emulator:
            env["STORAGE_EMULATOR_HOST"] = emulator
        done = subprocess.run([*command, *beam_args], env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def middle(runs: list[dict], *path: str) -> float:
    """Median over runs of a figure that lies at a path."""
    values = []
    for found in runs:
        for name in path:
            found = found[name]
        values.append(found)
    return median(values)


def sizes(chips: list[int], repeats: int, keep: Path | None) -> None:
    """Seconds per chip and peak memory of runs of growing size; those of thousands run once."""
    runs: dict[int, list[dict]] = {n: [] for n in chips}
    for turn in range(repeats):
        for n in chips if turn % 2 == 0 else chips[::-1]:
            if turn == 0 or n < ONCE_FROM:
                runs[n].append(measured(n))
    if keep:
        with keep.open("a") as file:
            file.writelines(json.dumps(run) + "\n" for of_size in runs.values() for run in of_size)
        runs = {}
        for line in keep.read_text().splitlines():
            run = json.loads(line)
            runs.setdefault(run["chips"], []).append(run)
    chips = sorted(runs)
    about, rows = context(("apache-beam", "torch", "zarr")), []
    for few, many in pairwise(chips):
        each = {
            stage: (middle(runs[many], "seconds", stage) - middle(runs[few], "seconds", stage))
            / (many - few)
            for stage in STAGES
        }
        rows.append(
            {
                "chips": f"{few} to {many}",
                **{f"{stage}, ms": 1000 * each[stage] for stage in STAGES},
                "ms per further chip": 1000 * sum(each.values()),
                "peak, MiB": middle(runs[many], "peak_mib"),
                "reads a chip": middle(runs[many], "reads") / many,
                "searches a chip": middle(runs[many], "searches") / many,
                "shuffled, bytes a chip": middle(runs[many], "shuffled") / many,
            }
        )
        change = rows[-1]["ms per further chip"] / rows[0]["ms per further chip"] - 1
        steady = abs(change) <= CONSTANT
        target = f"within {CONSTANT:.0%} of the first step"
        print_line("scaling", rows[-1] | {"change": change}, about, target, steady)
        growth = middle(runs[many], "peak_mib") / middle(runs[chips[0]], "peak_mib") - 1
        line = {"chips": many, "growth": growth}
        print_line("memory", line, about, f"flat within {FLAT:.0%}", growth <= FLAT)
    print_table(rows)
    once = {
        stage: middle(runs[chips[0]], "seconds", stage) - chips[0] * rows[0][f"{stage}, ms"] / 1000
        for stage in STAGES
    }
    once["imports"] = middle(runs[chips[0]], "imports")
    print("fixed start, s:", {stage: round(seconds, 2) for stage, seconds in once.items()})


def processes(chips: int, repeats: int) -> None:
    """What two worker processes make of the keys, against one."""
    ways = {
        "one": ("--direct_running_mode=multi_processing", "--direct_num_workers=1"),
        "two": ("--direct_running_mode=multi_processing", "--direct_num_workers=2"),
        "in memory": (),
    }
    runs: dict[str, list[dict]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name in ways if turn % 2 == 0 else list(ways)[::-1]:
            runs[name].append(measured(chips, *ways[name]))
    about, rows = context(("apache-beam",)), []
    for job in FINISHED:
        keys = {}
        for name in ways:
            # Every process had done its first key by then: as many are outside of the span.
            inside = middle(runs[name], "spans", job, "keys") - (2 if name == "two" else 1)
            keys[name] = middle(runs[name], "spans", job, "seconds") / inside
        whole = {name: middle(runs[name], "seconds", job) for name in ways}
        speedup = keys["one"] / keys["two"]
        rows.append(
            {
                "job": job,
                **{f"{name}, ms/key": 1000 * keys[name] for name in ways},
                "two to one": speedup,
                "two to in memory": keys["in memory"] / keys["two"],
                "with start": whole["one"] / whole["two"],
            }
        )
        print_line("processes", rows[-1], about, f"{SPEEDUP} x", speedup >= SPEEDUP)
    print_table(rows)


def requests(chips: list[int]) -> None:
    """Requests to object storage per chip, by kind, as an emulator's log has them."""
    from tests.servers.gcs import gcs_emulator

    rows, about = [], context(("gcsfs",))
    for n in chips:
        with tempfile.TemporaryDirectory() as folder:
            buckets = Path(folder) / "buckets"
            (buckets / "bucket").mkdir(parents=True)
            with gcs_emulator(buckets) as url:
                run = measured(n, emulator=url, blocks_per_tile=10)
                log = (Path(folder) / "gcs.log").read_text()
        kinds = Counter(kind_of(*match) for match in _REQUEST.findall(log))
        rows.append({"chips": run["chips"]} | {kind: kinds[kind] / n for kind in KINDS})
        rows[-1] |= {"all": kinds.total() / n, "shuffled, B": run["shuffled"] / n}
        growth = rows[-1]["all"] / rows[0]["all"] - 1
        print_line("requests per chip", rows[-1], about, f"within {FLAT:.0%}", growth <= FLAT)
    print_table(rows)


KINDS = ("lists", "looks", "downloads", "uploads", "deletions")


def kind_of(method: str, path: str) -> str:
    """What a request to Google Cloud Storage is for."""
    if method != "GET":
        return "deletions" if method == "DELETE" else "uploads"
    if "alt=media" in path or path.startswith("/download"):
        return "downloads"
    return "lists" if re.search(r"/o/?(\?|$)", path) else "looks"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chips", type=int, nargs="+")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="JSON lines of runs: more, and those of before")
    parser.add_argument("--processes", action="store_true", help="one process against two")
    parser.add_argument("--requests", action="store_true", help="to object storage, by kind")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--emulator", default="", help=argparse.SUPPRESS)
    parser.add_argument("--blocks-per-tile", type=int, default=2, help=argparse.SUPPRESS)
    args, beam_args = parser.parse_known_args()
    if args.child:
        chips, out = args.child
        flags = [flag for flag in beam_args if flag != "--"]
        grid = grid_of(args.blocks_per_tile)
        print(json.dumps(child(int(chips), grid, out, flags, args.emulator)))
    elif args.processes:
        processes(*(args.chips or [640]), args.repeats)
    elif args.requests:
        requests(args.chips or [400, 1600])
    else:
        sizes(args.chips or [32, 320, 3200], args.repeats, args.keep)


if __name__ == "__main__":
    main()
