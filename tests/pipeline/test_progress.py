import time

from pipeline import progress


class Stop:
    """An event that is waited for without waiting, and set after a number of times."""

    def __init__(self, times: int):
        self.times, self.waits = times, []

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return len(self.waits) > self.times


def slow() -> int:
    time.sleep(0.02)
    return 7


def test_what_takes_long_to_count_is_counted_seldom():
    stop = Stop(3)
    assert list(progress._counts(slow, 0.5, stop)) == [7, 7, 7]
    assert stop.waits[0] == 0.5
    assert all(wait >= 0.02 * progress.PATIENCE for wait in stop.waits[1:])


def test_what_is_counted_at_once_is_counted_at_the_usual_pace():
    stop = Stop(3)
    assert list(progress._counts(lambda: 7, 1000.0, stop)) == [7, 7, 7]
    assert stop.waits == [1000.0] * 4
