"""The three jobs. They meet only at arrays at rest: chip cube -> map cube -> product."""

from __future__ import annotations

import apache_beam as beam

from pipeline.config import RunConfig
from pipeline.importing import importing
from transforms.failures import FAILED, WriteFailures
from transforms.fetch import FetchBlocks, WriteChips
from transforms.grid import BlockKey
from transforms.limit import AT_ONCE, LimitConcurrency
from transforms.measure import MeasureInputs
from transforms.plan import PlanBlocks
from transforms.publish import PublishTiles, WriteCollection
from transforms.scene import ImagerySource


def ingest(root: beam.Pipeline, run: RunConfig, source: ImagerySource) -> None:
    """Fetch, pair and chip the run's scenes into chip cubes."""
    tiles = [(BlockKey(t.zone, t.x, t.y, 0, 0), t) for t in run.tiles_to_fetch()]
    at_once = min(AT_ONCE, run.max_requests)
    planned = (
        root
        | "Tiles" >> beam.Create(tiles)
        # A thousand workers would else ask the catalogue a thousand things at once.
        | "Searches" >> LimitConcurrency(run.max_requests)
        | "To search" >> beam.Values()
        | PlanBlocks(run.out, run.region.geometry, run.grid, run.rule, source, run.only)
    )
    measured = (
        planned.pairs
        # Looking reads pixels, so the service sets its pace, too; keys and scenes are shuffled.
        | "Pairs" >> LimitConcurrency(run.max_requests, at_once)
        | MeasureInputs(run.out, run.grid, run.rule, source, run.options, at_once)
    )
    fetched = (
        measured.requests
        | LimitConcurrency(run.max_requests, at_once)  # the service, not the cluster, sets the pace
        | FetchBlocks(source, run.grid, run.rule, run.options, at_once)
    )  # from here to the cube everything is one fused step: pixels never cross a shuffle
    written = fetched.chips | WriteChips(run.out, run.grid, run.inputs)
    stages = (planned, measured, fetched, written)
    tuple(stage[FAILED] for stage in stages) | WriteFailures(run.out, "ingest")


def classify(root: beam.Pipeline, run: RunConfig) -> None:
    """Run the network on every block of the chip cubes that has no map yet."""
    with importing():  # here: torch and RunInference take a second and 200 MiB, for this job alone
        from transforms.classify import ChipClassifier, ClassifyBlocks, ListChips

    shown = any(name.startswith("probability_") for name in run.layers)
    how = run.device, run.threads, shown or run.blended, run.precision
    handler = ChipClassifier(run.checkpoint, *how)
    _, failed = (
        root
        | "Tiles" >> beam.Create(run.tiles())
        | ListChips(run.out, run.grid, run.only)
        | ClassifyBlocks(run.out, run.grid, run.inputs, run.layers, handler, run.blended)
    )
    failed | WriteFailures(run.out, "classify")


def mosaic(root: beam.Pipeline, run: RunConfig) -> None:
    """Lay the map cubes of all zones onto the product grid, one product tile at a time."""
    published, failed = (
        root
        | "Product tiles" >> beam.Create(run.tiles_to_publish())
        | PublishTiles(run.publication())
    )
    published | WriteCollection(run.publication(), run.product_tiles())
    failed | WriteFailures(run.out, "mosaic")
