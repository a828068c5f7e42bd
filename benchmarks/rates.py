"""Rates of the jobs on this machine, for `cloudlulc plan`: benchmarks/rates.json.

Usage: python -m benchmarks.rates [--source synthetic:seed=1] [--blocks 2] [--device cpu]
         [--checkpoint FILE] [--to benchmarks/rates.json]

The functions that the jobs call run in a loop, on one core, on a row of blocks of the default grid,
each step timed by itself. Times are CPU seconds of the process, so that other processes on the
machine count little; on a GPU they are seconds on the clock. Then every job runs once on Beam: what
it takes beyond its keys is its start. Sources of the file that are not measured now stay as they
are; those behind a service are assumptions until someone measures them. Run it from a checkout:
nothing of it is needed by a worker.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.memory import region_of
from model import checkpoint
from model.predict import Predictor
from pipeline import launch
from pipeline.actual import folder_size
from pipeline.bill import Estimate, estimate
from pipeline.config import DEFAULT_CHECKPOINT, RunConfig, file_digest
from pipeline.region import load_region
from pipeline.tariffs import JOBS, default_rates, load_rates
from pipeline.work import Work, work_of
from transforms.chips import open_chip_cube, read_chips, write_chips
from transforms.classify import map_block
from transforms.export import ZARR_SHARD, write_tile
from transforms.grid import GeoBox
from transforms.inspect import scene_bands
from transforms.layers import choose_layers
from transforms.mapcube import open_map_cube, write_core
from transforms.measure import measured
from transforms.mosaic import mosaic_windows
from transforms.period import parse_day
from transforms.pixels.pairing import PairRule
from transforms.pixels.prepare import prepare_block
from transforms.plan import pair_requests, plan_tile
from transforms.plan_file import write_plan
from transforms.product import ProductTile
from transforms.publish import publish_tile
from transforms.scene import SENTINEL1, SENTINEL2, Raster, Scene
from transforms.sources import open_source
from transforms.sources.windows import read_scene
from transforms.store import join, list_sizes

FILES_NOTE = "GeoTIFF on the local disk, DEFLATE, 512 px tiles, one file a band; synthetic pixels"
ASSUMED = {
    "earthengine": "a request is taken to need 10 s, of Earth Engine's 300 s at most; "
    "chips as the synthetic ones",
    "stac": "a scene is taken to need 10 s for its 12 to 14 bands; chips as the synthetic ones",
}
ASSUMED_WAIT, ASSUMED_SEARCH = 10.0, 2.0


class Clock:
    """Seconds by the name of a step; what is timed inside of another step is not counted there."""

    def __init__(self, cpu: bool = True):
        self.seconds: dict[str, float] = defaultdict(float)
        self._now = time.process_time if cpu else time.perf_counter
        self._inner = [0.0]

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = self._now()
        self._inner.append(0.0)
        try:
            yield
        finally:
            took = self._now() - began
            self.seconds[name] += took - self._inner.pop()
            self._inner[-1] += took


def run_in(out: Path, blocks: int, source: str, weights: str, device: str) -> RunConfig:
    return RunConfig(
        region=load_region(region_of(blocks)),
        rule=PairRule(parse_day("2024-06-15")),
        source=source,
        out=str(out),
        checkpoint=weights,
        checkpoint_digest=file_digest(weights),
        device=device,
        threads=1,
    )


def in_a_loop(run: RunConfig, clock: Clock) -> Work:
    """Everything the jobs do, one key after the other; returns what there was to do."""
    source = open_source(run.source)
    work = work_of(run, source)

    def read(scene: Scene, box: GeoBox, bands: tuple[str, ...]) -> Raster:
        with clock.step(f"read {scene.sensor}"):
            return source.read(scene, box, bands)

    launch.start(run)
    network = Predictor(checkpoint.load(run.checkpoint), run.device, run.threads)
    for tile in run.tiles():
        with clock.step("search"):
            blocks = list(run.grid.blocks(tile, run.region.geometry))
            requests = plan_tile(tile, blocks, run.grid, run.rule, source)
            write_plan(run.out, tile, requests)
        chips_cube = open_chip_cube(run.out, tile, run.grid, run.inputs)
        map_cube = open_map_cube(run.out, tile, run.grid)
        for request in pair_requests(requests):
            given = run.grid, run.rule, source, run.options, read
            with clock.step("measure"):
                (pair, shift), keys, *_ = measured(run.out, request, *given)
            for key in keys:
                with clock.step("prepare"):
                    chips = prepare_block(key, pair, run.target, run.grid, read, run.options, shift)
                    write_chips(chips_cube, run.grid, run.inputs, key, chips)
                with clock.step("classify"):
                    chips = read_chips(chips_cube, run.grid, key)
                    mapped = (chips, *network.predict_with_probabilities(chips.optical, chips.sar))
                    layers, edges = map_block(mapped, run.grid, run.layers, run.blended)
                    write_core(map_cube, run.grid, key, layers, edges)
    for tile in run.product_tiles():
        with clock.step("mosaic"):
            publish_tile(tile, run.publication())
    return work


def read_files(run: RunConfig, folder: Path) -> dict[str, float]:
    """CPU seconds per Mpx, by sensor, to read a block from GeoTIFF files with the same pixels."""
    import rasterio

    source, key = open_source(run.source), next(iter(run.blocks()))
    box, found = run.grid.geobox(key), {}
    (request,) = plan_tile(key.tile, [key], run.grid, run.rule, source)
    for sensor in request.pair:
        scene = sensor[0]
        raster, assets = source.read(scene, box, scene_bands(scene)), []
        left, dx, _, top, _, dy = box.gdal_transform
        for band, pixels in zip(raster.bands, raster.pixels, strict=True):
            path = folder / f"{scene.sensor}_{band}.tif"
            assets.append(scene.asset(band)._replace(href=str(path)))
            options = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "DEFLATE"}
            with rasterio.open(
                path,
                "w",
                **{"driver": "GTiff", "count": 1, "dtype": pixels.dtype, "nodata": raster.nodata},
                **{"width": box.width, "height": box.height, "crs": f"EPSG:{box.epsg}"},
                transform=rasterio.Affine(dx, 0, left, 0, dy, top),
                **options,
            ) as file:
                file.write(pixels, 1)
        began = time.process_time()
        read_scene(scene._replace(assets=tuple(assets)), box, raster.bands)
        took = time.process_time() - began
        found[scene.sensor] = _figures(took / (box.width * box.height / 1e6))
    return found


def empty_tile(run: RunConfig, clock: Clock) -> float:
    """Write a product tile of which nothing is shown; returns its Mpx."""
    side = 2 * ZARR_SHARD
    tile = ProductTile("empty", run.product.geobox(0, 0, side, side))
    layers = choose_layers(run.layers)
    windows = mosaic_windows(
        tile.geobox, layers, None, run.grid, ZARR_SHARD, lambda box: np.zeros(box.shape, bool)
    )
    with clock.step("empty"):
        write_tile(run.out, tile, layers, windows, run.legend, {})
    return side * side / 1e6


def by_layer(run: RunConfig, folder: str, mpx: float) -> dict[str, float]:
    """Bytes per Mpx of each layer below a folder of the run."""
    sizes: dict[str, int] = dict.fromkeys(run.layers, 0)
    for path, size in list_sizes(join(run.out, folder)).items():
        for name in run.layers:
            if f"/{name}/" in path or path.endswith(f"_{name}.tif"):
                sizes[name] += size
    return {name: _figures(size / mpx) for name, size in sizes.items()}


def _figures(value: float) -> float:
    """Three figures: more are not known."""
    return float(f"{value:.3g}")


def starts(run: RunConfig, made: Estimate) -> dict[str, float]:
    """CPU seconds of each job on Beam beyond what its keys take."""
    source, found = open_source(run.source), {}
    launch.start(run)
    for job in JOBS:
        began = time.process_time()
        launch.execute(job, run, source, [])
        took = time.process_time() - began
        found[job] = _figures(max(0.0, took - made.wall[job]))
    return found


def rates_of(run: RunConfig, blocks: int, folder: Path, earlier: dict) -> dict:
    clock, on_device = Clock(), Clock(cpu=run.device == "cpu")
    work = in_a_loop(run, clock if run.device == "cpu" else on_device)
    seconds = clock.seconds if run.device == "cpu" else on_device.seconds
    shown = sum(share.shown for share in work.product)
    core = work.fetched * run.grid.block_core_size**2 / 1e6
    chip = work.fetched * run.grid.chips_in_block * run.grid.chip_size**2 / 1e6
    block = work.fetched * run.grid.block_size**2 / 1e6
    mapped = sum(share.mapped for share in work.product)
    product = by_layer(run, "product", mapped)
    product_size = folder_size(join(run.out, "product"))
    shown_bytes = mapped * sum(product.values()) / len(work.product)
    empty_mpx = empty_tile(run, clock)
    maps = by_layer(run, "maps", core)
    edges = sum(
        size for path, size in list_sizes(join(run.out, "maps")).items() if "/edges/" in path
    )
    layers, kind = len(run.layers), run.source.partition(":")[0]
    source = {
        "measured": True,
        "note": f"{run.source}, {blocks} blocks",
        "search": _figures(seconds["search"] / work.searches),
        "wait": 0.0,
        "read": {
            sensor: _figures(seconds[f"read {sensor}"] / work.read_mpx[sensor])
            for sensor in (SENTINEL2, SENTINEL1)
        },
        "chips": _figures(folder_size(join(run.out, "chips")) / chip),
    }
    assumed = {
        name: source
        | {"measured": False, "note": note, "wait": ASSUMED_WAIT, "search": ASSUMED_SEARCH}
        | {"read": {SENTINEL2: 0.0, SENTINEL1: 0.0}}
        for name, note in ASSUMED.items()
    }
    files = source | {"note": FILES_NOTE, "read": read_files(run, folder)}
    rates = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "command": f"python -m benchmarks.rates --source {run.source} --blocks {blocks} "
        f"--device {run.device}",
        "checkpoint": Path(run.checkpoint).stem,
        "checkpoint_digest": run.checkpoint_digest,
        "start": dict.fromkeys(JOBS, 0.0),
        "measure": _figures(seconds["measure"] / work.looked_mpx),
        "prepare": _figures(seconds["prepare"] / block),
        "classify": earlier.get("classify", {})
        | {run.device: _figures(seconds["classify"] / chip)},
        "mosaic": _figures(seconds["mosaic"] / shown / layers),
        "empty": _figures(clock.seconds["empty"] / empty_mpx / layers),
        "map_bytes": maps,
        "edge_bytes": _figures(edges / core),
        "product_bytes": product,
        "tile_bytes": _figures(max(0.0, product_size / len(work.product) - shown_bytes)),
        "worker_gib": _figures(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20),
        "sources": assumed | earlier.get("sources", {}) | {"files": files, kind: source},
    }
    path = folder / "rates.json"
    path.write_text(json.dumps(rates))
    on_beam = run_in(folder / "beam", 1, run.source, run.checkpoint, run.device)
    made = estimate(on_beam, work_of(on_beam, open_source(run.source)), load_rates(str(path)), 1)
    return rates | {"start": starts(on_beam, made)}


def machine() -> str:
    """What the rates are of; other processes on it are not known, so their load is told."""
    load = os.getloadavg()[0]
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.0f}, "
        f"Python {platform.python_version()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="synthetic:seed=1")
    parser.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--to", default=default_rates())
    args = parser.parse_args()
    # A worker of the plan has one core: with another, work beside a job would hide its start.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    to = Path(args.to)
    earlier = json.loads(to.read_text()) if to.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        run = run_in(out / "loop", args.blocks, args.source, args.checkpoint, args.device)
        rates = rates_of(run, args.blocks, out, earlier)
    to.write_text(json.dumps(rates, indent=2) + "\n")
    print(to)


if __name__ == "__main__":
    main()
