"""From chips to map layers: the network with its calibration and its legend, numpy to numpy."""

from __future__ import annotations

import ctypes
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.checkpoint import Checkpoint
from model.legend import NODATA_CODE
from model.precision import check_precision

UNKNOWN = 255
"""Confidence and reliability of a pixel that neither sensor saw."""

MALLOPT = {
    -3: 2**25,  # M_MMAP_THRESHOLD: bytes from which on a map gets, and loses, pages of its own
    -1: 2**30,  # M_TRIM_THRESHOLD: free bytes from which on they are given back
    -8: 1,  # M_ARENA_MAX
}
"""Of glibc's malloc.h."""


class Prediction(NamedTuple):
    lulc: np.ndarray  # (n,y,x) uint8 class codes, 0 nodata
    confidence: np.ndarray  # (n,y,x) uint8 0-100, highest calibrated probability; 255 nodata
    reliability: np.ndarray  # (n,y,x) uint8 0-100, how far optical was believed; 255 nodata


class Predictor:
    """Maps chips with a checkpoint.

    The network always runs on exactly `batch` chips, padded with empty ones, so that how chips
    are grouped cannot change a result. On a CPU several batches run at once, each on a thread of
    its own: that is faster than one batch on all threads, and up to as many threads as there are
    batches their number cannot change a rounding.

    Args:
      checkpoint: what to map with.
      device: torch device, e.g. "cpu", "cuda".
      threads: of all batches together; None: as many as torch would take.
      batch: chips per run of the network; None: 1 on a CPU, where more only cost memory (0.25 GB a
        chip of 512 px for `tiny`), 4 elsewhere. Another number may change a rounding.
      precision: what the network computes in, one of `PRECISIONS`.

    Raises:
      ValueError: the device does not compute in that precision, or only slowly.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "cpu",
        threads: int | None = None,
        batch: int | None = None,
        precision: str = "float32",
    ):
        check_precision(precision, device)
        if device == "cpu":
            keep_freed_memory()
        self.legend, self.inputs = checkpoint.legend, checkpoint.inputs
        self.temperature = checkpoint.temperature
        self.device = torch.device(device)
        self.threads = threads or torch.get_num_threads()
        self.batch = batch or (1 if self.device.type == "cpu" else 4)
        network = checkpoint.network().to(self.device)
        if precision == "bfloat16":
            network.in_bfloat16()
        self.network = network.to(memory_format=torch.channels_last)

    def predict(self, optical: np.ndarray, sar: np.ndarray) -> Prediction:
        """Maps chips.

        Args:
          optical: (n,12,y,x) uint16 reflectance x 1e4, 0 nodata per band.
          sar: (n,2,y,x) int16 dB x 100, -32768 nodata.

        Returns:
          See `Prediction`.

        Raises:
          ValueError: shapes do not fit each other or the network.
        """
        return Prediction(*self._predict(optical, sar, probabilities=False))

    def predict_with_probabilities(
        self, optical: np.ndarray, sar: np.ndarray
    ) -> tuple[Prediction, np.ndarray]:
        """As `predict`, and the calibrated probabilities.

        Returns:
          The prediction; (n,class,y,x) uint8 percent by class index, 255 nodata.
        """
        *layers, probability = self._predict(optical, sar, probabilities=True)
        return Prediction(*layers), probability

    def _predict(
        self, optical: np.ndarray, sar: np.ndarray, probabilities: bool
    ) -> list[np.ndarray]:
        if len(optical) != len(sar) or not len(optical):
            raise ValueError(
                f"predict: got {len(optical)} optical and {len(sar)} SAR chips, expected the same "
                "number, at least one"
            )
        batches = [slice(i, i + self.batch) for i in range(0, len(optical), self.batch)]
        # A GPU's batches would only wait for each other.
        at_once = min(self.threads, len(batches)) if self.device.type == "cpu" else 1
        each = (self.threads // at_once,)
        with ThreadPoolExecutor(at_once, "predict", torch.set_num_threads, each) as pool:
            parts = list(
                pool.map(lambda b: self._predict_batch(optical[b], sar[b], probabilities), batches)
            )
        # A number holds for the thread that sets it, and for all that are new after it.
        torch.set_num_threads(self.threads)
        return [np.concatenate(layer) for layer in zip(*parts, strict=True)]

    def _predict_batch(
        self, optical: np.ndarray, sar: np.ndarray, probabilities: bool
    ) -> tuple[np.ndarray, ...]:
        """The layers of `Prediction` for at most `batch` chips.

        With `probabilities`, those (n,class,y,x) uint8 come fourth.
        """
        with torch.inference_mode():
            output = self.network(
                self._padded(optical, self.inputs.optical.nodata),
                self._padded(sar, self.inputs.sar.nodata),
            )
            probability = (output.logits.float() / self.temperature).softmax(1)  # (batch,C,y,x)
            highest, index = probability.max(1)  # (batch,y,x)
            if output.reliability:
                r = output.reliability[1].float().sigmoid()  # (batch,1,y/4,x/4)
                size = optical.shape[2:]
                r = F.interpolate(r, size=size, mode="bilinear", align_corners=False)[:, 0]
            else:
                r = torch.ones_like(highest)
            layers = [index, (100 * highest).round(), (100 * r).round()]
            if probabilities:
                layers.append((100 * probability).round())
            # A GPU is at work on the layers meanwhile.
            has_optical = (optical != self.inputs.optical.nodata).any(1)  # (n,y,x)
            nothing = ~has_optical & (sar == self.inputs.sar.nodata).all(1)
            index, confidence, reliability, *probability = (
                x[: len(optical)].to(torch.uint8).cpu().numpy() for x in layers
            )
        reliability[~has_optical] = 0
        lulc = self.legend.codes(index)
        lulc[nothing] = NODATA_CODE
        confidence[nothing] = UNKNOWN
        reliability[nothing] = UNKNOWN
        for percent in probability:
            np.copyto(percent, UNKNOWN, where=nothing[:, None])
        return lulc, confidence, reliability, *probability

    def _padded(self, chips: np.ndarray, nodata: int) -> Tensor:
        """(n,band,y,x) integers -> (batch,band,y,x) float32 on the device, empty chips behind."""
        on_cpu = self.device.type == "cpu"
        out = np.full((self.batch, *chips.shape[1:]), nodata, np.float32 if on_cpu else chips.dtype)
        out[: len(chips)] = chips
        if on_cpu:
            return torch.from_numpy(out)
        # Integers are half the bytes; out of pinned memory they go while this thread goes on.
        return torch.from_numpy(out).pin_memory().to(self.device, non_blocking=True).float()


def keep_freed_memory() -> None:
    """Has this process keep the memory that it frees, where the C library is glibc.

    A chip's maps have some MB each. By default glibc gives them back to the system, which clears
    and maps every page anew for the next map: a tenth of the network's time in bfloat16, a sixth
    in float32. In one arena (of threads that are not yet there) less memory is kept.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "mallopt"):
        for parameter, value in MALLOPT.items():
            library.mallopt(parameter, value)
