"""How long a finished run takes that is run again: it reads no pixel, it lists what exists.

Usage: python -m benchmarks.rerun [--blocks 500]

A run of the synthetic source in small chips (64 px, 4 a block) with the shipped checkpoint is made
once, then run again by the command line, without and with --refresh, and audited with and without
defects. Prints one JSON line for each.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from transforms.grid import BlockKey, Grid
from transforms.zones import geographic_bounds

GRID = Grid(chip_size=64, halo=16)


def region_of(blocks: int) -> str:
    """A box of about so many blocks, as the command line takes it."""
    side = math.ceil(math.sqrt(blocks))
    box = GRID.core_geobox(BlockKey(31, 650, 8600, 0, 0))
    inner = 100.0  # m: clear of the neighbours
    step = GRID.block_core_size * GRID.resolution
    left, top = box.x0 + inner, box.y0 - inner
    right = box.x0 + side * step - inner
    bottom = box.y0 - math.ceil(blocks / side) * step + inner
    return ",".join(
        f"{edge:.6f}" for edge in geographic_bounds(box.epsg, (left, bottom, right, top))
    )


def timed(command: list[str]) -> tuple[float, str]:
    """Seconds of a command of `cloudlulc`, and what it printed."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *command], check=True, capture_output=True, text=True
    )
    return round(time.monotonic() - began, 2), done.stdout + done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=500, help="4 chips each (default: 500)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = f"--out={folder}/run"
        first = [
            *("run", out, f"--region={region_of(args.blocks)}", "--date=2024-06-15"),
            *("--source=synthetic:seed=1", "--chip-size=64", "--halo=16", "--threads=1"),
        ]
        for name, command in (
            ("first run", first),
            ("run again", ["run", out]),
            ("run again, --refresh", ["run", out, "--refresh"]),
            ("audit", ["audit", f"{folder}/run"]),
        ):
            seconds, said = timed(command)
            blocks = len(list(Path(folder).glob("run/chips/*/r*.json")))
            line = {"what": name, "blocks": blocks, "chips": 4 * blocks, "seconds": seconds}
            print(json.dumps(line | {"machine": platform.machine()}), flush=True)
            if name == "run again":
                assert said.count("nothing to do") == 3, said


if __name__ == "__main__":
    main()
