"""What each command of the command line does."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline import launch, report
from pipeline.cli import EXIT_FAILED, EXIT_OK
from pipeline.config import DEFAULT_CHECKPOINT, RunConfig, file_digest, from_dict, read_run
from pipeline.launch import JobReport
from pipeline.region import load_region, shipped_regions
from pipeline.runners import beam_options, check_services
from pipeline.watchdog import WorkerDied, leave
from transforms.failures import failures_url, read_failures
from transforms.layers import choose_layers
from transforms.period import parse_day
from transforms.pixels.pairing import PairRule
from transforms.product import ProductGrid
from transforms.scene import ImagerySource, SourceUnavailable
from transforms.sources import open_source
from transforms.store import exists, join, read_json

Command = Callable[[argparse.Namespace, list[str]], int]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_from(args: argparse.Namespace) -> RunConfig:
    """The run that the options describe; what is left out comes from `run.json`, if there is one.

    Raises:
      ValueError: an option is wrong, or contradicts the run in the output folder.
    """
    out = absolute(args.out)
    existing = read_run(out)
    if existing is None:
        for name in ("region", "date", "source"):
            if getattr(args, name) is None:
                raise ValueError(f"--{name} is missing, and {out} holds no run to go on with")
        checkpoint = absolute(args.checkpoint or DEFAULT_CHECKPOINT)
        run = RunConfig(
            region=load_region(args.region),
            rule=PairRule(parse_day(args.date)),
            source=absolute_source(args.source),
            out=out,
            checkpoint=checkpoint,
            checkpoint_digest=file_digest(checkpoint),
        )
    else:
        run = from_dict(existing, out)
    checkpoint = absolute(args.checkpoint) if args.checkpoint else run.checkpoint
    wanted = {
        "region": load_region(args.region) if args.region else None,
        "source": absolute_source(args.source) if args.source else None,
        "checkpoint": checkpoint,
        "checkpoint_digest": file_digest(checkpoint),
        "layers": layer_names(args.layers) if args.layers else None,
        "rule": changed(
            run.rule,
            target=parse_day(args.date) if args.date else None,
            max_optical_days=args.max_optical_days,
            max_sar_days=args.max_sar_days,
            optical=args.optical,
            stale_sar_days=args.stale_sar_days,
        ),
        "grid": changed(run.grid, chip_size=args.chip_size, halo=args.halo),
        "options": changed(
            run.options,
            speckle=args.speckle,
            harmonise=False if args.no_harmonise else None,
            inputs=args.inputs,
        ),
        "product": product_grid(run.product, args),
        "max_requests": args.max_requests,
    }
    run = changed(run, **wanted)
    _check_apart(run)
    return replace(run, max_failed=args.max_failed, device=args.device, threads=args.threads)


def _check_apart(run: RunConfig) -> None:
    """Raise ValueError where products would be written into the catalogue that is read."""
    kind, _, catalog = run.source.partition(":")
    if kind == "files" and join(run.out, "").startswith(join(catalog, "")):
        raise ValueError(
            f"--out {run.out} lies inside the catalogue {catalog}; choose a folder outside of it"
        )


def changed(value, **fields):
    """A dataclass value with those fields that are given; those that are None stay."""
    return replace(value, **{name: field for name, field in fields.items() if field is not None})


def product_grid(grid: ProductGrid, args: argparse.Namespace) -> ProductGrid:
    """The grid of the options; another CRS has a resolution of its own, unless one is given."""
    if args.product_epsg not in (None, grid.epsg):
        return ProductGrid(args.product_epsg, args.product_resolution, grid.tile_size)
    return changed(grid, resolution=args.product_resolution)


def layer_names(text: str) -> tuple[str, ...]:
    return tuple(layer.name for layer in choose_layers(tuple(text.split(","))))


def absolute(path: str) -> str:
    """An absolute path, so that a run can be gone on with from anywhere; gs:// stays."""
    return path if "://" in path else os.path.abspath(path)


def absolute_source(spec: str) -> str:
    """A source whose files are found from anywhere: folders, and configurations of STAC APIs."""
    kind, _, rest = spec.partition(":")
    if kind == "files":
        return f"files:{absolute(rest)}"
    if kind != "stac":
        return spec
    parts = [part.rpartition("=") for part in rest.split(",")]
    return "stac:" + ",".join(
        name + equals + (absolute(value) if value.endswith((".toml", ".json")) else value)
        for name, equals, value in parts
    )


def checked_source(run: RunConfig) -> ImagerySource:
    """The run's source, after everything was checked that can be; nothing is written.

    Raises:
      ValueError: the run cannot be made.
    """
    source = open_source(run.source)
    try:
        launch.check(run, source)
    except SourceUnavailable as error:
        raise ValueError(str(error)) from error
    return source


def run_jobs(args: argparse.Namespace, beam_args: list[str], jobs: tuple[str, ...]) -> int:
    """Check everything, then run jobs one after the other until one fails."""
    check_services(beam_options(beam_args))
    run = run_from(args)
    source = checked_source(run)
    launch.start(run)
    say(f"run {run.id}: {run.region.name}, {run.target}, {run.source} -> {run.out}")

    def execute(job: str) -> JobReport:
        try:
            return launch.execute(job, run, source, beam_args)
        except WorkerDied as died:
            say(f"{job} failed: {died}")
            leave(EXIT_FAILED)

    return in_order(run, jobs, execute)


def in_order(run: RunConfig, jobs: tuple[str, ...], execute: Callable[[str], JobReport]) -> int:
    """Execute jobs one after the other until one fails; says how they went."""
    for job in jobs:
        done = execute(job)
        say(report.job_line(done))
        if done.failed > run.max_failed:
            for failure in read_failures(run.out, job)[:5]:
                say(f"  {failure.key} ({failure.stage}): {failure.error}")
            say(
                f"{job} failed: {done.failed} of {done.todo} keys, {run.max_failed} allowed; see "
                f"{failures_url(run.out, job)}; the next run tries them again"
            )
            return EXIT_FAILED
    if jobs[-1] == "mosaic":
        print(report.summary(run))
        if not launch.finished_classify(run):
            period = run.rule.period
            if launch.left(run, "ingest") or launch.left(run, "classify"):
                say(f"nothing was mapped yet: cloudlulc run --out {run.out} does all three jobs")
                return EXIT_FAILED
            say(
                f"nothing was mapped: {run.source} has no scene of {run.region.name} in {period}; "
                "try another --date, or widen --max-optical-days and --max-sar-days"
            )
            return EXIT_FAILED
    return EXIT_OK


def submit(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Check everything, then run jobs on Dataflow one after the other until one fails."""
    from pipeline import dataflow
    from pipeline import submit as submission
    from pipeline.dataflow_service import FAILURES, DataflowService

    jobs = tuple(job for job in launch.JOBS if job in args.jobs or "run" in args.jobs)
    if args.detach and len(jobs) > 1:
        raise ValueError(
            f"--detach starts one job, got {', '.join(jobs)}: a job needs the output of the one "
            "before it, so a chain has to be waited for; submit one job, or leave --detach out"
        )
    cloud = dataflow.cloud_from(args)
    run = replace(run_from(args), device="cpu")  # the machine that submits needs no GPU
    submission.check_reachable(run)
    source = checked_source(run)
    run = replace(run, device="cuda" if cloud.gpu else "cpu")
    with tempfile.TemporaryDirectory(prefix="cloudlulc-") as folder:
        sdist = None
        if args.setup_file != "none" and not args.template:
            setup_file = Path(args.setup_file or submission.SETUP_FILE)
            sdist = submission.build_sdist(setup_file, Path(folder))
        how = submission.Submission(cloud, beam_args, sdist, args.template)
        options = [how.options(job, run) for job in jobs]
        if args.dry_run:
            print(json.dumps(submission.preview(run, source, jobs, how), indent=2))
            return EXIT_OK
        run = submission.share_checkpoint(run)
        launch.start(run)
        say(f"run {run.id}: {run.region.name}, {run.target}, {run.source} -> {run.out}")
        service = DataflowService(options[0])
        try:
            if args.detach:
                if launch.left(run, jobs[0]):
                    submission.start(jobs[0], run, source, how, service, say)
                else:
                    say(report.job_line(launch.nothing_to_do(jobs[0], run)))
                return EXIT_OK
            execute = partial(
                submission.execute, run=run, source=source, how=how, service=service, say=say
            )
            return in_order(run, jobs, execute)
        except FAILURES as error:
            say(f"cloudlulc submit: {error}")
            return EXIT_FAILED


def schedule(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Show a schedule, what of it is due, and run that."""
    from pipeline import scheduler

    return scheduler.schedule(args, beam_args)


def info(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Print what a run, a checkpoint or the shipped regions hold."""
    what = args.what
    if what == "regions":
        print("\n".join(shipped_regions()))
    elif what.endswith(".safetensors"):
        print(report.checkpoint_text(what))
    elif (existing := read_run(absolute(what))) is not None:
        print(report.run_text(from_dict(existing, absolute(what))))
    else:
        raise ValueError(
            f"got {what!r}, expected the output folder of a run, a .safetensors file or: regions"
        )
    return EXIT_OK


def inspect(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Print what the pixels of STAC items say of them; fails where one belongs in quarantine."""
    from transforms.inspect import inspect_items

    try:
        text, quarantined = inspect_items(args.items)
    except SourceUnavailable as error:
        say(f"cloudlulc inspect: {error}")
        return EXIT_FAILED
    print(text)
    return EXIT_FAILED if quarantined else EXIT_OK


def train(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Train the network on a folder in the layout of CloudLULC-Set; a stopped run goes on."""
    from model.train import train as train_network

    options = {k: v for k, v in vars(args).items() if k not in ("command", "dataset", "out")}
    if args.card:
        if not exists(args.card):
            raise ValueError(f"--card: there is no file {args.card}")
        options["card"] = read_json(args.card)
    checkpoint = train_network(args.dataset, args.out, report=say, **options)
    print(f"{args.out}/checkpoint.safetensors {checkpoint.digest}")
    return EXIT_OK


COMMANDS: dict[str, Command] = {
    "run": partial(run_jobs, jobs=launch.JOBS),
    "ingest": partial(run_jobs, jobs=("ingest",)),
    "classify": partial(run_jobs, jobs=("classify",)),
    "mosaic": partial(run_jobs, jobs=("mosaic",)),
    "submit": submit,
    "schedule": schedule,
    "info": info,
    "inspect": inspect,
    "train": train,
}
