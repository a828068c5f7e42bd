"""Africa on 100, 1,000 and 4,000 workers, SIMULATED: what bounds it, which quota bites, the cost.

Usage: python -m benchmarks.africa [--workers 100 1000 4000] [--quota 40 400] [--wait 10]

Nothing of this was run on a cluster. What there is to do comes from the functions that make a run's
plan (`pipeline.work`), what it takes from the measured rates (benchmarks/rates.json), prices from
pipeline/prices.toml. Every job is then played through key by key: a worker takes the next key when
it is free, computes or waits as long as the key takes, and passes what all workers share, requests
and bytes of services, in turn.

A quota of the imagery's service is kept by the run itself: a worker of ingest has four blocks under
way, so no more than `--max-requests` / 4 workers have something to do. Assumptions are the
constants in capitals; where they are documented limits, with their pages (read in stored copies,
2026-11-22).
"""

from __future__ import annotations

import argparse
import heapq
import random
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.timing import context, print_line, print_table
from pipeline.bill import Estimate, costs, estimate, side_by_side
from pipeline.config import DEFAULT_CHECKPOINT, RunConfig, file_digest
from pipeline.region import load_region
from pipeline.tariffs import PRICES, Prices, Rates, default_rates, load_prices, load_rates
from pipeline.work import Work, work_of
from transforms.chips import chip_arrays
from transforms.export import ZARR_SHARD
from transforms.limit import AT_ONCE as BLOCKS_AT_ONCE
from transforms.period import parse_day
from transforms.pixels.pairing import PairRule
from transforms.store import AT_ONCE

# Documented limits.
WRITES, READS = 1000.0, 5000.0  # /s that a bucket takes at first,
DOUBLING = 1200.0  # s in which they may double: cloud.google.com/storage/docs/request-rate
INSTANCES = 4000  # workers of a batch job with Dataflow Shuffle: cloud.google.com/dataflow/quotas
RATE = (
    100.0  # requests/s of a project: developers.google.com/earth-engine/guides/usage; there, too:
)
CONCURRENT = 40  # requests at a time

# Assumptions: nothing here was measured or found in writing.
BANDWIDTH = 200e9 / 8  # bytes/s that a project reads from buckets of a region
STARTING = 240.0  # s until a worker computes: machine, image, imports, model
LATENCY = 0.05  # s of a request to storage
SPREAD = 0.4  # of what keys take, standard deviation of its logarithm: one of 1,000 takes 3.5 x

# Requests of the submitter per tile of the grid, counted with the emulator of benchmarks/scaling.py
# on 2026-11-22: 27 for its two cubes, 18 for listings between the jobs and the plans at the end.
PER_TILE = 45
CUBE_DOCUMENTS = 9  # read once more by each worker that comes by a block of another tile


@dataclass
class Job:
    """What a job asks of its workers and of storage.

    Attributes:
      name: of the job.
      seconds: of each key, on one worker: computing, and waiting as far as nothing is computed.
      lanes: workers that may be busy at once, whatever their number.
      asked: requests to the imagery's service per key.
      writes: requests per key.
      reads: requests per key.
      bytes: read from storage per key.
    """

    name: str
    seconds: list[float]
    lanes: int
    asked: float
    writes: float
    reads: float
    bytes: float


@dataclass
class Played:
    """How a job went.

    Attributes:
      wall: s, from the first worker's start on.
      workers: that had something to do.
      tail: s at the end in which less than half of them had.
      bounds: s that each thing alone would have taken.
    """

    wall: float
    workers: int
    tail: float
    bounds: dict[str, float]

    @property
    def by(self) -> str:
        """What bounds it."""
        return max(self.bounds, key=lambda name: self.bounds[name])

    @property
    def held(self) -> float:
        """Hours of workers that are paid for."""
        return self.workers * self.wall / 3600


def spread(seconds: Iterable[float], seed: int) -> list[float]:
    """What keys take, with stragglers, at the same mean; the same at every run."""
    draw = random.Random(seed)
    return [s * draw.lognormvariate(-(SPREAD**2) / 2, SPREAD) for s in seconds]


def jobs_of(run: RunConfig, work: Work, rates: Rates, quota: int, wait: float) -> list[Job]:
    """The three jobs of a run, key by key."""
    source, grid = rates.source(run.source.partition(":")[0]), run.grid
    block, chips = grid.block_size**2 / 1e6, grid.chips_in_block * grid.chip_size**2 / 1e6
    arrays, layers = len(chip_arrays(grid, run.inputs)), len(run.layers)
    per_block = work.reads / work.fetched  # passes that a block is read from
    # Looking at a tile's pairs, and its search, are shared out among its blocks.
    looks = work.looks / work.fetched
    fetch = block * rates.prepare + work.looked_mpx / work.fetched * rates.measure
    fetch += sum(mpx * source.read[sensor] for sensor, mpx in work.read_mpx.items()) / work.fetched
    fetch += work.searches / work.fetched * source.search
    fetch = side_by_side(fetch, (per_block + looks) * wait, BLOCKS_AT_ONCE)
    edges = int(run.blended)
    # A tile of the product reads each block under it, all layers, edges and seal.
    publish = [
        layers * (t.shown * rates.mosaic + (t.mpx - t.shown) * rates.empty) for t in work.product
    ]
    blocks = work.classified / len(work.product)
    map_bytes = sum(rates.map_bytes[name] for name in run.layers) + edges * rates.edge_bytes
    core = grid.block_core_size**2 / 1e6
    windows = sum(-(-t.mpx * 1e6 // ZARR_SHARD**2) for t in work.product) / len(work.product)
    return [
        Job(
            "ingest",
            spread([fetch] * work.fetched, 1),
            quota // BLOCKS_AT_ONCE,
            asked=work.requests / work.fetched,
            writes=arrays + 1,
            reads=CUBE_DOCUMENTS,
            bytes=0.0,
        ),
        Job(
            "classify",
            spread([chips * rates.network(run.device)] * work.classified, 2),
            work.classified,
            asked=0.0,
            writes=layers + edges + 1,
            reads=arrays + 1 + 2 * CUBE_DOCUMENTS,
            bytes=chips * source.chips,
        ),
        Job(
            "mosaic",
            # The longest first would be better by a little; Beam deals them out as they come.
            spread(publish, 3),
            len(publish),
            asked=0.0,
            writes=layers * (windows + 1) + 3,
            reads=blocks * (layers + edges + 1),
            bytes=blocks * core * map_bytes,
        ),
    ]


def play(job: Job, workers: int) -> Played:
    """One job from its start to its last key."""
    count = min(workers, job.lanes, len(job.seconds))
    todo = iter(job.seconds)
    events = [(STARTING + next(todo), worker) for worker in range(count)]
    heapq.heapify(events)
    served = ending = 0.0
    ends: list[float] = []
    while events:
        computed, worker = heapq.heappop(events)
        grown = 2 ** ((computed - STARTING) // DOUBLING)
        share = max(
            *(job.writes / (WRITES * grown), job.reads / (READS * grown)),
            *(job.bytes / BANDWIDTH, job.asked / RATE),
        )
        # The requests of a key follow one another, and what serves them serves all workers.
        served = max(served, computed) + share
        ending = max(served, computed + (job.writes + job.reads) / AT_ONCE * LATENCY)
        following = next(todo, None)
        if following is None:
            ends.append(ending)
        else:
            heapq.heappush(events, (ending + following, worker))
    keys, wall = len(job.seconds), max(ends)
    total = sum(job.seconds)
    return Played(
        wall,
        count,
        tail=wall - sorted(ends)[len(ends) // 2],
        bounds={
            "workers": total / count if count == min(workers, keys) else 0.0,
            "requests at a time": total / count if count == job.lanes < keys else 0.0,
            "requests/s of the source": keys * job.asked / RATE,
            "writes/s of the bucket": ramped(keys * job.writes, WRITES),
            "reads/s of the bucket": ramped(keys * job.reads, READS),
            "bandwidth of the bucket": keys * job.bytes / BANDWIDTH,
            "the longest key": max(job.seconds),
            "starting": STARTING,
        },
    )


def ramped(requests: float, at_first: float) -> float:
    """Seconds for so many requests where their rate doubles every `DOUBLING`."""
    seconds, rate = 0.0, at_first
    while requests > rate * DOUBLING:
        requests -= rate * DOUBLING
        seconds, rate = seconds + DOUBLING, 2 * rate
    return seconds + requests / rate


def bites(job: Job, workers: int) -> list[str]:
    """Quotas and limits that a job runs into with so many workers, in order of how far."""
    keys = min(workers, job.lanes, len(job.seconds)) * len(job.seconds) / sum(job.seconds)  # /s
    used = {
        f"{BLOCKS_AT_ONCE * job.lanes} requests at a time": workers / job.lanes
        if job.asked
        else 0.0,
        f"{RATE:.0f} requests/s": keys * job.asked / RATE,
        f"{WRITES:.0f} writes/s": keys * job.writes / WRITES,
        f"{READS:.0f} reads/s": keys * job.reads / READS,
        "200 Gbit/s (assumed)": keys * job.bytes / BANDWIDTH,
    }
    over = sorted(((share, name) for name, share in used.items() if share > 1), reverse=True)
    return [f"{name} ({share:.1f} x)" for share, name in over]


def submitter(run: RunConfig, work: Work) -> float:
    """Seconds that the submitter alone works: cubes, listings, the plans of the collection."""
    return work.tiles * PER_TILE * LATENCY / AT_ONCE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--region", default="africa")
    parser.add_argument("--source", default="earthengine:PROJECT")
    parser.add_argument("--workers", type=int, nargs="+", default=[100, 1000, 4000])
    parser.add_argument("--quota", type=int, nargs="+", default=[CONCURRENT, 10 * CONCURRENT])
    parser.add_argument("--wait", type=float, help="s of a read (default: that of the rates)")
    args = parser.parse_args()
    rates, prices = load_rates(default_rates()), load_prices(PRICES)
    with tempfile.TemporaryDirectory() as folder:
        run = RunConfig(
            region=load_region(args.region),
            rule=PairRule(parse_day("2024-06-15")),
            source=args.source,
            out=folder,
            checkpoint=DEFAULT_CHECKPOINT,
            checkpoint_digest=file_digest(DEFAULT_CHECKPOINT),
        )
        work = work_of(run, None)
    wait = rates.source(args.source.partition(":")[0]).wait if args.wait is None else args.wait
    about = context() | {"simulated": True, "rates": rates.date, "wait": wait}
    rows = []
    for quota in args.quota:
        jobs = jobs_of(run, work, rates, quota, wait)
        for workers in args.workers:
            made = estimate(run, work, rates, min(workers, INSTANCES))
            held, hours = 0.0, submitter(run, work) / 3600
            for job in jobs:
                played = play(job, min(workers, INSTANCES))
                held, hours = held + played.held, hours + played.wall / 3600
                rows.append(
                    {
                        "requests at a time": quota,
                        "workers": workers,
                        "job": job.name,
                        "hours": played.wall / 3600,
                        "busy workers": played.workers,
                        "tail, min": played.tail / 60,
                        "bound by": played.by,
                        "over its limit": "; ".join(bites(job, workers)) or "none",
                    }
                )
                print_line("africa, simulated", rows[-1], about)
            spent = bill(work, made, rates, prices, held)
            rows.append(
                {
                    "requests at a time": quota,
                    "workers": workers,
                    "job": "all",
                    "hours": hours,
                    "busy workers": "",
                    "tail, min": "",
                    "bound by": f"submitter {60 * submitter(run, work) / 3600:.0f} min of it",
                    "over its limit": f"{spent:.0f} {prices.currency}",
                }
            )
            print_line("africa, simulated", rows[-1], about)
    print(f"SIMULATED: {run.region.name}, {work.blocks:,} blocks, {work.tiles:,} tiles")
    print_table(rows)


def bill(work: Work, made: Estimate, rates: Rates, prices: Prices, held: float) -> float:
    """What it costs: workers for as long as they are held, the rest as `cloudlulc plan` has it."""
    priced = costs(work, made, rates, prices)
    priced["vcpu_hour"] = held * prices.table["vcpu_hour"].amount
    priced["gib_hour"] = held * rates.worker_gib * prices.table["gib_hour"].amount
    return sum(priced.values())


if __name__ == "__main__":
    main()
