"""The simulation of a continent, against what follows from its assumptions."""

from statistics import mean

import pytest

from benchmarks.africa import (
    BANDWIDTH,
    DOUBLING,
    RATE,
    STARTING,
    WRITES,
    Job,
    bites,
    play,
    ramped,
    spread,
)


def job(seconds, lanes=10**6, asked=0.0, writes=0.0, reads=0.0, size=0.0):
    return Job("any", seconds, lanes, asked, writes, reads, size)


def test_keys_are_shared_out_among_workers():
    played = play(job([60.0] * 80), 8)
    assert played.wall == STARTING + 600
    assert (played.workers, played.by, played.tail) == (8, "workers", 0.0)


def test_no_more_workers_have_something_to_do_than_there_are_lanes_or_keys():
    played = play(job([60.0] * 80, lanes=4, asked=2), 1000)
    assert (played.workers, played.by) == (4, "requests at a time")
    # The first keys ask one after the other, as the source's requests a second allow.
    assert 0 < played.wall - (STARTING + 1200) < 1
    played = play(job([60.0, 900.0]), 1000)
    assert (played.workers, played.wall, played.by) == (2, STARTING + 900, "the longest key")
    assert played.held == 2 * (STARTING + 900) / 3600


@pytest.mark.parametrize(
    ("asked", "seconds", "by"),
    [
        ({"writes": 10 * WRITES}, 1000.0, "writes/s of the bucket"),
        ({"size": 10 * BANDWIDTH}, 1000.0, "bandwidth of the bucket"),
        ({"asked": 10 * RATE}, 1000.0, "requests/s of the source"),
    ],
)
def test_services_are_shared_by_all_workers(asked, seconds, by):
    played = play(job([1.0] * 100, **asked), 100)
    assert played.by == by
    assert seconds <= played.wall - STARTING < 1.8 * seconds


def test_a_bucket_takes_twice_as_much_after_a_while():
    assert ramped(WRITES * DOUBLING, WRITES) == DOUBLING
    assert ramped(WRITES * DOUBLING * 2, WRITES) == 1.5 * DOUBLING


def test_stragglers_leave_the_mean_as_it_is_and_every_run_alike():
    drawn = spread([10.0] * 20_000, 1)
    assert abs(mean(drawn) - 10) < 0.1 and max(drawn) > 30
    assert drawn == spread([10.0] * 20_000, 1)


def test_the_limit_that_is_overrun_furthest_is_named_first():
    asked = job([10.0] * 1000, lanes=40, asked=2, writes=500.0)  # four blocks each
    assert bites(asked, 400) == ["160 requests at a time (10.0 x)", "1000 writes/s (2.0 x)"]
    assert bites(asked, 10) == []
