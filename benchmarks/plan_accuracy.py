"""How well `cloudlulc plan` predicts: plan, run, compare; the median of several runs.

Usage: python -m benchmarks.plan_accuracy [--blocks 3] [--runs 3] [--rates benchmarks/rates.json]

Every run is a planet of its own (other seeds than the rates were measured on), a row of blocks of
the default grid, on one core, as a worker of the plan has it. Counts have to be exact, bytes within
10 %, time within 30 %. Seconds on the clock mean something on a quiet machine only, so the CPU
seconds of `cloudlulc run` are told, too: they hold the start of Python, which no plan counts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from statistics import median

from benchmarks.memory import region_of
from pipeline.config import DEFAULT_CHECKPOINT
from pipeline.tariffs import default_rates


def compare_once(blocks: int, seed: int, rates: str, checkpoint: str) -> tuple[list[dict], float]:
    """Rows of plan and actual, and the CPU seconds of the run's process."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"--out={folder}/run"
        options = [f"--region={region_of(blocks)}", "--date=2024-06-15", "--threads=1", out]
        options += [f"--source=synthetic:seed={seed}", f"--checkpoint={checkpoint}"]
        cloudlulc("plan", f"--rates={rates}", *options)
        before = cpu_seconds()
        cloudlulc("run", *options)
        spent = cpu_seconds() - before
        return json.loads(cloudlulc("plan", "--json", out))["comparison"], spent


def cloudlulc(*arguments: str) -> str:
    command = [sys.executable, "-m", "pipeline", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def cpu_seconds() -> float:
    """Of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rates", default=default_rates())
    parser.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT)
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ratios: dict[str, list[float]] = {}
    for seed in range(101, 101 + args.runs):
        rows, spent = compare_once(args.blocks, seed, args.rates, args.checkpoint)
        planned = next(r["planned"] for r in rows if r["name"].startswith("seconds, "))
        rows.append({"name": "CPU seconds", "ratio": spent / planned})
        for row in rows:
            ratios.setdefault(row["name"], []).append(row["ratio"])
        print(f"seed {seed}, load {os.getloadavg()[0]:.0f}", file=sys.stderr, flush=True)
    print(f"{'actual / planned':24}{'median':>8}  of {args.runs} runs of {args.blocks} blocks")
    for name, found in ratios.items():
        print(f"{name:24}{median(found):8.3f}  {' '.join(f'{ratio:.3f}' for ratio in found)}")


if __name__ == "__main__":
    main()
