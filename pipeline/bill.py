"""A bill before a run: what its work takes by measured rates, and what that costs by prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.config import RunConfig
from pipeline.tariffs import Prices, Rates
from pipeline.work import Work, work_of
from transforms.chips import chip_arrays
from transforms.export import ZARR_SHARD
from transforms.limit import AT_ONCE
from transforms.scene import ImagerySource

GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """What the work takes.

    Attributes:
      workers: processes, of one core each.
      wall: s by job, on that many workers.
      cpu_hours: computed.
      worker_hours: for which workers are held: while they compute, wait and start.
      gpu_hours: for which a GPU computes.
      bytes_out: written, by what: chips, maps, product.
      objects: files or objects written.
    """

    workers: int
    wall: dict[str, float]
    cpu_hours: float
    worker_hours: float
    gpu_hours: float
    bytes_out: dict[str, float]
    objects: int


def estimate(run: RunConfig, work: Work, rates: Rates, workers: int) -> Estimate:
    """What the work takes by these rates.

    A worker classifies one block, or writes one product tile, at a time; of ingest it has several
    blocks under way, see `side_by_side`.

    Raises:
      ValueError: workers are none, or the rates do not hold the source or device.
    """
    if workers < 1:
        raise ValueError(f"workers: got {workers}, expected 1 or more")
    source = rates.source(run.source.partition(":")[0])
    layers, grid = len(run.layers), run.grid
    chip_mpx = grid.chips_in_block * grid.chip_size**2 / 1e6
    core_mpx = grid.block_core_size**2 / 1e6

    computing = (
        work.searches * source.search
        + sum(mpx * source.read[sensor] for sensor, mpx in work.read_mpx.items())
        + work.looked_mpx * rates.measure
        + work.fetched * grid.block_size**2 / 1e6 * rates.prepare
    )
    waiting = (work.looks + work.reads) * source.wait
    at_once = min(AT_ONCE, run.max_requests)
    network = work.classified * chip_mpx * rates.network(run.device)
    tiles = [
        layers * (t.shown * rates.mosaic + (t.mpx - t.shown) * rates.empty) for t in work.product
    ]
    busy = {
        "ingest": side_by_side(computing, waiting, at_once),
        "classify": network,
        "mosaic": sum(tiles),
    }
    keys = {"ingest": work.fetched, "classify": work.classified, "mosaic": len(tiles)}
    most = {
        "ingest": min(workers, run.max_requests // at_once, max(1, work.fetched)),
        "classify": min(workers, max(1, work.classified)),
        "mosaic": min(workers, max(1, len(tiles))),
    }
    wall = {
        job: rates.start[job] + busy[job] / most[job] if count else 0.0
        for job, count in keys.items()
    }
    if tiles:
        wall["mosaic"] = max(wall["mosaic"], rates.start["mosaic"] + max(tiles))
    starts = sum(rates.start[job] * most[job] for job, count in keys.items() if count)
    gpu = network if run.device == "cuda" else 0.0

    # A layer that was not measured is taken as it is before compression, a byte a pixel.
    maps = sum(rates.map_bytes.get(name, 1e6) for name in run.layers)
    maps += rates.edge_bytes if run.blended else 0.0
    product = sum(rates.product_bytes.get(name, 1e6) for name in run.layers)
    windows = sum(-(-t.mpx * 1e6 // ZARR_SHARD**2) for t in work.product)
    return Estimate(
        workers=workers,
        wall=wall,
        cpu_hours=(computing + network + sum(tiles) - gpu + starts) / 3600,
        worker_hours=(sum(busy.values()) + starts) / 3600,
        gpu_hours=gpu / 3600,
        bytes_out={
            "chips": work.fetched * chip_mpx * source.chips,
            "maps": work.classified * core_mpx * maps,
            "product": sum(t.mapped * product + rates.tile_bytes for t in work.product),
        },
        objects=int(
            work.fetched * (len(chip_arrays(grid, run.inputs)) + 1)
            + work.classified * (layers + run.blended + 1)
            + layers * windows
        ),
    )


def side_by_side(computing: float, waiting: float, at_once: int) -> float:
    """Seconds of a worker of one core that has so many blocks under way: while it computes one, it
    waits for the others."""
    return max(computing, (computing + waiting) / at_once)


def costs(work: Work, made: Estimate, rates: Rates, prices: Prices) -> dict[str, float]:
    """What each kind of thing costs, by name as in `tariffs.PRICED`."""
    amounts = {
        "vcpu_hour": made.worker_hours,
        "gib_hour": made.worker_hours * rates.worker_gib,
        "gpu_hour": made.gpu_hours,
        "storage_gib_month": sum(made.bytes_out.values()) / GIB,
        "write_1000": made.objects / 1000,
        "network_gib": work.bytes_in / GIB,
    }
    return {name: amount * prices.table[name].amount for name, amount in amounts.items()}


class Bill(NamedTuple):
    """A run's work, what it takes and what that costs."""

    run: RunConfig
    work: Work
    estimate: Estimate
    costs: dict[str, float]
    rates: Rates
    prices: Prices

    @property
    def total(self) -> float:
        return sum(self.costs.values())

    @property
    def chips(self) -> int:
        return self.work.fetched * self.run.grid.chips_in_block

    def to_dict(self) -> dict[str, Any]:
        """As JSON; what is kept in a run's reports/plan.json."""
        work = vars(self.work) | {
            "scenes": None if self.work.assumed else len(self.work.scenes),
            "chips": self.chips,
            "product": [share._asdict() for share in self.work.product],
        }
        return {
            "run": self.run.id,
            "region": self.run.region.name,
            "date": self.run.target.isoformat(),
            "work": work,
            "estimate": vars(self.estimate),
            "cost": {"currency": self.prices.currency, "total": self.total, "by": self.costs},
            "rates": {"path": self.rates.path, "date": self.rates.date},
            "prices": {name: vars(price) for name, price in self.prices.table.items()},
        }


def bill_of(
    run: RunConfig, source: ImagerySource | None, rates: Rates, prices: Prices, workers: int
) -> Bill:
    """The bill of what is left to do of a run; see `work_of` and `estimate`."""
    work = work_of(run, source)
    made = estimate(run, work, rates, workers)
    return Bill(run, work, made, costs(work, made, rates, prices), rates, prices)
