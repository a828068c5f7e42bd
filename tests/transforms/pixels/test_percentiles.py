"""Percentiles by counting are those of NumPy."""

import numpy as np
import pytest

from transforms.pixels.percentiles import percentiles


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.int32])
@pytest.mark.parametrize("size", [1, 2, 7, 5000])
def test_they_are_those_of_numpy(dtype, size):
    values = np.random.default_rng(size).normal(90, 40, size).clip(0, 250).astype(dtype)
    values = values - dtype(30) if dtype == np.int16 else values
    percent = (0, 1, 50, 98.6, 100)
    np.testing.assert_allclose(percentiles(values, percent), np.percentile(values, percent))


def test_the_ends_of_what_16_bits_hold():
    values = np.array([[-32768, 32767], [0, 1]], np.int16)
    assert percentiles(values, (0, 50, 100)).tolist() == [-32768, 0.5, 32767]
