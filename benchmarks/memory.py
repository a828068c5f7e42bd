"""Peak memory of the process that runs the jobs, for regions of growing size.

Usage: python -m benchmarks.memory [--source synthetic:seed=1] [--checkpoint FILE] [--blocks 1 4 12]

Every size is a run of its own process with the default grid (chips of 512 px), on the in-memory
runner: ingest, classify and mosaic in one process, an upper bound of what each needs alone. Prints
one JSON line per size.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.config import DEFAULT_CHECKPOINT
from transforms.grid import BlockKey, Grid
from transforms.zones import geographic_bounds

CHILD = """
import json, resource, sys
from pipeline.cli import main
code = main(sys.argv[1:])
print(json.dumps({"code": code, "kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


def region_of(blocks: int) -> str:
    """A box inside a row of so many blocks, as the command line takes it."""
    grid = Grid()
    first, last = (grid.core_geobox(BlockKey(31, 5, 60, 4, c)) for c in (0, blocks - 1))
    inner = 200.0  # m: clear of the neighbours
    left, bottom, _, top = first.bounds
    box = (left + inner, bottom + inner, last.bounds[2] - inner, top - inner)
    return ",".join(f"{edge:.6f}" for edge in geographic_bounds(first.epsg, box))


def measure(blocks: int, source: str, checkpoint: str) -> dict:
    with tempfile.TemporaryDirectory() as out:
        arguments = ["run", f"--region={region_of(blocks)}", "--date=2024-06-15"]
        arguments += [f"--source={source}", f"--checkpoint={checkpoint}", f"--out={out}/run"]
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=True
        )
        result = json.loads(done.stdout.splitlines()[-1])
        written = len(list(Path(out).rglob("lulc/c/*/*")))
    if result["code"]:
        raise RuntimeError(done.stderr)
    return {
        "blocks": written,
        "chips": 4 * written,
        "peak_mib": round(result["kib"] / 1024),
        "source": source,
        "checkpoint": Path(checkpoint).name,
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="synthetic:seed=1")
    parser.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT)
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 4, 10])
    args = parser.parse_args()
    for blocks in args.blocks:
        print(json.dumps(measure(blocks, args.source, args.checkpoint)), flush=True)


if __name__ == "__main__":
    main()
