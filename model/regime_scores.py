"""The accuracy of a checkpoint in every regime, as its card states it and products repeat it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from model.clouds import simulate_clouds
from model.dataset import Patches
from model.inputs import INPUTS
from model.legend import IGNORE_INDEX
from model.metrics import confusion_matrix, scores
from model.predict import Predictor
from model.regimes import Regime
from model.validation import COVERS

NO_STALE = "the data hold no SAR of another date"
NO_ORBITS = "the data hold one SAR pass of a place, whose orbit direction is not known"
UNSEEN = "the data hold no labelled patch for it"


class Sample(NamedTuple):
    """One labelled patch. Height and width are multiples of 32 px."""

    optical: np.ndarray  # (12, y, x) uint16, reflectance x 1e4, 0 nodata; clouds and all
    sar: np.ndarray  # (2, y, x) int16, dB x 100, -32768 nodata; next to the optical date
    label: np.ndarray  # (y, x) uint8, class index, 255 unknown
    stale: np.ndarray | None = None  # as sar, of a date further off than a run's stale_sar_days


def split_samples(patches: Patches) -> Iterator[Sample]:
    """A split of CloudLULC-Set under the simulated clouds that `model.validation` scores it with.

    The i-th clear image gets clouds of the i-th cover of 0 to 100 %, in turn.
    """
    for i, label in enumerate(patches.label):
        rng = np.random.default_rng([7, i])
        cloudy = simulate_clouds(patches.clear[i], rng, COVERS[i % len(COVERS)])
        yield Sample(cloudy.optical, patches.sar[i], label)


def regime_inputs(sample: Sample) -> dict[Regime, tuple[np.ndarray, np.ndarray]]:
    """(optical, SAR) of a sample as the network gets them in each regime that it can show.

    A missing sensor is all nodata, as in a chip. `ONE_ORBIT` needs scenes that are known to be of
    one direction: no sample can show it.
    """
    optical, sar = sample.optical, sample.sar
    no_optical = np.full_like(optical, INPUTS.optical.nodata)
    no_sar = np.full_like(sar, INPUTS.sar.nodata)
    shown = {}
    if (optical != INPUTS.optical.nodata).any():
        shown[Regime.OPTICAL_ONLY] = optical, no_sar
        if (sar != INPUTS.sar.nodata).any():
            shown[Regime.BOTH] = optical, sar
        if sample.stale is not None and (sample.stale != INPUTS.sar.nodata).any():
            shown[Regime.SAR_STALE] = optical, sample.stale
    if (sar != INPUTS.sar.nodata).any():
        shown[Regime.SAR_ONLY] = no_optical, sar
    return shown


def score_regimes(
    predictor: Predictor, samples: Iterable[Sample], data: str
) -> dict[str, dict[str, Any]]:
    """Overall accuracy by regime, all labelled pixels counted alike: `regimes` of a card.

    Args:
      predictor: of the checkpoint.
      samples: labelled patches that it was not trained on.
      data: what they are, for people: "rendered test split, simulated clouds of 0 to 100 %".

    Returns:
      regime -> oa (0-1, 4 digits), miou, patches, data; or oa None and the reason.
    """
    classes = len(predictor.legend.classes)
    matrices = {regime: np.zeros((classes, classes), np.int64) for regime in Regime}
    counts = dict.fromkeys(Regime, 0)
    for sample in samples:
        for regime, (optical, sar) in regime_inputs(sample).items():
            mapped = predictor.predict(optical[None], sar[None]).lulc[0]
            index = predictor.legend.indices(mapped)
            seen = np.where(index == IGNORE_INDEX, IGNORE_INDEX, sample.label)
            matrices[regime] += confusion_matrix(seen, index, classes)
            counts[regime] += 1
    why = {Regime.SAR_STALE: NO_STALE, Regime.ONE_ORBIT: NO_ORBITS}
    table: dict[str, dict[str, Any]] = {}
    for regime, matrix in matrices.items():
        if regime is Regime.NONE:
            continue
        if not matrix.any():
            table[regime.value] = {"oa": None, "reason": why.get(regime, UNSEEN)}
            continue
        s = scores(matrix)
        table[regime.value] = {
            "oa": round(s.overall_accuracy, 4),
            "miou": round(s.mean_iou, 4),
            "patches": counts[regime],
            "data": data,
        }
    return table
