"""Side by side: ways of doing the same work, timed in turn, as ratios of medians.

On a machine with few cores a single run varies by a factor of two, so the ways take turns and
only the ratios of their medians are spoken of. Every benchmark prints JSON lines, each with what
is needed to judge it, and then a table.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple


class Ratio(NamedTuple):
    """How much longer one way takes than another, over interleaved repeats."""

    median: float  # ratio of the medians
    lowest: float  # smallest and largest ratio of two neighbouring repeats
    highest: float


def interleaved(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds on the clock of each way, which take turns; the order turns round every time."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats):
        names = list(ways) if turn % 2 == 0 else list(ways)[::-1]
        for name in names:
            began = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def ratio(of: list[float], to: list[float]) -> Ratio:
    """Of the seconds of one way to those of another, taken in the same turns."""
    pairs = [a / b for a, b in zip(of, to, strict=True)]
    return Ratio(median(of) / median(to), min(pairs), max(pairs))


def context(packages: tuple[str, ...] = ()) -> dict[str, str | int | float]:
    """Machine, day, commit and versions: what a figure means nothing without."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "commit": _commit(),
        **{name: version(name) for name in packages},
    }


def print_line(what: str, figures: dict, about: dict, target: str = "", reached: bool = True):
    """One JSON line; one that falls short says so in words, too."""
    line = {"what": what, **figures}
    if target:
        line |= {"target": target, "reached": reached}
    print(json.dumps(line | {"context": about}), flush=True)
    if not reached:
        print(f"FALLS SHORT: {what}: {target}", flush=True)


def print_table(rows: list[dict]) -> None:
    """Rows of equal keys as a Markdown table."""
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(_short(row[name]) for name in names) + " |")


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.exists() else [])
        if line.startswith("model name")
    ]
    return names[0] if names else platform.machine()


def _commit() -> str:
    root = Path(__file__).parent
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"
