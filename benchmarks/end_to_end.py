"""From COGs on disk to a finished map, beside the two things that a user would pick instead.

Usage: python -m benchmarks.end_to_end [--blocks 1 2] [--repeats 3] [--toolkit-python PYTHON]
         [--bfloat16]

The same made scenes, area, network and weights for all: `cloudlulc run` as users start it (which
measures, screens, blends, and writes six layers as COG, Zarr and STAC in EPSG:4326), the same with
options that leave out what the others do not do, a script of rasterio and torch
(`benchmarks.peers.script`), and TorchGeo in an environment of its own (`benchmarks.peers.toolkit`).
Each way is a process of its own, start and imports counted; they take turns. Two sizes of the area
(1 and 2 blocks of 8.96 km a side) give the figure net of the start: seconds per further Mpx.

The peers take the network from this checkout, too, and so every gain of its own; `--model` gives
them that of another one, such as the first, whose forward pass was written in torch's own modules:
`git archive 723cf6f model | tar -x -C FOLDER`.

The script's map is what the others have to agree with, pixel by pixel. Where the same is done,
classes have to be equal for 99.9 % of the pixels, and confidence and reliability to be within 1 %
for 99.9 %. The default run is looked at away from the borders of chips, where it blends, and in
the script's grid by nearest pixel: 99 % have to be equal.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.vrt import WarpedVRT

from benchmarks.local_scenes import DAY, area, write_region, write_scenes
from benchmarks.timing import context, interleaved, print_line, print_table, ratio
from pipeline.config import DEFAULT_CHECKPOINT
from pipeline.launch import JOBS
from pipeline.records import read_records
from transforms.grid import GeoBox, Grid

OURS, ALIKE, FAST = "cloudlulc run", "cloudlulc run, alike", "cloudlulc run, bfloat16"
SCRIPT, TOOLKIT = "script", "toolkit"
LAYERS = ("lulc", "confidence", "reliability")
INSET = 3  # px that the region ends before the area: no further block is touched
BLENDED = 20  # px around the borders of chips that the default run blends, and the warp's pixel

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "benchmarks" / "peers"

Argv = Callable[[Path], list[str]]


class Size(NamedTuple):
    """One size of the area, and what was found for it."""

    box: GeoBox
    seconds: dict[str, list[float]]
    cpu: dict[str, list[float]]
    mib: dict[str, list[float]]
    jobs: dict[str, list[dict[str, float]]]

    @property
    def mpx(self) -> float:
        return self.box.width * self.box.height / 1e6


def ways(scenes: Path, region: Path, box: GeoBox, options: argparse.Namespace) -> dict[str, Argv]:
    """Command lines by name, each but for the output folder."""
    run = [sys.executable, "-m", "pipeline", "run", f"--region={region}", f"--date={DAY}"]
    run += [f"--source=files:{scenes / 'items.json'}", *options.run_option]
    alike = ["--inputs=trust", "--no-blend", f"--layers={','.join(LAYERS)}"]
    alike += [f"--product-epsg={box.epsg}"]
    peer = [f"--scenes={scenes}", f"--checkpoint={DEFAULT_CHECKPOINT}", f"--epsg={box.epsg}"]
    peer += ["--bounds", *(str(edge) for edge in box.bounds)]
    found = {OURS: run, ALIKE: run + alike}
    if options.bfloat16:
        found[FAST] = [*run, "--precision=bfloat16"]
    found[SCRIPT] = [sys.executable, str(PEERS / "script.py"), *peer]
    if options.toolkit_python:
        found[TOOLKIT] = [os.path.abspath(options.toolkit_python), str(PEERS / "toolkit.py"), *peer]
    return {name: partial(_with_out, argv) for name, argv in found.items()}


def _with_out(argv: list[str], out: Path) -> list[str]:
    return [*argv, f"--out={out}"]


def measure(folder: Path, scenes: Path, blocks: int, options: argparse.Namespace) -> Size:
    """Run all ways in turn on an area of so many blocks a side."""
    box, region = area(Grid(), blocks), folder / f"area{blocks}.geojson"
    write_region(region, box, INSET * box.resolution)
    commands = ways(scenes, region, box, options)
    cpu, mib = ({name: [] for name in commands} for _ in range(2))
    jobs = {name: [] for name in commands if name in (OURS, ALIKE, FAST)}

    def execute(name: str) -> None:
        turn = len(cpu[name])
        out = folder / f"{blocks}-{list(commands).index(name)}-{turn}"
        used = _finish(commands[name](out), options.model if name not in jobs else ROOT)
        cpu[name].append(used.ru_utime + used.ru_stime)
        mib[name].append(used.ru_maxrss / 1024)
        if name in jobs:
            jobs[name].append({job: read_records(str(out), job)[-1]["seconds"] for job in JOBS})

    seconds = interleaved({name: partial(execute, name) for name in commands}, options.repeats)
    maps = {name: folder / f"{blocks}-{i}-0" for i, name in enumerate(commands)}
    for name, path in maps.items():
        if name != SCRIPT:
            _check(name, path, maps[SCRIPT], box)
    return Size(box, seconds, cpu, mib, jobs)


def _finish(argv: list[str], model: Path):
    """Run a process to its end, with the `model` package of a folder; what it used, as rusage."""
    at = os.environ | {"PYTHONPATH": str(model.absolute())}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(argv, stdout=said, stderr=said, cwd=model, env=at)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(argv)}: {said.read().decode()[-2000:]}")
    return used


def _check(name: str, path: Path, reference: Path, box: GeoBox) -> None:
    """Raise ValueError where a map is not that of the script."""
    for layer in LAYERS:
        with rasterio.open(reference / f"{layer}.tif") as file:
            expected = file.read(1)
        got, shown = _on_area(path, layer, box)
        if name in (OURS, FAST):
            shown = shown & ~_borders(box)
        far = np.abs(got.astype(int) - expected)[shown] > (0 if layer == "lulc" else 1)
        needed = 0.99 if name in (OURS, FAST) else 0.999
        if name in (OURS, FAST) and layer != "lulc":
            continue  # nearest pixels of another grid: smooth layers differ by their slope
        equal = 1 - far.mean()
        print(f"{name}: {layer} agrees with the script's for {equal:.4%}", file=sys.stderr)
        if not equal >= needed:
            raise ValueError(f"{name}: {layer} agrees for {equal:.2%}, expected {needed:.1%}")


def _on_area(folder: Path, layer: str, box: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """A map's layer on the area's pixels, out of all tiles; and where it shows any."""
    transform = rasterio.Affine.from_gdal(*box.gdal_transform)
    at = {"transform": transform, "width": box.width, "height": box.height}
    pixels = np.zeros(box.shape, np.uint8)
    for path in [*folder.glob(f"{layer}.tif"), *folder.glob(f"product/*/*_{layer}.tif")]:
        with ExitStack() as stack:
            file = stack.enter_context(rasterio.open(path))
            onto = WarpedVRT(file, crs=f"EPSG:{box.epsg}", **at)
            tile = stack.enter_context(onto).read(1, masked=True)
        np.copyto(pixels, tile.data, where=~np.ma.getmaskarray(tile))
    edge = np.zeros(box.shape, bool)
    edge[2 * INSET : -2 * INSET, 2 * INSET : -2 * INSET] = True
    return pixels, edge


def _borders(box: GeoBox) -> np.ndarray:
    """(y, x) bool, near a border of two chips."""
    away = np.arange(box.width) % Grid().core_size
    near = np.minimum(away, Grid().core_size - away) <= BLENDED
    return near[:, None] | near[None, :]


def report(sizes: list[Size], about: dict) -> None:
    """JSON lines of each size, of the seconds per further Mpx, and a table."""
    rows = []
    for size in sizes:
        for name, seconds in size.seconds.items():
            figures = {
                "mpx": round(size.mpx, 2),
                "seconds": round(median(seconds), 2),
                "cpu seconds": round(median(size.cpu[name]), 2),
                "peak MiB": round(median(size.mib[name])),
            }
            rows.append({"way": name} | figures)
            if name in size.jobs:
                split = {j: round(median(run[j] for run in size.jobs[name]), 2) for j in JOBS}
                rest = figures["seconds"] - sum(split.values())
                figures |= {"jobs": split | {"start and end": round(rest, 2)}}
            print_line(f"end to end: {name}", figures, about)
    largest = sizes[-1]
    for ours in largest.jobs:
        for peer, most in ((SCRIPT, 1.0), (TOOLKIT, 1 / 3)):
            if peer not in largest.seconds:
                continue
            found = ratio(largest.seconds[ours], largest.seconds[peer])
            figures = {k: round(v, 3) for k, v in found._asdict().items()} | {"mpx": largest.mpx}
            if len(sizes) > 1:
                net = _per_mpx(sizes, ours) / _per_mpx(sizes, peer)
                figures |= {"per further Mpx": round(net, 3), "even from Mpx": None}
                if net < 1:
                    starts = _start(sizes, ours) - _start(sizes, peer)
                    even = starts / (_per_mpx(sizes, peer) - _per_mpx(sizes, ours))
                    figures["even from Mpx"] = round(max(even, 0.0), 1)
            target = f"at most {most:.2f} of the {peer}'s seconds"
            print_line(f"{ours} / {peer}", figures, about, target, found.median <= most)
    if len(sizes) > 1:
        for row in rows:
            row["s per further Mpx"] = _per_mpx(sizes, row["way"])
            row["start, s"] = _start(sizes, row["way"])
    print_table(rows)
    if TOOLKIT not in largest.seconds:
        print("The toolkit was not run: --toolkit-python is missing.")


def _per_mpx(sizes: list[Size], name: str) -> float:
    """Seconds that a Mpx more takes, from the smallest to the largest area."""
    small, large = sizes[0], sizes[-1]
    more = median(large.seconds[name]) - median(small.seconds[name])
    return more / (large.mpx - small.mpx)


def _start(sizes: list[Size], name: str) -> float:
    """Seconds that an area of nothing would take, by the same line."""
    return median(sizes[-1].seconds[name]) - _per_mpx(sizes, name) * sizes[-1].mpx


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 2], help="a side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--toolkit-python", help="of the environment that holds TorchGeo")
    parser.add_argument("--bfloat16", action="store_true", help="cloudlulc run in that, too")
    parser.add_argument("--scenes", type=Path, help="folder of scenes; made if not there")
    parser.add_argument(
        "--model", type=Path, default=ROOT, help="folder whose `model` package the peers use"
    )
    parser.add_argument("--run-option", action="append", default=[], help="of cloudlulc run")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sides = sorted(options.blocks)
    with tempfile.TemporaryDirectory() as folder:
        scenes = (options.scenes or Path(folder) / "scenes").absolute()
        if not scenes.exists():
            write_scenes(scenes, Grid(), sides[-1], options.seed, cloud=0.3)
        sizes = [measure(Path(folder), scenes, side, options) for side in sides]
        about = context(("torch", "rasterio", "apache-beam")) | {"repeats": options.repeats}
        report(
            sizes, about | {"run options": options.run_option, "peers' model": str(options.model)}
        )


if __name__ == "__main__":
    main()
