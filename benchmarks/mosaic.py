"""The mosaic job beside gdalwarp and gdal_translate: seconds and peak memory of one product tile.

Usage: python -m benchmarks.mosaic [--size 8192] [--repeats 3] [--programs FOLDER]

Both lay the same six layers of four UTM tiles onto the same product tile, and write a COG per layer
with the same blocks, compression and resampling of overviews. The maps are made
(`benchmarks/made_maps.py`). The peer's input are the same pixels as GeoTIFFs, blended as the job
blends them when it reads; its own work is `benchmarks/peers/mosaic_gdal.py`, one layer after the
other and two at once. Ours writes more: Zarr, quicklook, areas, STAC, checksums; `tile` is all that
by the job's function, `job` is `cloudlulc mosaic` with its start. Every run is a process of its
own. At last one run of the peer that projects every pixel: all of them have to equal ours.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.timing import context, interleaved, print_line, print_table, ratio

CENTER = 3.5, 48.53  # degrees: four tiles of zone 31 meet there
PER_DEGREE = 12_000  # px
LAYERS = "lulc", "confidence", "reliability", "cloud", "optical_age", "sar_age"
LARGEST_PEAK = 1024  # MiB


def box_of(size: int) -> tuple[float, float, float, float]:
    """(west, south, east, north) of the product tile, degrees, on its pixels' edges."""
    left, top = (round(at * PER_DEGREE) for at in CENTER)
    left, top = left - size // 2, top + size // 2
    edges = left, top - size, left + size, top
    return tuple(edge / PER_DEGREE for edge in edges)


def made_run(folder: Path, size: int):
    import shapely

    from benchmarks.made_maps import run_in
    from pipeline.region import Region

    return run_in(str(folder / "run"), Region("made", shapely.box(*box_of(size))))


def make_inputs(folder: Path, size: int) -> None:
    from benchmarks.made_maps import write_geotiffs, write_maps

    run = made_run(folder, size)
    write_maps(run)
    write_geotiffs(run, folder / "maps")


def publish(folder: Path, size: int) -> None:
    """All that the job does for its one tile, without Beam."""
    from transforms.publish import publish_tile

    run = made_run(folder, size)
    (tile,) = run.product_tiles()
    began = time.perf_counter()
    publish_tile(tile, run.publication())
    print(json.dumps({"seconds": time.perf_counter() - began}))


def compare(folder: Path, size: int) -> None:
    """Share of equal pixels over all layers, of the peer's exact and default COGs and ours."""
    import rasterio

    (tile,), same = made_run(folder, size).product_tiles(), defaultdict(list)
    for layer in LAYERS:
        with rasterio.open(
            folder / "run" / "product" / tile.name / f"{tile.name}_{layer}.tif"
        ) as file:
            ours = file.read(1)
        for name in ("exact", "peer"):
            with rasterio.open(folder / name / f"{layer}.tif") as file:
                same[name].append(float((file.read(1) == ours).mean()))
    print(json.dumps({name: sum(shares) / len(shares) for name, shares in same.items()}))


STEPS = {"make": make_inputs, "publish": publish, "compare": compare}


def in_a_process(command: list[str]) -> dict:
    """What a command prints last, as JSON, and its own peak memory.

    Raises:
      RuntimeError: it failed.
    """
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen([sys.executable, *command], stdout=out)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        lines = out.read().splitlines()
    if child.returncode:
        raise RuntimeError(f"{command}: exit code {child.returncode}")
    last = lines[-1] if lines and lines[-1].startswith("{") else "{}"
    return json.loads(last) | {"mib": round(usage.ru_maxrss / 1024)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=8192, help="side of the product tile, px")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--programs", help="folder of gdalwarp and gdal_translate")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        STEPS[args.step](args.folder, args.size)
        return
    with tempfile.TemporaryDirectory() as folder:
        side_by_side(Path(folder), args.size, args.repeats, args.programs)


def side_by_side(folder: Path, size: int, repeats: int, programs: str | None) -> None:
    def step(name: str) -> list[str]:
        return ["-m", "benchmarks.mosaic", "--step", name, f"--folder={folder}", f"--size={size}"]

    def peer(out: str, *options: str) -> list[str]:
        box, side = map(repr, box_of(size)), [str(size)] * 2
        command = [f"{Path(__file__).parent}/peers/mosaic_gdal.py", str(folder / "maps")]
        command += [str(folder / out), *LAYERS, "--te", *box, "--size", *side]
        return [*command, "--class-layer=lulc", *options, *by]

    by = [f"--programs={programs}"] if programs else []
    outs = [folder / name for name in ("peer", "twice", "exact", "run/product")]
    commands = {
        "gdal": peer("peer"),
        "gdal, two layers at once": peer("twice", "--at-once=2"),
        "tile": step("publish"),
        "job": ["-m", "pipeline", "mosaic", f"--out={folder}/run"],
    }
    found: dict[str, list[dict]] = defaultdict(list)

    def way(name: str) -> None:
        found[name].append(in_a_process(commands[name]))

    def anew(name: str) -> None:
        for out in outs[:2] if name.startswith("gdal") else outs[3:]:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
        way(name)

    in_a_process(step("make"))
    outs[2].mkdir()
    seconds = interleaved({name: lambda name=name: anew(name) for name in commands}, repeats)
    outs[0].mkdir(exist_ok=True)
    in_a_process(peer("peer")), in_a_process(peer("exact", "--exact"))
    same = in_a_process(step("compare"))
    about = context(("rasterio", "zarr", "numpy")) | {"size": size, "repeats": repeats}
    rows = []
    for name, runs in found.items():
        # The job is a whole process; the others are timed without their imports.
        work = [run.get("seconds", whole) for run, whole in zip(runs, seconds[name], strict=True)]
        peers = [run["seconds"] for run in found["gdal"]]
        times = ratio(work, peers)
        peak = max(run["mib"] for run in runs)
        mpx = size * size / 1e6
        middle = sorted(work)[len(work) // 2]
        row = {"way": name, "seconds": middle, "to gdal": times.median, "peak MiB": peak}
        row["Mpx/s"] = mpx / middle
        ours = name in ("tile", "job")
        print_line(
            name,
            row | {"lowest": times.lowest, "highest": times.highest},
            about,
            f"at most 1.0 x gdal and {LARGEST_PEAK} MiB" if ours else "",
            not ours or (times.median <= 1 and peak <= LARGEST_PEAK),
        )
        rows.append(row)
    print_line(
        "equal pixels",
        {"every pixel projected": same["exact"], "gdalwarp's default": same["peer"]},
        about,
        "all, where the peer projects every pixel",
        same["exact"] == 1,
    )
    print_table(rows)


if __name__ == "__main__":
    main()
