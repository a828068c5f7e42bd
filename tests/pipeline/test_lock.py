"""The lock of an output folder: one holder, whatever the clock says; the dead hold nothing."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.lock import Locked, lock_url, locked
from transforms.store import read_json, write_json

ROOT = Path(__file__).parents[2]

HOLD = """
import sys, time
from pipeline.lock import locked
with locked(sys.argv[1], "elsewhere"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_lock_is_held_named_and_released(tmp_path):
    with locked(str(tmp_path), "abc"):
        held = read_json(lock_url(str(tmp_path)))
        assert (held["run"], held["pid"]) == ("abc", os.getpid())
    assert not os.listdir(tmp_path)


def test_a_run_that_fails_releases_it(tmp_path):
    with pytest.raises(OSError), locked(str(tmp_path), "abc"):
        raise OSError
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("break_lock", [False, True])
def test_a_living_process_keeps_it_and_is_named(tmp_path, holder, break_lock):
    with pytest.raises(Locked, match=f"elsewhere, process {holder.pid} on"):
        with locked(str(tmp_path), "mine", break_lock, sleep=pytest.fail):
            pass
    assert read_json(lock_url(str(tmp_path)))["pid"] == holder.pid


def test_what_a_killed_process_left_is_taken_over(tmp_path, holder, capsys):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with locked(str(tmp_path), "mine"):
        assert read_json(lock_url(str(tmp_path)))["run"] == "mine"
    assert f"process {holder.pid}" in capsys.readouterr().err
    assert not os.listdir(tmp_path)


def left_by_another_host(out: str, **changes) -> dict:
    with locked(out, "theirs"):
        lock = read_json(lock_url(out)) | {"host": "far-away", "boot": "x", "token": "t"} | changes
    write_json(lock_url(out), lock)
    return lock


def test_a_silent_holder_elsewhere_is_kept_until_it_is_broken(tmp_path):
    # Its clock is years ahead: that says nothing.
    left_by_another_host(str(tmp_path), since="2099-01-01T00:00:00Z")
    waited = []
    with pytest.raises(Locked, match="far-away since 2099.*--break-lock"):
        with locked(str(tmp_path), "mine", sleep=waited.append):
            pass
    assert not waited
    with locked(str(tmp_path), "mine", break_lock=True, beat=20, sleep=waited.append):
        assert read_json(lock_url(str(tmp_path)))["run"] == "mine"
    assert waited == [60]


def test_a_holder_elsewhere_that_counts_on_is_not_broken(tmp_path):
    lock = left_by_another_host(str(tmp_path))

    def wait(seconds):
        write_json(lock_url(str(tmp_path)), lock | {"beats": 1})

    with pytest.raises(Locked, match="is alive"):
        with locked(str(tmp_path), "mine", break_lock=True, sleep=wait):
            pass


def test_a_number_of_a_process_that_is_another_one_now_holds_nothing(tmp_path):
    with locked(str(tmp_path), "x"):
        lock = read_json(lock_url(str(tmp_path)))
    write_json(lock_url(str(tmp_path)), lock | {"process_start": "1"})
    with locked(str(tmp_path), "mine"):
        pass


def test_of_many_that_break_it_one_wins(tmp_path):
    left_by_another_host(str(tmp_path))
    barrier, inside = threading.Barrier(4), []

    def attempt(name: str) -> str:
        barrier.wait()
        try:
            with locked(str(tmp_path), name, break_lock=True, sleep=lambda _: None):
                inside.append(name)
                time.sleep(0.2)
                assert len(inside) == 1
                inside.remove(name)
        except Locked as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(attempt, "abcd"))
    assert said.count("") == 1
    assert not os.listdir(tmp_path)


def test_a_holder_shows_that_it_lives_until_another_takes_it(tmp_path, capsys):
    url = lock_url(str(tmp_path))
    with locked(str(tmp_path), "mine", beat=0.01):
        while not read_json(url)["beats"]:
            time.sleep(0.01)
        write_json(url, read_json(url) | {"token": "other"})
        while "no longer this run's" not in capsys.readouterr().err:
            time.sleep(0.01)
    assert read_json(url)["token"] == "other"
