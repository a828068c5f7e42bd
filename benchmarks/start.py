"""How soon there is an answer: `--help` of every command, `make demo` run again, images to pull.

Usage: python -m benchmarks.start [--repeats 3] [--no-demo]

Every command is a process of its own. The demo is made once in a folder of its own, as `make demo`
makes it once its environment is set up, and then again; the first run is stated, not judged. Images
are not built here: their compressed sizes are those that `deploy/size_budget.py` estimates. What a
worker's start takes, imports and the loading of the network, is measured by benchmarks/classify.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.timing import context, print_line, print_table
from deploy.size_budget import BUDGET, estimate
from pipeline.cli import COMMANDS

ROOT = Path(__file__).parents[1]

HELP, DEMO = 0.5, 20.0  # s, at most


def seconds(command: list[str], repeats: int) -> float:
    """Median seconds on the clock of a command that has to succeed."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=os.environ)
        found.append(time.perf_counter() - began)
    return median(found)


def helps(repeats: int) -> list[dict]:
    """The text of --help, of all and of each command."""
    rows = []
    for name in ("", *COMMANDS):
        command = [sys.executable, "-m", "pipeline", *filter(None, [name]), "--help"]
        rows.append({"what": f"cloudlulc {name}".strip() + " --help", "took": None, "limit": HELP})
        rows[-1]["took"] = seconds(command, repeats)
    return rows


def demo(repeats: int) -> list[dict]:
    """The demo for the first time, and when its maps lie there."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "data/sample/demo.py", "--out", f"{folder}/demo"]
        first = seconds(command, 1)
        again = seconds(command, repeats)
    return [
        {"what": "make demo, first maps", "took": first, "limit": None},
        {"what": "make demo, again", "took": again, "limit": DEMO},
    ]


def images() -> list[dict]:
    """Compressed sizes, GB, against the budget."""
    return [
        {"what": f"{image} image, GB (estimate)", "took": estimate(image) / 1e9, "limit": of / 1e9}
        for image, of in BUDGET.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-demo", action="store_true", help="leave out what takes a minute")
    args = parser.parse_args()
    about = context()
    rows = helps(args.repeats) + ([] if args.no_demo else demo(args.repeats)) + images()
    for row in rows:
        limit = row["limit"]
        reached = limit is None or row["took"] <= limit
        print_line("start", row, about, f"at most {limit}" if limit else "", reached)
    print_table([row | {"limit": row["limit"] or ""} for row in rows])


if __name__ == "__main__":
    main()
