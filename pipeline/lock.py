"""The lock of an output folder: one run at a time writes to it.

`lock.json` is created only where none is, and names its holder: host, process, start, run. The
holder counts up a number in it while it lives. A process that is gone from this host holds nothing,
and its lock is taken over. Whether a holder on another host lives is seen by watching its number,
not by comparing clocks: a clock that jumps breaks no lock.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipeline.progress import say
from transforms.store import (
    create_json,
    join,
    read_json,
    remove,
    storage_errors,
    write_json,
)

BEAT_SECONDS = 20.0
"""How often a holder counts up."""

SILENT_BEATS = 3
"""After so many beats without a new number a holder counts as gone."""


class Locked(ValueError):
    """The folder is another run's."""


def lock_url(out: str) -> str:
    return join(out, "lock.json")


@contextmanager
def locked(
    out: str,
    run_id: str,
    break_lock: bool = False,
    beat: float = BEAT_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold the lock of an output folder while the body runs.

    Args:
      out: the folder, local or gs://.
      run_id: of the run that writes to it.
      break_lock: take over from a holder on another host that shows no sign of life.
      beat: seconds between two signs of life.
      sleep: waits while a holder is watched.

    Raises:
      Locked: another process holds it; the message says which, and what to do.
    """
    mine = _holder(run_id)
    found = _create(out, mine)
    if found is not None:
        _take_over(out, found, mine, break_lock, beat, sleep)
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(out, mine, beat, stop), daemon=True)
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join()
        if _is(out, mine):
            remove(lock_url(out))


def _holder(run_id: str) -> dict:
    return {
        "token": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "boot": _boot(),
        "pid": os.getpid(),
        "process_start": _process_start(os.getpid()),
        "since": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),  # for people only
        "run": run_id,
        "beats": 0,
    }


def _create(out: str, mine: dict) -> dict | None:
    """None once the lock is ours; else its holder."""
    while not create_json(lock_url(out), mine):
        try:
            return read_json(lock_url(out))
        except FileNotFoundError:
            continue  # released meanwhile
        except ValueError as error:
            raise Locked(f"{error} where no cloudlulc runs in {out}") from error
    return None


def _take_over(
    out: str,
    found: dict,
    mine: dict,
    break_lock: bool,
    beat: float,
    sleep: Callable[[float], None],
) -> None:
    who = f"run {found['run']}, process {found['pid']} on {found['host']} since {found['since']}"
    alive = _is_alive(found)
    if alive is False:
        say(f"lock of {out}: left behind by {who}, which is gone; taken over")
    elif alive or not break_lock:
        hint = "" if alive else "; if it is gone for good, --break-lock takes the folder over"
        raise Locked(f"output folder {out} is being written to by {who}; wait for it{hint}")
    else:
        say(f"lock of {out}: watching {who} for {SILENT_BEATS * beat:.0f} s")
        sleep(SILENT_BEATS * beat)
        if _read(out) != found:
            raise Locked(f"output folder {out}: {who} is alive, or has just ended; not broken")
        say(f"lock of {out}: no sign of life of {who}; broken")
    # Of several that break it one wins: the lock goes only under a second one, named after it.
    breaking = join(out, f"lock-{found['token']}.json")
    if not create_json(breaking, mine):
        raise Locked(f"output folder {out}: its lock is being broken by another process; try again")
    try:
        if _is(out, found):
            remove(lock_url(out))
        other = _create(out, mine)
    finally:
        remove(breaking)
    if other is not None:
        raise Locked(f"output folder {out}: run {other['run']} on {other['host']} was faster")


def _is_alive(holder: dict) -> bool | None:
    """Whether a holder's process still runs, whatever has its number now; None: not seen here."""
    if not holder["boot"] or holder["boot"] != _boot():
        return None
    return holder["process_start"] == _process_start(holder["pid"])


def _boot() -> str:
    """Names the boot of this host and the container, in which numbers of processes count.

    "" where the system does not say (only Linux does): then every holder is watched.
    """
    kernel = Path("/proc/sys/kernel/random/boot_id")
    if not kernel.exists():
        return ""
    return f"{kernel.read_text().strip()} {os.readlink('/proc/self/ns/pid')}"


def _process_start(pid: int) -> str | None:
    """When a process of this host started, in ticks since boot; None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None
    # After the name, which may hold anything: the state, and as 22nd field of all the start.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else fields[18]


def _beat(out: str, mine: dict, beat: float, stop: threading.Event) -> None:
    """Count up until told to stop, or until the lock is another's."""
    beats = 0
    while not stop.wait(beat):
        beats += 1
        try:
            if not _is(out, mine):
                say(f"lock of {out} is no longer this run's: another one has broken it")
                return
            write_json(lock_url(out), mine | {"beats": beats})
        except storage_errors():
            continue  # the next beat tries again; a run does not end for a missed one


def _is(out: str, holder: dict) -> bool:
    found = _read(out)
    return found is not None and found.get("token") == holder["token"]


def _read(out: str) -> dict | None:
    try:
        return read_json(lock_url(out))
    except FileNotFoundError:
        return None
