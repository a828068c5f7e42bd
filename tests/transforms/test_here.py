"""Pixels between fused steps cost Beam nothing, and never leave their process unnoticed."""

import pickle

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to

from transforms.here import Here


def test_a_pickle_holds_nothing_and_cannot_be_opened():
    pixels = Here(np.zeros((4, 12, 512, 512), np.uint16))
    data = pickle.dumps((1, pixels))
    assert len(data) < 200
    with pytest.raises(RuntimeError, match="sent from one process to another"):
        pickle.loads(data)


def test_fused_steps_hand_on_what_is_kept_and_a_shuffle_is_refused():
    with beam.Pipeline(runner="FnApiRunner") as root:
        sizes = (
            root
            | beam.Create(range(1, 30))
            | "Make" >> beam.Map(lambda n: (n, Here(np.zeros(n))))
            | "Use" >> beam.MapTuple(lambda n, here: here.value.size)
        )
        assert_that(sizes, equal_to(range(1, 30)))
    with pytest.raises(ValueError, match="decoding") as refused:
        with beam.Pipeline(runner="FnApiRunner") as root:
            _ = root | beam.Create([1]) | beam.Map(Here) | beam.Reshuffle()
    assert "sent from one process to another" in str(refused.value.__cause__)
