"""Ingest from COGs beside odc-stac with dask and a loop of rasterio: same scenes, same cubes.

Usage: python -m benchmarks.ingest [--peer-python PYTHON] [--repeats 5] [--threads 2]

PYTHON has what `benchmarks/peers/ingest_odc.py` requires. Every way starts from the items on the
local disk and ends with the chips of 2 x 2 blocks in a Zarr cube; the files lie in the page cache.

* blocks: what a worker does once a pair is measured: pair, read, screen, write and seal each block.
* whole: the same, and the pair measured first: defects, offset, shift of the SAR.
* job: the whole as a job on Beam's local runner.
* odc, gdal: pixels read, converted, cut and written, for scenes that are given; nothing is looked
  for, measured or sealed. dask has so many threads; the loop has one.

Mpx are pixels of the blocks, halo included, each with 12 bands, SCL and 2 polarisations.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.ingest_scenes import write_scenes
from benchmarks.rates import Clock
from benchmarks.timing import context, interleaved, print_line, print_table, ratio
from pipeline import launch
from pipeline.config import DEFAULT_CHECKPOINT, RunConfig, file_digest
from pipeline.region import load_region
from transforms.beside import Beside
from transforms.chips import chip_cube_url, open_chip_cube, read_chips, write_chips
from transforms.fetch import WRITERS
from transforms.grid import BlockKey, Grid
from transforms.limit import AT_ONCE
from transforms.measure import measured
from transforms.period import parse_day
from transforms.pixels.pairing import PairRule
from transforms.pixels.prepare import PixelOptions, prepare_block
from transforms.plan import pair_requests, plan_tile
from transforms.plan_file import write_plan
from transforms.sources import open_source
from transforms.sources.opened import close_files
from transforms.zones import geographic_bounds

KEYS = [BlockKey(31, 5, 60, row, col) for row in (4, 5) for col in (0, 1)]
PIXELS = ("optical", "sar", "quality", "cloud")
PEERS = Path(__file__).parent / "peers"
MOST_APART = {"optical": 1, "sar": 1, "quality": 0, "cloud": 0}
"""Stored units that a pixel may differ by: GDAL rounds halves up, we round them to even."""


def run_in(out: Path, scenes: Path, inputs: str) -> RunConfig:
    first, last = (Grid().core_geobox(key) for key in (KEYS[0], KEYS[-1]))
    (left, _, _, top), (_, bottom, right, _) = first.bounds, last.bounds
    inner = 200.0  # m: clear of the neighbours
    box = left + inner, bottom + inner, right - inner, top - inner
    return RunConfig(
        region=load_region(",".join(f"{v:.6f}" for v in geographic_bounds(first.epsg, box))),
        rule=PairRule(parse_day("2024-06-15")),
        source=f"files:{scenes}",
        out=str(out),
        checkpoint=DEFAULT_CHECKPOINT,
        checkpoint_digest=file_digest(DEFAULT_CHECKPOINT),
        options=PixelOptions(inputs=inputs),
    )


def in_a_loop(run: RunConfig, clock: Clock) -> None:
    """What one worker does: blocks are prepared side by side, and written beside that."""
    source, preparing, writing = open_source(run.source), Beside(AT_ONCE), Beside(WRITERS)

    def prepare(key, pair, shift):
        given = pair, run.target, run.grid, source.read, run.options, shift
        return key, prepare_block(key, *given)

    def write(key, chips):
        write_chips(cube, run.grid, run.inputs, key, chips)

    def write_all(prepared):
        with clock.step("wait for what is read"):
            prepared = list(prepared)
        with clock.step("wait for the writer"):
            for one in prepared:
                list(writing.do(write, *one))

    (tile,) = run.tiles()
    with clock.step("plan"):
        cube = open_chip_cube(run.out, tile, run.grid, run.inputs)
        requests = plan_tile(tile, KEYS, run.grid, run.rule, source)
        write_plan(run.out, tile, requests)
    for request in pair_requests(requests):
        with clock.step("measure"):
            given = run.grid, run.rule, source, run.options
            (pair, shift), keys, *_ = measured(run.out, request, *given, at_once=AT_ONCE)
        for key in keys:
            write_all(preparing.do(prepare, key, pair, shift))
    # One by one, as they come: the writer takes one while the next is awaited.
    for one in preparing.rest():
        write_all([one])
    with clock.step("wait for the writer"):
        list(writing.rest())


def job_of(run: RunConfig) -> dict:
    """What the peers have to do: the same scenes, blocks and chips."""
    (tile,) = run.tiles()
    requests = plan_tile(tile, KEYS, run.grid, run.rule, open_source(run.source))
    blocks = [
        {
            "number": run.grid.block_number(key),
            "bounds": run.grid.geobox(key).bounds,
            "shape": run.grid.geobox(key).shape,
            "epsg": run.grid.geobox(key).epsg,
        }
        for key in KEYS
    ]
    return {
        "bands": {"optical": run.inputs.optical.names, "sar": run.inputs.sar.names},
        "scenes": {s: [scene.link for scene in getattr(requests[0].pair, s)]
                   for s in ("optical", "sar")},
        "blocks": blocks,
        "chips": [[[y.start, y.stop], [x.start, x.stop]] for y, x in run.grid.chip_slices()],
    }  # fmt: skip


class Peer:
    """A peer in a process of its own, which stays: imports are not timed."""

    def __init__(self, python: str, name: str, job: Path):
        self._process = subprocess.Popen(
            [python, str(PEERS / f"ingest_{name}.py"), str(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __call__(self, run: RunConfig) -> None:
        (tile,) = run.tiles()
        self._process.stdin.write(chip_cube_url(run.out, tile) + "\n")
        self._process.stdin.flush()
        if not self._process.stdout.readline():
            raise RuntimeError(f"{self._process.args}: ended early; run it by hand to see why")

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def check_equal(ours: RunConfig, theirs: RunConfig, what: str) -> dict[str, float]:
    """Shares of the pixels that differ, by array.

    Raises:
      RuntimeError: one differs by more than `MOST_APART`.
    """
    (tile,) = ours.tiles()
    mine = open_chip_cube(ours.out, tile, ours.grid, ours.inputs)
    # Their blocks have no seals: they are read as they lie there.
    other = open_chip_cube(theirs.out, tile, ours.grid, ours.inputs)
    found: dict[str, list[float]] = {name: [] for name in PIXELS}
    for key in KEYS:
        chips, first = read_chips(mine, ours.grid, key), ours.grid.block_number(key) * 4
        for name in PIXELS:
            raw = _unsealed(other, name)[first : first + 4].astype(int)
            apart = np.abs(getattr(chips, name).astype(int) - raw)
            if apart.max() > MOST_APART[name]:
                raise RuntimeError(f"{what}, block {key}, {name}: differs by {apart.max()}")
            found[name].append(float((apart > 0).mean()))
    return {name: float(f"{np.mean(shares):.3g}") for name, shares in found.items()}


def _unsealed(cube, name: str):
    import zarr

    return zarr.open_array(f"{cube.store.cube_url}/{name}", mode="r")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of dask")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), args)


def compare(folder: Path, args: argparse.Namespace) -> None:
    scenes = folder / "scenes"
    write_scenes(scenes, Grid().geobox(KEYS[0]), args.seed)
    trusting = run_in(folder / "0", scenes, "trust")
    job = folder / "job.json"
    job.write_text(json.dumps(job_of(trusting) | {"threads": args.threads}))
    peers = {name: Peer(args.peer_python, name, job) for name in ("odc", "gdal")}
    clocks: dict[str, list[Clock]] = {"blocks": [], "whole": []}
    number = count(1)
    latest: dict[str, RunConfig] = {}

    def started(name: str, inputs: str) -> RunConfig:
        run = replace(trusting, out=str(folder / str(next(number))))
        run = replace(run, options=PixelOptions(inputs=inputs))
        launch.start(run)
        latest[name] = run
        return run

    def loop(name: str, inputs: str) -> Callable[[], None]:
        runs = [started(name, inputs) for _ in range(args.repeats + 1)]

        def once() -> None:
            close_files()  # tiles that an earlier turn decoded do not count
            clocks[name].append(Clock(cpu=False))
            in_a_loop(runs.pop(0), clocks[name][-1])

        return once

    def taken(name: str, do: Callable[[RunConfig], object]) -> Callable[[], object]:
        runs = [started(name, "measure") for _ in range(args.repeats + 1)]
        return lambda: do(runs.pop(0))

    def on_beam(run: RunConfig) -> None:
        close_files()
        report = launch.execute("ingest", run, open_source(run.source), [])
        if report.failed:
            raise RuntimeError(f"{report.failed} blocks failed")

    ways = {
        "blocks": loop("blocks", "trust"),
        "whole": loop("whole", "measure"),
        "job": taken("job", on_beam),
        "odc": taken("odc", peers["odc"]),
        "gdal": taken("gdal", peers["gdal"]),
    }
    for way in ways.values():  # imports, page cache, code that is compiled on first use
        way()
    seconds = interleaved(ways, args.repeats)
    for peer in peers.values():
        peer.close()

    about = context(("rasterio", "zarr", "numpy"))
    differ = partial(check_equal, latest["blocks"])
    shares = {name: differ(latest[name], name) for name in ("whole", "job", "odc", "gdal")}
    mpx = len(KEYS) * Grid().block_size ** 2 / 1e6
    for name in ways:
        print_line(
            f"ingest, {name}",
            {"seconds": seconds[name], "mpx_per_s": mpx / median(seconds[name])}
            | ({"differ": shares[name]} if name in shares else {}),
            about,
        )
    for name, ours in clocks.items():
        steps = {s: median(c.seconds[s] for c in ours[1:]) for s in ours[-1].seconds}
        print_line(f"ingest, {name}: seconds by step", steps, about)
    faster = ratio(seconds["odc"], seconds["blocks"])
    slower = ratio(seconds["blocks"], seconds["gdal"])
    print_line(
        "ingest: odc-stac and dask to ours, same work",
        faster._asdict(),
        about,
        "at least 2",
        faster.median >= 2,
    )
    print_line(
        "ingest: ours to rasterio and Zarr, same work",
        slower._asdict(),
        about,
        "at most 1.5",
        slower.median <= 1.5,
    )
    print_table(
        [
            {
                "way": name,
                "s": median(took),
                "Mpx/s": mpx / median(took),
                "to odc": ratio(seconds["odc"], took).median,
                "to gdal": ratio(took, seconds["gdal"]).median,
            }
            for name, took in seconds.items()
        ]
    )


if __name__ == "__main__":
    main()
