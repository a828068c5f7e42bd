"""Progress of a job, read off its output: the output is the state."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from transforms.masking import masked

BAR_SECONDS = 1.0
LINE_SECONDS = 15.0

PATIENCE = 50
"""How many times as long as counting takes is waited until the next time: a continent has thousands
of folders to list, and what is listed for the sake of a line has to grow with the job alone."""


def say(text: str) -> None:
    """Print a line for the person at the terminal, without secrets; stdout is for results."""
    print(masked(text), file=sys.stderr, flush=True)


@contextmanager
def progress(job: str, total: int, finished: Callable[[], int], unit: str = "blocks"):
    """Show how far a job is while the body runs: a bar on a terminal, plain lines elsewhere.

    Args:
      job: its name.
      total: how many keys there are to finish.
      finished: counts those finished so far; called now and then from a thread of its own.
      unit: what a key is.
    """
    stop = threading.Event()
    show = _bar if sys.stderr.isatty() else _lines
    thread = threading.Thread(target=show, args=(job, total, finished, unit, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _bar(job: str, total: int, finished: Callable[[], int], unit: str, stop: threading.Event):
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
    from rich.progress import TextColumn as Text

    columns = Text("{task.description:8}"), BarColumn(), MofNCompleteColumn(), Text(unit)
    with Progress(*columns, TimeRemainingColumn(), transient=False) as bar:
        task = bar.add_task(job, total=total)
        for done in _counts(finished, BAR_SECONDS, stop):
            bar.update(task, completed=done)
        bar.update(task, completed=finished())


def _lines(job: str, total: int, finished: Callable[[], int], unit: str, stop: threading.Event):
    said = -1
    for done in _counts(finished, LINE_SECONDS, stop):
        if done != said:
            print(f"{job}: {done} of {total} {unit}", file=sys.stderr, flush=True)
        said = done


def _counts(finished: Callable[[], int], pause: float, stop: threading.Event) -> Iterator[int]:
    """How many keys are finished, time and again until told to stop."""
    wait = pause
    while not stop.wait(wait):
        began = time.monotonic()
        yield finished()
        wait = max(pause, PATIENCE * (time.monotonic() - began))
