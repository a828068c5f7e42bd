"""`run.json`: what a run was started with, written first and read by all that goes on with it."""

from __future__ import annotations

import os

from shapely.errors import ShapelyError

import pipeline
from pipeline.config import RunConfig
from pipeline.identity import deciding
from pipeline.region import Region
from transforms.grid import Grid
from transforms.period import parse_day
from transforms.pixels.pairing import PairRule
from transforms.pixels.prepare import PixelOptions
from transforms.product import ProductGrid
from transforms.store import create_json, exists, find_json, is_local, join, local_path, write_json

LEFTOVERS = ("chips", "maps", "plan", "product")
"""Folders that a run writes beside its run.json."""


def run_url(out: str) -> str:
    return join(out, "run.json")


def read_run(out: str) -> dict | None:
    """The `run.json` of an output folder; None where no run has been started."""
    return find_json(run_url(out))


def check_folder(run: RunConfig) -> None:
    """Raise ValueError where the output folder holds another run, or cannot be written to."""
    existing = read_run(run.out)
    if existing is None:
        _check_new_folder(run.out)
        return
    here, wanted = deciding(existing), deciding(run.to_dict())
    for name in sorted(set(here) | set(wanted)):
        if here.get(name) != wanted.get(name):
            raise ValueError(
                f"output folder {run.out} holds another run: its {name} is {here.get(name)}, "
                f"this run's is {wanted.get(name)}; choose another --out, or the first run's "
                "options to go on with it"
            )


def _check_new_folder(out: str) -> None:
    found = [name for name in LEFTOVERS if exists(join(out, name))]
    if found:
        raise ValueError(
            f"output folder {out} holds {', '.join(found)} but no run.json that says of which run; "
            "choose another --out"
        )
    if is_local(out):
        above = local_path(out).absolute()
        while not above.exists():
            above = above.parent
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise ValueError(f"output folder {out}: {above} is no folder that can be written to")


def write_run(run: RunConfig) -> None:
    """Write `run.json`, before anything else of the run; of two runs that start at once one wins.

    Raises:
      ValueError: another run was started in the folder meanwhile.
    """
    document = run.to_dict() | {"id": run.id}
    if not create_json(run_url(run.out), document):
        check_folder(run)
        write_json(run_url(run.out), document)  # where the weights lie may have changed


# What parts of a run raise that are made from values of other kinds.
_OF_NO_RUN = (KeyError, IndexError, TypeError, AttributeError, OverflowError)


def from_dict(d: dict, out: str) -> RunConfig:
    """The run that the `run.json` in folder `out` describes.

    Raises:
      ValueError: the document is not of a run of this version.
    """
    try:
        return _from_dict(d, out)
    except (*_OF_NO_RUN, ShapelyError) as error:
        raise ValueError(
            f"{run_url(out)} is not a run of cloudlulc {pipeline.__version__} ({error!r}); choose "
            "another --out"
        ) from error


def _from_dict(d: dict, out: str) -> RunConfig:
    for name in ("source", "checkpoint", "checkpoint_digest"):
        if not isinstance(d[name], str):
            raise TypeError(f"{name} is {d[name]!r:.80}, expected a text")
    return RunConfig(
        region=Region.from_dict(d["region"]),
        rule=PairRule(
            parse_day(d["date"]),
            d["max_optical_days"],
            d["max_sar_days"],
            d["optical"],
            d["stale_sar_days"],
        ),
        source=d["source"],
        out=out,
        checkpoint=d["checkpoint"],
        checkpoint_digest=d["checkpoint_digest"],
        layers=tuple(d["layers"]),
        grid=Grid(**d["grid"]),
        options=PixelOptions(**d["options"]),
        product=ProductGrid(**d["product"]),
        blend=d["blend"],
        precision=d["precision"],
        keep_outside=d["keep_outside"],
    )
