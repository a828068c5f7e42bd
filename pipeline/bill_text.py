"""A bill, and what was planned beside what came of it, as people read them."""

from __future__ import annotations

from pipeline.actual import Row
from pipeline.bill import GIB, Bill
from pipeline.config import RunConfig
from transforms.sources.earthengine import MAX_REQUESTS
from transforms.sources.earthengine_requests import REQUEST_LIMIT


def bill_text(bill: Bill) -> str:
    """The bill of a run."""
    run, work, made, rates = bill.run, bill.work, bill.estimate, bill.rates
    kind = run.source.partition(":")[0]
    source = rates.source(kind)
    blocks = f"{work.blocks:,}"
    notes = [f"{work.finished:,} done before"] if work.finished else []
    notes += [f"{work.empty:,} without any scene"] if work.empty else []
    if notes:
        blocks += f" ({', '.join(notes)})"
    asked = "not searched: one pair for every block is assumed"
    lines = [
        f"plan of run {run.id}: {run.region.name}, {run.target}, {run.source}",
        "work",
        _line("tiles", f"{work.tiles:,}"),
        _line("blocks", blocks),
        _line("chips to make", f"{bill.chips:,}, {work.fetched:,} blocks"),
        _line("chips to classify", f"{work.classified * run.grid.chips_in_block:,}"),
        _line("scenes", asked if work.assumed else f"{len(work.scenes):,}"),
        _line("catalogue searches", f"{work.searches:,}"),
        _line("pixel reads", f"{work.reads:,} for chips, {work.looks:,} to measure pairs"),
        _line("product tiles", f"{len(work.product):,}"),
        *_requests(bill, kind),
        "bytes",
        _line("in, decoded", _size(work.bytes_in)),
        *(_line(f"out, {name}", _size(size)) for name, size in made.bytes_out.items()),
        f"time, {made.workers} worker(s) of one core",
        *(_line(job, _duration(seconds)) for job, seconds in made.wall.items()),
        _line("together", _duration(sum(made.wall.values()))),
        _line("CPU-hours", f"{made.cpu_hours:,.2f}, workers held {made.worker_hours:,.2f} h"),
        _line("GPU-hours", f"{made.gpu_hours:,.2f}"),
        f"cost, {bill.prices.currency}",
        *(_line(_words(name), f"{cost:,.2f}") for name, cost in bill.costs.items()),
        _line("together", f"{bill.total:,.2f}"),
        "",
        f"Rates: {rates.path}, {rates.date}, {rates.machine}; {kind}: "
        f"{'measured' if source.measured else 'ASSUMED, not measured'}: {source.note}.",
        f"Prices: {bill.prices.path}, examples to be checked; the oldest is of "
        f"{min(price.date for price in bill.prices.table.values())}.",
        "Not in it: scenes that stand in for those in quarantine, retries, Earth Engine's own "
        "compute (EECU), the runner's service charges.",
    ]
    if run.checkpoint_digest != rates.checkpoint_digest:
        lines.append(
            f"The network was measured with other weights, {rates.checkpoint} "
            f"({rates.checkpoint_digest[:12]}): its time holds for networks of that size."
        )
    return "\n".join(lines)


def _requests(bill: Bill, kind: str) -> list[str]:
    work, cap = bill.work, bill.run.max_requests
    if kind != "earthengine":
        return [_line("requests", f"{work.requests:,} reads of scenes, {cap} at a time at most")]
    return [
        _line("requests", f"{work.requests:,} computePixels, {work.searches:,} searches"),
        _line("at a time", f"{cap}, of {MAX_REQUESTS} that a project may by default"),
        _line("the largest", f"{_size(work.largest)} of {_size(REQUEST_LIMIT)}"),
    ]


def comparison_text(run: RunConfig, rows: list[Row]) -> str:
    """What was planned of a run, beside what came of it."""
    lines = [f"{'':24}{'planned':>16}{'actual':>16}{'actual / planned':>18}"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        lines.append(f"{row.name:24}{_figure(row.planned)}{_figure(row.actual)}{ratio:>18}")
    return "\n".join([f"run {run.id}: plan and actual", *lines])


def _figure(value: float | None) -> str:
    return f"{'not known' if value is None else f'{value:,.0f}':>16}"


def _line(name: str, value: str) -> str:
    return f"  {name:20} {value}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _size(count: float) -> str:
    for unit, size in (("TiB", 2**40), ("GiB", GIB), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1024:,.1f} KiB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
