"""Seconds, memory, requests and shuffled bytes per chip, from 32 to 3,200 chips; two processes.

Usage: python -m benchmarks.scaling [--chips 32 320 3200] [--repeats 3]
       python -m benchmarks.scaling --processes [--chips 640]
       python -m benchmarks.scaling --requests [--chips 32 320]

The whole command of `run` on the synthetic source, each run in a process of its own, one thread.
Chips are small (64 px), so that what is not arithmetic counts 64 times as much as it does in chips
of the default size; a tile of the grid has 4 blocks or 16 chips, and so has a product tile: there
is one for 32 chips and two hundred for 3,200.

What a job takes before its first key and after its last one is its start: it is what the smallest
run takes beyond its keys, the time of which is read off the files that finish them. The start is
stated by itself, and seconds per chip are what remains of all the rest. With --requests runs write
to a Google Cloud Storage emulator, which logs every request. What is shuffled is counted where
Beam's runner takes it in to be grouped.
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
from pathlib import Path
from statistics import median

from benchmarks.timing import context, print_line, print_table
from transforms.grid import BlockKey, Grid, geographic_bounds

GRID = Grid(chip_size=64, halo=16, blocks_per_tile=2)
EPSG = 32631
CHIPS_IN_TILE = GRID.blocks_in_tile * GRID.chips_in_block
JOBS = ("ingest", "classify", "mosaic")

# What finishes a job's keys, and how many chips one of them has.
FINISHING = {
    "start": ("maps/*/zarr.json", CHIPS_IN_TILE),
    "ingest": ("chips/*/r*.json", GRID.chips_in_block),
    "classify": ("maps/*/r*.json", GRID.chips_in_block),
    "mosaic": ("product/*/E*[0-9].json", CHIPS_IN_TILE),
}

CONSTANT = 0.10  # seconds per chip may differ by this share between sizes
FLAT = 0.10  # peak memory may grow by this share
SPEEDUP = 1.8  # of two processes over one

_REQUEST = re.compile(r'\\"(GET|POST|PUT|DELETE|PATCH) (\S+) HTTP')


def region_of(chips: int) -> str:
    """A box of so many chips around a zone's meridian, as wide as high or twice so."""
    tiles = -(-chips // CHIPS_IN_TILE)
    rows = next(n for n in range(int(tiles**0.5), 0, -1) if tiles % n == 0)
    columns = tiles // rows
    step = GRID.tile_size * GRID.resolution
    box = GRID.core_geobox(BlockKey(31, round(500_000 / step) - columns // 2, 4300, 0, 0))
    inner = 100.0  # m: clear of the neighbours
    left, top = box.x0 + inner, box.y0 - inner
    right, bottom = box.x0 + columns * step - inner, box.y0 - rows * step + inner
    bounds = geographic_bounds(box.epsg, (left, bottom, right, top))
    return ",".join(f"{edge:.6f}" for edge in bounds)


def child(chips: int, out: str, beam_args: list[str], emulator: str) -> dict:
    """One run in this process, measured."""
    began = time.perf_counter()
    from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer

    from pipeline.chain import start_jobs
    from pipeline.config import DEFAULT_CHECKPOINT, RunConfig, file_digest
    from pipeline.records import read_records
    from pipeline.region import load_region
    from transforms.period import parse_day
    from transforms.pixels.pairing import PairRule
    from transforms.product import ProductGrid
    from transforms.store import is_local

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
        region=load_region(region_of(chips)),
        rule=PairRule(parse_day("2024-06-15")),
        source="synthetic:seed=1",
        out=out,
        checkpoint=DEFAULT_CHECKPOINT,
        checkpoint_digest=file_digest(DEFAULT_CHECKPOINT),
        grid=GRID,
        product=ProductGrid(EPSG, 10.0, GRID.tile_size),
        threads=1,
    )
    imported = time.perf_counter()
    code = start_jobs(run, JOBS, beam_args)
    ended = time.perf_counter()
    records = {job: read_records(out, job)[-1] for job in JOBS}
    seconds = {job: records[job]["seconds"] for job in JOBS}
    seconds["start"] = ended - imported - sum(seconds.values())
    counters = {name: n for job in JOBS for name, n in records[job]["counters"].items()}
    return {
        "code": code,
        "chips": len(list(run.blocks())) * GRID.chips_in_block,
        "imports": imported - began,
        "seconds": seconds,
        "spans": {name: span(out, *how) for name, how in FINISHING.items()} if is_local(out) else 0,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "reads": sum(n for name, n in counters.items() if name.endswith(": reads")),
        "searches": counters["plan: searches"],
        "shuffled": shuffled["bytes"],
    }


def span(out: str, pattern: str, chips: int) -> float:
    """Seconds per chip between the first and the last file that finishes a key."""
    moments = sorted(path.stat().st_mtime_ns for path in Path(out).glob(pattern))
    return (moments[-1] - moments[0]) / 1e9 / (len(moments) - 1) / chips


def measured(chips: int, *beam_args: str, emulator: str = "") -> dict:
    """One run in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"gs://bucket/{chips}" if emulator else f"{folder}/run"
        command = [sys.executable, "-m", "benchmarks.scaling", "--child", str(chips), out]
        env = os.environ | {"OMP_NUM_THREADS": "1", "STORAGE_EMULATOR_HOST": emulator}
        if not emulator:
            del env["STORAGE_EMULATOR_HOST"]
        done = subprocess.run(
            [*command, f"--emulator={emulator}", "--", *beam_args],
            **{"env": env, "capture_output": True, "text": True},
        )
    if done.returncode or json.loads(done.stdout.splitlines()[-1])["code"]:
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


def sizes(chips: list[int], repeats: int) -> None:
    """Seconds per chip and peak memory of runs of growing size."""
    runs: dict[int, list[dict]] = {n: [] for n in chips}
    for turn in range(repeats):
        for n in chips if turn % 2 == 0 else chips[::-1]:
            runs[n].append(measured(n))
    about, smallest = context(("apache-beam", "torch", "zarr")), chips[0]
    stages = [*JOBS, "start"]
    fixed = {
        job: max(
            0.0,
            middle(runs[smallest], "seconds", job)
            - smallest * middle(runs[smallest], "spans", job),
        )
        for job in stages
    }
    rows, per_chip = [], {}
    for n in chips:
        each = {job: (middle(runs[n], "seconds", job) - fixed[job]) / n for job in stages}
        per_chip[n] = sum(each.values())
        rows.append(
            {
                "chips": n,
                **{f"{job}, ms/chip": 1000 * each[job] for job in stages},
                "all, ms/chip": 1000 * per_chip[n],
                "to smallest": per_chip[n] / per_chip[smallest],
                "start, s": sum(fixed.values()) + middle(runs[n], "imports"),
                "peak, MiB": middle(runs[n], "peak_mib"),
                "reads/chip": middle(runs[n], "reads") / n,
                "searches/chip": middle(runs[n], "searches") / n,
                "shuffled, B/chip": middle(runs[n], "shuffled") / n,
            }
        )
        spread = max(abs(row["to smallest"] - 1) for row in rows)
        growth = rows[-1]["peak, MiB"] / rows[0]["peak, MiB"] - 1
        print_line(
            "scaling", rows[-1], about, f"within {CONSTANT:.0%} per chip", spread <= CONSTANT
        )
        print_line("memory", {"growth": growth}, about, f"flat within {FLAT:.0%}", growth <= FLAT)
    print_table(rows)
    print("fixed start, s:", {job: round(s, 2) for job, s in fixed.items()})


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
    for job in JOBS:
        keys = {name: middle(runs[name], "spans", job) for name in ways}
        whole = {name: middle(runs[name], "seconds", job) for name in ways}
        speedup = keys["one"] / keys["two"]
        rows.append(
            {
                "job": job,
                **{f"{name}, ms/chip": 1000 * keys[name] for name in ways},
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
                run = measured(n, emulator=url)
                log = (Path(folder) / "gcs.log").read_text()
        kinds = Counter(kind_of(*match) for match in _REQUEST.findall(log))
        rows.append({"chips": n} | {kind: kinds[kind] / n for kind in KINDS})
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
    parser.add_argument("--processes", action="store_true", help="one process against two")
    parser.add_argument("--requests", action="store_true", help="to object storage, by kind")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--emulator", default="", help=argparse.SUPPRESS)
    args, beam_args = parser.parse_known_args()
    if args.child:
        chips, out = args.child
        flags = [flag for flag in beam_args if flag != "--"]
        print(json.dumps(child(int(chips), out, flags, args.emulator)))
    elif args.processes:
        processes(*(args.chips or [640]), args.repeats)
    elif args.requests:
        requests(args.chips or [32, 320])
    else:
        sizes(args.chips or [32, 320, 3200], args.repeats)


if __name__ == "__main__":
    main()
