"""From options to a run; what is left out comes from `run.json`."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace

from pipeline.config import DEFAULT_CHECKPOINT, RunConfig, file_digest
from pipeline.region import load_region
from pipeline.run_document import from_dict, read_run
from transforms.layers import choose_layers
from transforms.period import parse_day
from transforms.pixels.pairing import PairRule
from transforms.product import ProductGrid
from transforms.store import join


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
            cloud_mask=args.cloud_mask,
        ),
        "product": product_grid(run.product, args),
        "blend": False if args.no_blend else None,
        "precision": args.precision,
        "keep_outside": args.keep_outside,
        "max_requests": args.max_requests,
    }
    run = changed(run, **wanted)
    _check_apart(run)
    return replace(run, max_failed=args.max_failed, device=args.device, threads=args.threads)


def started_run(args: argparse.Namespace) -> RunConfig:
    """The run in the folder `args.out`, to be executed as the options say.

    Raises:
      ValueError: there is none.
    """
    out = absolute(args.out)
    existing = read_run(out)
    if existing is None:
        raise ValueError(f"{out} holds no run; cloudlulc run --out {out} ... starts one")
    how = {"max_requests": args.max_requests, "threads": args.threads}
    run = changed(from_dict(existing, out), **how)
    return replace(run, max_failed=args.max_failed, device=args.device)


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
