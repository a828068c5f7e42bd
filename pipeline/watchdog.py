"""A watchdog for local runs: Beam's local runner waits for ever for a worker that was killed."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import NoReturn, TypeVar

T = TypeVar("T")

GRACE_SECONDS = 15.0
"""How long a run may still end by itself once a worker is gone."""

WORKER_THREADS = {
    "run_worker": "its process ended",  # waits for a worker process that the runner started
    "beam_control_read": "its connection broke",  # reads what any worker answers
    "read_grpc_client_inputs": "its connection broke",  # reads what any worker sends
}
"""Threads of the runner that end with an exception only when their worker dies."""


class WorkerDied(RuntimeError):
    """A worker process of the run is gone."""


def watched(run: Callable[[], T], grace: float = GRACE_SECONDS) -> T:
    """`run()`, unless a worker process dies meanwhile.

    The runner works in a thread of its own, because one that waits for a dead worker can be left
    but not ended. Beam says nothing of a dead worker to its caller; but threads of its own that
    hold on to the worker end with an exception, and Python reports those.

    Raises:
      WorkerDied: a worker died and the run failed, or did not end within `grace` seconds.
    """
    deaths: list[str] = []
    outcome: Future[T] = Future()

    def attempt() -> None:
        try:
            outcome.set_result(run())
        except BaseException as error:  # whatever it is, it is raised again by the caller's thread
            outcome.set_exception(error)

    def report(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else ""
        if name in WORKER_THREADS:
            deaths.append(f"{WORKER_THREADS[name]}: {args.exc_value}".removesuffix(": "))
        else:
            before(args)

    before, threading.excepthook = threading.excepthook, report
    runner = threading.Thread(target=attempt, name="runner", daemon=True)
    try:
        runner.start()
        while runner.is_alive() and not deaths:
            runner.join(0.5)
        deadline = time.monotonic() + grace
        while runner.is_alive() and time.monotonic() < deadline:
            runner.join(0.5)
    finally:
        threading.excepthook = before
    if not outcome.done():
        raise WorkerDied(_message(deaths))
    if deaths and outcome.exception():
        raise WorkerDied(_message(deaths)) from outcome.exception()
    return outcome.result()


def leave(code: int) -> NoReturn:
    """End this process at once: threads that wait for the dead worker would keep it alive.

    The other workers end when their connection to this process does.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _message(deaths: list[str]) -> str:
    return (
        f"a worker process died in the middle of its work ({', '.join(dict.fromkeys(deaths))}); "
        "was it killed for want of memory? What it finished is kept: run the same command again"
    )
