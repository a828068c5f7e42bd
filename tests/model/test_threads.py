"""Chips run at once on a CPU: what other threads of the process take does not change by it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from planet import MICRO

from model.checkpoint import load, of_network
from model.inputs import INPUTS
from model.legend import LULC6
from model.network import CloudLULCNet
from model.predict import Predictor
from pipeline.config import DEFAULT_CHECKPOINT


def test_threads_of_the_process_keep_their_number():
    before = torch.get_num_threads()
    optical, sar = np.ones((3, 12, 64, 64), np.uint16), np.ones((3, 2, 64, 64), np.int16)
    try:
        torch.set_num_threads(2)
        Predictor(of_network(CloudLULCNet(MICRO), INPUTS, LULC6, 1.0, {})).predict(optical, sar)
        with ThreadPoolExecutor(1) as new:
            assert new.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)


def test_the_number_of_threads_of_a_chip_changes_no_bit():
    generator = np.random.default_rng(4)
    optical = generator.integers(1, 9000, (1, 12, 512, 512)).astype(np.uint16)
    sar = generator.integers(-2500, -300, (1, 2, 512, 512)).astype(np.int16)
    checkpoint = load(DEFAULT_CHECKPOINT)
    before = torch.get_num_threads()
    try:
        one, two = (
            Predictor(checkpoint, threads=n).predict_with_probabilities(optical, sar)
            for n in (1, 2)
        )
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(a, b) for a, b in zip(one[0], two[0], strict=True))
    assert np.array_equal(one[1], two[1]) and one[0].confidence.std() > 0
