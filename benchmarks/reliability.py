"""Runs killed with SIGKILL at random points and resumed, against an undisturbed one.

    python -m benchmarks.reliability [--runs 100] [--seed 0] [--kills 3]

Every run is a process of its own on a small synthetic planet (two UTM zones). It is killed up to
`--kills` times, each time once it has written a random number of files more, and then left alone.
Compared are the bytes of every file but reports, dead letters and the lock; every read of a whole
block is counted, and those of blocks that were complete before the attempt began. Prints a JSON
line per run and a summary; exit code 1 where a run differs or fetched a complete block again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import shapely

from pipeline import launch
from pipeline.config import DEFAULT_CHECKPOINT, RunConfig, file_digest
from pipeline.lock import locked
from pipeline.region import Region
from transforms.chips import finished_chips
from transforms.grid import BlockKey, GeoBox, Grid
from transforms.pixels.pairing import PairRule
from transforms.product import ProductGrid
from transforms.scene import Raster, Scene
from transforms.sources.synthetic import SyntheticSource

NOT_COMPARED = ("failures/", "reports/", "lock.json")
GRID = Grid(chip_size=96, halo=16, blocks_per_tile=2)
PLANET = shapely.box(5.975, 50.0, 6.025, 50.02)


@dataclass(frozen=True)
class Noting(SyntheticSource):
    """The synthetic planet; every read is a line in a file."""

    log: str = ""

    def read(self, scene: Scene, geobox: GeoBox, bands: tuple[str, ...]) -> Raster:
        line = json.dumps([scene.id, *geobox]) + "\n"
        with open(self.log, "a") as log:  # one write of less than a page: whole or not at all
            log.write(line)
        return super().read(scene, geobox, bands)


def run_in(out: Path) -> RunConfig:
    return RunConfig(
        Region("two zones", PLANET),
        PairRule(date(2024, 6, 15)),
        "synthetic:seed=3,cloud=0.4",
        str(out),
        DEFAULT_CHECKPOINT,
        file_digest(DEFAULT_CHECKPOINT),
        grid=GRID,
        product=ProductGrid(tile_size=400),
        threads=1,
    )


def execute(run: RunConfig, log: Path) -> None:
    """All that is left of a run, in this process."""
    source = Noting(seed=3, cloud=0.4, log=str(log))
    with locked(run.out, run.id):
        launch.check(run, source)
        launch.start(run)
        for job in launch.JOBS:
            report = launch.execute(job, run, source, [])
            if report.failed:
                raise RuntimeError(f"{job}: {report.failed} keys failed")


def attempt(run: RunConfig, log: Path, files: int | None) -> bool:
    """Execute in a child, which is killed at so many files; whether it ended by itself.

    Raises:
      RuntimeError: it ended with an error.
    """
    child = os.fork()
    if child == 0:
        try:
            with open(f"{log}.err", "w") as quiet:
                os.dup2(quiet.fileno(), 1)
                os.dup2(quiet.fileno(), 2)
                execute(run, log)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    ended, status = os.waitpid(child, 0 if files is None else os.WNOHANG)
    while not ended:
        if written(Path(run.out)) >= files:
            os.kill(child, signal.SIGKILL)
            ended, status = os.waitpid(child, 0)
        else:
            time.sleep(0.02)
            ended, status = os.waitpid(child, os.WNOHANG)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"{run.out}: {Path(f'{log}.err').read_text()[-2000:]}")
    return os.WIFEXITED(status)


def written(out: Path) -> int:
    """How many files there are, those being written among them."""
    return sum(len(names) for _, _, names in os.walk(out))


def content(out: Path) -> dict[str, str]:
    """Digest of every file that is compared, by name."""
    files = sorted(p for p in out.rglob("*") if p.is_file())
    named = {str(p.relative_to(out)): p for p in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in named.items()
        if not name.startswith(NOT_COMPARED)
    }


def complete(run: RunConfig) -> set[BlockKey]:
    """Blocks whose chips are sealed."""
    tiles = run.tiles() if Path(run.out, "chips").exists() else []
    return {key for tile in tiles for key in finished_chips(run.out, tile, run.grid)}


def fetched(run: RunConfig, log: Path, start: int) -> tuple[Counter, int]:
    """(reads of whole blocks since a position in the log, by key; the position now).

    Windows that a pair is looked at in are smaller than a block and are not counted.
    """
    boxes = {run.grid.geobox(key): key for key in run.blocks()}
    lines = log.read_text().splitlines() if log.exists() else []
    found: Counter = Counter()
    for line in lines[start:]:
        _, *box = json.loads(line)
        key = boxes.get(GeoBox(*box))
        if key is not None:
            found[key] += 1
    return found, len(lines)


def killed_run(number: int, seed: int, most: int, total: int, folder: Path) -> dict:
    """One run, killed and resumed; what came of it, without the comparison."""
    rng = random.Random(f"{seed} {number}")
    run, log = run_in(folder / "out"), folder / "reads.jsonl"
    line: dict = {"run": number, "killed_at_files": [], "fetched_again_complete": 0}
    line |= {"fetched": 0, "fetched_again_in_flight": 0}
    seen: set[BlockKey] = set()
    at, ended = 0, False
    for share in [*(rng.random() for _ in range(rng.randint(1, most))), None]:
        if ended:
            break
        before, have = complete(run), written(Path(run.out))
        files = None if share is None else have + round(share * (total - have))
        ended = attempt(run, log, files)
        if not ended:
            line["killed_at_files"].append(files)
        reads, at = fetched(run, log, at)
        line["fetched"] += len(reads)
        line["fetched_again_complete"] += len(set(reads) & before)
        line["fetched_again_in_flight"] += len((set(reads) & seen) - before)
        seen |= set(reads)
    return line


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=100)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--kills", type=int, default=3, help="of a run, at most")
    args = options.parse_args()
    lines: list[dict] = []
    with tempfile.TemporaryDirectory() as scratch:
        calm = run_in(Path(scratch) / "calm" / "out")
        Path(calm.out).parent.mkdir()
        began = time.monotonic()
        attempt(calm, Path(scratch) / "calm" / "reads.jsonl", None)
        whole = time.monotonic() - began
        expected, blocks = content(Path(calm.out)), len(complete(calm))
        print(
            json.dumps({"undisturbed_s": round(whole, 1), "blocks": blocks, "files": len(expected)})
        )
        for number in range(args.runs):
            began = time.monotonic()
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                line = killed_run(number, args.seed, args.kills, len(expected), Path(folder))
                found = content(Path(folder) / "out")
            differing = sorted(n for n in found | expected if found.get(n) != expected.get(n))
            line |= {"identical": not differing, "differing": differing[:5]}
            lines.append(line | {"seconds": round(time.monotonic() - began, 1)})
            print(json.dumps(lines[-1]), flush=True)
    good = [line["identical"] and not line["fetched_again_complete"] for line in lines]
    summary = {
        "runs": len(lines),
        "identical": sum(line["identical"] for line in lines),
        "kills": sum(len(line["killed_at_files"]) for line in lines),
        "fetched_again_complete": sum(line["fetched_again_complete"] for line in lines),
        "fetched_again_in_flight": sum(line["fetched_again_in_flight"] for line in lines),
        "seed": args.seed,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "date": date.today().isoformat(),
    }
    print(json.dumps(summary))
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
