"""Chips run at once on a CPU: what other threads of the process take does not change by it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from planet import MICRO

from model.checkpoint import of_network
from model.inputs import INPUTS
from model.legend import LULC6
from model.network import CloudLULCNet
from model.predict import Predictor


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
