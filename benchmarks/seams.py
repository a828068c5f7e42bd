"""Seams of the shipped network: what the borders of chips add to the changes of class.

Usage: python -m benchmarks.seams [--halo 0 16 32 64] [--blocks 2] [--source synthetic:seed=1]
                                  [--checkpoint FILE] [--no-blend]

Every halo is a run of its own over the same land, with cores of 448 px, on the map's own grid so
that nothing is resampled. Prints one JSON line per halo. The ratio is 1 where a border adds
nothing; `transforms/seams.py` says how it is counted.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile

from pipeline.cli import main as cloudlulc
from pipeline.config import DEFAULT_CHECKPOINT, file_digest
from transforms.grid import BlockKey, Grid
from transforms.published import open_product
from transforms.seam_report import product_seams
from transforms.zones import geographic_bounds

CORE = 448
ZONE = 31


def region_of(grid: Grid, blocks: int) -> str:
    """A box of so many blocks a side, as the command line takes it."""
    first = grid.core_geobox(BlockKey(ZONE, 5, 60, 2, 2))
    last = grid.core_geobox(BlockKey(ZONE, 5, 60, 1 + blocks, 1 + blocks))
    inner = 200.0  # m: clear of the neighbours
    box = (
        first.bounds[0] + inner,
        last.bounds[1] + inner,
        last.bounds[2] - inner,
        first.bounds[3] - inner,
    )
    return ",".join(f"{edge:.6f}" for edge in geographic_bounds(first.epsg, box))


def measure(halo: int, blocks: int, source: str, checkpoint: str, no_blend: bool) -> dict:
    grid = Grid(chip_size=CORE + 2 * halo, halo=halo)
    with tempfile.TemporaryDirectory() as out:
        arguments = ["run", f"--region={region_of(grid, blocks)}", "--date=2024-06-15"]
        arguments += [f"--source={source}", f"--checkpoint={checkpoint}", f"--out={out}/run"]
        arguments += [f"--chip-size={grid.chip_size}", f"--halo={halo}", "--inputs=trust"]
        arguments += [f"--product-epsg={32600 + ZONE}"]
        arguments += ["--no-blend"] if no_blend else []
        if cloudlulc(arguments):
            raise RuntimeError("the run failed, see above")
        seams = product_seams(open_product(f"{out}/run"), grid)
    chips = seams.kinds["chip"]
    return {
        "halo": halo,
        "blend": 0 if no_blend else grid.reach,  # px to each side of a border
        "ratio": chips.ratio and round(chips.ratio, 3),
        "error": chips.error and round(chips.error, 3),
        "pairs": chips.pairs,
        "changes": chips.changes,
        "expected": round(chips.expected),
        "verdict": chips.verdict,
        "blocks": blocks**2,
        "source": source,
        "checkpoint": file_digest(checkpoint)[:12],
        "machine": platform.machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--halo", type=int, nargs="+", default=[0, 16, 32, 64], help="px per side")
    parser.add_argument("--blocks", type=int, default=2, help="blocks a side (default: 2)")
    parser.add_argument("--source", default="synthetic:seed=1,cloud=0.5")
    parser.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT)
    parser.add_argument("--no-blend", action="store_true", help="end chips at their borders")
    args = parser.parse_args()
    for halo in args.halo:
        figures = measure(halo, args.blocks, args.source, args.checkpoint, args.no_blend)
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
