"""Starting jobs: checks before anything is written, what is left to do, execution, the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import apache_beam as beam

from pipeline import jobs
from pipeline.config import RunConfig, file_digest
from pipeline.importing import importing
from pipeline.progress import progress
from pipeline.refresh import new_since
from pipeline.run_document import check_folder, read_run, write_run
from pipeline.runners import beam_options, runner_of
from pipeline.watchdog import watched
from transforms.chips import create_chip_cube, finished_chips
from transforms.failures import read_failures
from transforms.grid import TileIndex
from transforms.layers import choose_layers
from transforms.mapcube import create_map_cube, finished_blocks
from transforms.pixels.cloudmask import check_cloud_mask
from transforms.product import collection_url, item_url
from transforms.publish import publish_collection
from transforms.scene import ImagerySource
from transforms.store import exists, in_parallel, join, remove, remove_partial, write_json

JOBS = ("ingest", "classify", "mosaic")

WRITTEN = {
    "ingest": "fetch: blocks written",
    "classify": "classify: blocks written",
    "mosaic": "mosaic: tiles written",
}
"""The counter of each job that counts its finished keys."""


class JobReport(NamedTuple):
    """How a job ended."""

    job: str
    todo: int  # keys there were to do
    done: int  # keys that were finished by it
    failed: int
    seconds: float
    counters: dict[str, int]


def check(run: RunConfig, source: ImagerySource, anew: bool = False) -> None:
    """Check everything that can be checked before anything is fetched or written.

    Args:
      run: what is to be made.
      source: of imagery.
      anew: whether blocks will be made anew, even where nothing is left to do.

    Raises:
      ValueError: the region, source, checkpoint or output folder cannot be used.
      SourceUnavailable: the catalogue cannot be read.
    """
    check_folder(run)
    if is_finished(run) and not anew:
        return
    digest = file_digest(run.checkpoint)
    if digest != run.checkpoint_digest:
        raise ValueError(
            f"checkpoint {run.checkpoint}: its digest is {digest[:12]}, the run was started "
            f"with {run.checkpoint_digest[:12]}; name that one by --checkpoint"
        )
    to_fetch = anew or left(run, "ingest") > 0
    if to_fetch or left(run, "classify"):
        _check_network(run)
    limit = getattr(source, "max_requests", None)
    if limit is not None and run.max_requests > limit:
        raise ValueError(
            f"max-requests: got {run.max_requests}, source {run.source.partition(':')[0]} allows "
            f"{limit} at a time; choose {limit} or less"
        )
    run.product_tiles()
    _check_moved(run, source, anew)
    if to_fetch:
        check_cloud_mask(run.options.cloud_mask)
        for tile in run.tiles():
            source.check(run.grid.footprint(tile), run.rule.period)


def _check_network(run: RunConfig) -> None:
    """Raise ValueError where the run's blocks cannot be classified here, or should not be."""
    with importing():  # here: to mosaic what is classified takes neither torch's second nor memory
        import torch

        from model.checkpoint import require_match
        from pipeline.canary import require_passed
        from transforms.weights import load_checkpoint

    loaded = load_checkpoint(run.checkpoint)
    require_match(loaded, run.inputs, run.legend)
    require_passed(loaded, run.checkpoint)
    if run.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: got cuda, and torch finds no GPU here; use --device cpu")


def _check_moved(run: RunConfig, source: ImagerySource, anew: bool) -> None:
    """Raise ValueError where a catalogue elsewhere has other scenes than the run was made from."""
    before = read_run(run.out)
    if anew or before is None or before["source"] == run.source:
        return
    changes = new_since(run, source)
    if changes.blocks:
        raise ValueError(
            f"source {run.source} holds other scenes than {before['source']}, from which the run "
            f"in {run.out} was planned: {changes}; choose another --out, or --refresh"
        )


def start(run: RunConfig) -> None:
    """Write `run.json` and the cubes' metadata, so that workers only ever write shards.

    What an earlier attempt left half written when it was killed goes first.
    """
    if is_finished(run):
        return
    remove_partial(run.out)
    write_run(run)
    in_parallel(partial(_create_cubes, run), run.tiles())


def _create_cubes(run: RunConfig, tile: TileIndex) -> None:
    create_chip_cube(run.out, tile, run.grid, run.inputs)
    create_maps(run, tile, run.out)


def create_maps(run: RunConfig, tile: TileIndex, root: str) -> None:
    """Create a tile's map cube below `root`, without pixels."""
    layers = choose_layers(run.layers)
    made_from = {"date": run.target.isoformat(), "checkpoint_digest": run.checkpoint_digest}
    create_map_cube(root, tile, run.grid, layers, run.legend, made_from, run.blended)


def is_finished(run: RunConfig) -> bool:
    """Whether the run's folder holds all that its jobs write: nothing is to be checked or done."""
    return exists(collection_url(run.out)) and not any(left(run, job) for job in JOBS)


def finished_ingest(run: RunConfig) -> int:
    return sum(in_parallel(lambda t: len(finished_chips(run.out, t, run.grid)), run.tiles()))


def finished_classify(run: RunConfig) -> int:
    return sum(in_parallel(lambda t: len(finished_blocks(run.out, t, run.grid)), run.tiles()))


def finished_mosaic(run: RunConfig) -> int:
    return sum(in_parallel(lambda t: exists(item_url(run.out, t.name)), run.product_tiles()))


def left(run: RunConfig, job: str) -> int:
    """How many keys a job has still to do; each tile is listed once.

    A tile that was never planned counts with all the blocks that the region touches.
    """
    if job == "mosaic":
        return len(run.tiles_to_publish())
    blocks = run.blocks_to_fetch if job == "ingest" else run.blocks_to_classify
    return sum(in_parallel(lambda tile: len(blocks(tile)), run.tiles()))


def clean(run: RunConfig) -> None:
    """Remove the chip cubes of a run whose product is final.

    They are what takes most room. Maps, plans and the product stay; a run that is started again
    finds its blocks mapped and fetches none of them. `cleaned.json` says that they were removed on
    purpose: an audit misses chips that are gone otherwise.

    Raises:
      ValueError: the product is not complete.
    """
    if not is_finished(run):
        todo = ", ".join(f"{job}: {left(run, job)}" for job in JOBS)
        raise ValueError(
            f"{run.out}: the product is not complete (left to do: {todo}), and its chips are "
            f"needed for the rest; finish it with: cloudlulc run --out {run.out}"
        )
    write_json(cleaned_url(run.out), {"run": run.id, "removed": "chips"})
    remove(join(run.out, "chips"))


def cleaned_url(out: str) -> str:
    """Where a run says that its chips were removed on purpose."""
    return join(out, "cleaned.json")


def nothing_to_do(job: str, run: RunConfig) -> JobReport:
    """The report of a job that finds its work done; what a stopped one left open is closed."""
    if job == "mosaic" and not exists(collection_url(run.out)):
        publish_collection(run.product_tiles(), run.publication())
    return JobReport(job, 0, 0, 0, 0.0, {})


def execute(
    job: str, run: RunConfig, source: ImagerySource | None, beam_args: list[str]
) -> JobReport:
    """Run one job on the runner that `beam_args` names, FnApiRunner by default, and wait.

    Raises:
      ValueError: Beam does not know an argument, or the runner is not one of ours.
      WorkerDied: a worker of a local run died; what it finished is kept.
    """
    todo = left(run, job)
    if todo == 0:
        return nothing_to_do(job, run)
    finished: Callable[[], int] = {
        "ingest": partial(finished_ingest, run),
        "classify": partial(finished_classify, run),
        "mosaic": partial(finished_mosaic, run),
    }[job]
    began, before = time.monotonic(), finished()
    options = beam_options(beam_args)
    pipeline = beam.Pipeline(runner=runner_of(options), options=options)
    getattr(jobs, job)(pipeline, run, *([source] if job == "ingest" else []))
    unit = "tiles" if job == "mosaic" else "blocks"
    with progress(job, todo, lambda: finished() - before, unit):
        result = watched(pipeline.run)
        result.wait_until_finish()
    counters = {
        f"{c.key.metric.namespace}: {c.key.metric.name}": c.committed
        for c in result.metrics().query()["counters"]
    }
    failed = len(read_failures(run.out, job))
    seconds = time.monotonic() - began
    return JobReport(job, todo, counters.get(WRITTEN[job], 0), failed, seconds, counters)
