"""Work beside a bundle: begun before the result of the one before is handed on, in order."""

import threading

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from transforms.beside import Beside, at_the_end


def test_the_next_piece_of_work_is_under_way_while_the_result_of_the_one_before_is_used():
    begun, go_on = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number == 2:
            begun.set()
            assert go_on.wait(10)
        return number

    beside = Beside()
    assert list(beside.do(work, 1)) == []
    for result in beside.do(work, 2):
        assert result == 1 and begun.wait(10)
        go_on.set()
    assert list(beside.rest()) == [2]
    assert list(beside.rest()) == []


def test_what_work_raises_is_raised_where_its_result_would_be_handed_on():
    beside = Beside()
    assert list(beside.do(int, "one")) == []
    with pytest.raises(ValueError, match="one"):
        list(beside.do(int, "2"))
    assert list(beside.rest()) == [2]


def test_several_pieces_are_under_way_at_once_and_come_in_order():
    met = threading.Barrier(3)  # passed by three pieces that are under way together, or never

    def work(number: int) -> int:
        met.wait(10)
        return number

    beside = Beside(at_once=3)
    assert [list(beside.do(work, number)) for number in range(4)] == [[], [], [], [0]]
    assert list(beside.do(int, "4")) == [1]
    met.abort()
    with pytest.raises(threading.BrokenBarrierError):
        list(beside.rest())


class _Halves(beam.DoFn):
    def start_bundle(self):
        self._beside = Beside()

    def process(self, number):
        yield from self._beside.do(self._half, number)

    def finish_bundle(self):
        yield from map(at_the_end, self._beside.rest())

    def _half(self, number):
        return beam.pvalue.TaggedOutput("odd", number) if number % 2 else number // 2


def test_nothing_of_a_bundle_is_lost_at_its_end():
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        halves = (
            pipeline
            | beam.Create(range(7))
            | beam.ParDo(_Halves()).with_outputs("odd", main="even")
        )
        assert_that(halves.even, equal_to([0, 1, 2, 3]), label="even")
        assert_that(halves.odd, equal_to([1, 3, 5]), label="odd")
