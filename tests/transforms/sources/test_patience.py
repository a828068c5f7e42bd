import pickle

import pytest

from transforms.scene import SourceUnavailable
from transforms.sources.patience import LONGEST_RETRY_AFTER, Patience, Transient


def no_sleep(seconds: float) -> None:
    """Time passes at once."""


def failing(*errors):
    """A call that raises these and then returns "pixels"; and the list of its calls."""
    calls, left = [], iter(errors)

    def call():
        calls.append(1)
        error = next(left, None)
        if error:
            raise error
        return "pixels"

    return call, calls


def test_waits_double_and_are_jittered():
    calm, jittered = Patience(jitter=lambda: 0.0), Patience(jitter=lambda: 1.0)
    assert [calm.wait(n) for n in range(9)] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [jittered.wait(n) for n in range(3)] == [0.5, 1, 2]
    assert [Patience().wait(3) for _ in range(9)] != [2.0] * 9


@pytest.mark.parametrize(
    "header, seconds",
    [
        ("7", 7.0),
        ("Sat, 01 Jun 2024 00:00:20 GMT", 20.0),
        ("Sat, 01 Jun 2024 00:00:00 GMT", 0.25),  # over already: the usual wait
        ("soon", 0.25),
        (None, 0.25),
        ("99999", LONGEST_RETRY_AFTER),
    ],
)
def test_retry_after_is_honoured(header, seconds):
    waits = []
    patience = Patience(sleep=waits.append, jitter=lambda: 0.0, clock=lambda: 1717200000.0)
    assert patience(failing(Transient("busy", header))[0]) == "pixels"
    assert waits == [seconds]


def test_what_came_at_last_is_returned():
    call, calls = failing(*(Transient("busy") for _ in range(5)))
    assert Patience(sleep=no_sleep)(call) == "pixels"
    assert len(calls) == 6


def test_what_stays_down_is_given_up_for_good():
    call, calls = failing(*(Transient("busy") for _ in range(99)))
    hasty = Patience(sleep=no_sleep)
    with pytest.raises(SourceUnavailable, match="busy; given up after 6 attempts") as error:
        hasty(lambda: hasty(call))  # nested, tries do not multiply
    assert not isinstance(error.value, Transient) and len(calls) == 6


@pytest.mark.parametrize("kind", [ValueError, SourceUnavailable])
def test_other_errors_are_not_repeated(kind):
    call, calls = failing(kind("wrong"))
    with pytest.raises(kind, match="wrong"):
        Patience(sleep=no_sleep)(call)
    assert len(calls) == 1


def test_workers_of_a_job_do_not_wait_in_step():
    # `random.random` would be pickled with its state, the same for all workers.
    assert b"random" not in pickle.dumps(Patience())
    assert len({pickle.loads(pickle.dumps(Patience())).jitter() for _ in range(9)}) == 9
