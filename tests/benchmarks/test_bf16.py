"""The shipped weights give the same map in bfloat16, where they are sure of it."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from benchmarks.bf16 import agreement, clouded
from benchmarks.real_scenes import decibel, l1c
from model.checkpoint import load
from model.precision import PRECISIONS, bfloat16_is_fast
from model.predict import Predictor

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "sample" / "sen12mscr"
SCENES = ["ROIs1970_fall_139_p839", "ROIs1868_summer_19_p30"]


def chip(scene):
    """(12,128,128) uint16 reflectance x 1e4, (2,128,128) int16 dB x 100 of a real, cloudy scene."""
    (optical,) = SAMPLE.glob(f"*/sen12mscr_{scene}_S2_L1C/optical.tif")
    (sar,) = SAMPLE.glob(f"*/sen12mscr_{scene}_S1_GRD/sar.tif")
    with rasterio.open(optical) as o, rasterio.open(sar) as s:
        return l1c(o.read()[:, :128, :128]), decibel(s.read()[:, :128, :128])


@pytest.mark.skipif(not bfloat16_is_fast("cpu"), reason="no AVX512-BF16 here")
@pytest.mark.parametrize("path", sorted((ROOT / "model" / "weights").glob("*.safetensors")))
def test_confident_pixels_keep_their_class(path):
    chips = [chip(scene) for scene in SCENES]
    chips.append((np.zeros_like(chips[0][0]), chips[0][1]))  # SAR alone
    chips.append((chips[1][0], np.full_like(chips[1][1], -32768)))  # optical alone
    ways = [Predictor(load(path), threads=1, precision=name) for name in PRECISIONS]
    result = agreement(*ways, chips + clouded(chips[:1]))
    assert result.pixels == 5 * 128 * 128 and 0.02 < result.share_confident < 1
    assert result.confident >= 0.999
    assert 0.97 < result.others < 1.0  # 1 would mean that nothing was computed in bfloat16
    assert 0 < result.confidence_change <= 3
