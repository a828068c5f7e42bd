"""Scores of a map on labelled samples: whole, by cloud cover, on clear and on cloudy pixels.

Everything is kept as counts of one sample (`SampleScore`), from which a report is summed: so an
evaluation can stop and go on, two can be compared sample by sample, and any subset be scored anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np

from model.bootstrap import bootstrap
from model.inputs import INPUTS
from model.legend import IGNORE_INDEX, LULC6
from model.metrics import (
    STATISTICS,
    area_under_curve,
    confusion_matrix,
    expected_calibration_error,
    scores,
)
from model.patch import Sample
from model.predict import UNKNOWN, Prediction

MODALITIES = ("s1+s2", "s1", "s2")
BINS = ("0-20", "20-40", "40-60", "60-80", "80-100")
"""Bins of cloud cover, percent: each holds its lower edge, the last one also its upper."""

CLASSES = len(LULC6.classes)
_LEVELS = 101  # confidence and reliability are whole percents

Predict = Callable[[np.ndarray, np.ndarray], Prediction]
"""`Predictor.predict`, or any function like it."""

CloudMask = Callable[[np.ndarray], np.ndarray]
"""(12,y,x) uint16 reflectance x 1e4, 0 nodata -> (y,x) bool, cloud or shadow."""


class SampleScore(NamedTuple):
    """What is counted of one sample."""

    name: str
    place: str  # samples of one place are no independent draws
    cloud: float | None  # share of its pixels under cloud or shadow, 0-1; None: unknown
    confusion: np.ndarray  # (C,C) int64 pixels, [truth][predicted]
    cloudy: np.ndarray  # (C,C) int64, of the cloudy pixels alone; the others are clear
    unmapped: int  # labelled pixels that got no class; they are in no matrix
    confidence: np.ndarray  # (2,101) int64, wrong and right pixels by confidence, percent
    reliability: np.ndarray  # (2,101) int64, cloudy and clear pixels by reliability, percent

    def to_dict(self) -> dict:
        """Plain JSON."""
        plain = self._asdict().items()
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in plain}

    @classmethod
    def from_dict(cls, d: dict) -> SampleScore:
        arrays = ("confusion", "cloudy", "confidence", "reliability")
        return cls(**{k: np.array(v, np.int64) if k in arrays else v for k, v in d.items()})


def cloud_bin(share: float) -> str:
    """The bin of a cloud share, 0-1."""
    return BINS[min(int(5 * share), 4)]


def evaluate(
    predict: Predict,
    samples: Iterable[Sample],
    inputs: str = "s1+s2",
    batch: int = 1,
    cloud_mask: CloudMask | None = None,
) -> Iterator[SampleScore]:
    """Maps samples and counts, one by one, in their order.

    Args:
      predict: gives class codes, confidence and reliability of chips.
      samples: of a split.
      inputs: one of `MODALITIES`: what the network is given; the other sensor is nodata.
      batch: samples of one size that `predict` gets at a time.
      cloud_mask: finds the clouds of samples that come without a mask.

    Raises:
      ValueError: no such inputs, or from `predict`.
    """
    if inputs not in MODALITIES:
        raise ValueError(f"inputs: got {inputs!r}, expected one of {', '.join(MODALITIES)}")
    for _, same in groupby(samples, lambda sample: sample.label.shape):
        while part := list(islice(same, batch)):
            optical, sar = np.stack([s.optical for s in part]), np.stack([s.sar for s in part])
            if inputs == "s1":
                optical = np.full_like(optical, INPUTS.optical.nodata)
            elif inputs == "s2":
                sar = np.full_like(sar, INPUTS.sar.nodata)
            prediction = predict(optical, sar)
            for i, sample in enumerate(part):
                index = LULC6.indices(prediction.lulc[i])
                cloud = _cloud(sample, cloud_mask)
                yield count(
                    sample, index, cloud, prediction.confidence[i], prediction.reliability[i]
                )


def evaluate_maps(
    maps: Callable[[Sample], np.ndarray],
    samples: Iterable[Sample],
    cloud_mask: CloudMask | None = None,
) -> Iterator[SampleScore]:
    """Counts for maps that exist already: a function that gives a sample's, (y,x) uint8 class
    index, 255 unmapped, of the sample's unpadded size."""
    for sample in samples:
        height, width = sample.size
        index = np.full(sample.label.shape, IGNORE_INDEX, np.uint8)
        index[:height, :width] = maps(sample)
        yield count(sample, index, _cloud(sample, cloud_mask))


def _cloud(sample: Sample, find: CloudMask | None) -> np.ndarray | None:
    return sample.cloud if sample.cloud is not None or find is None else find(sample.optical)


def count(
    sample: Sample,
    index: np.ndarray,
    cloud: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
    reliability: np.ndarray | None = None,
) -> SampleScore:
    """Counts of one sample.

    Args:
      sample: what is known of it.
      index: (y,x) uint8, predicted class index, 255 unmapped.
      cloud: (y,x) bool, cloud or shadow; None: unknown.
      confidence: (y,x) uint8, percent, 255 unknown.
      reliability: (y,x) uint8, percent, 255 unknown.
    """
    height, width = sample.size
    labelled = sample.label != IGNORE_INDEX
    mapped = labelled & (index != IGNORE_INDEX)
    truth = np.where(mapped, sample.label, np.uint8(IGNORE_INDEX))
    cloudy = np.zeros(truth.shape, bool) if cloud is None else cloud
    by_confidence = np.zeros((2, _LEVELS), np.int64)
    if confidence is not None:
        by_confidence = _levels(confidence, index == sample.label, mapped)
    by_reliability = np.zeros((2, _LEVELS), np.int64)
    if reliability is not None and cloud is not None:
        seen = (sample.optical != INPUTS.optical.nodata).any(axis=0)
        by_reliability = _levels(reliability, ~cloudy, seen)
    return SampleScore(
        sample.name,
        sample.place,
        None if cloud is None else float(cloudy[:height, :width].mean()),
        confusion_matrix(truth, index, CLASSES),
        confusion_matrix(np.where(cloudy, truth, np.uint8(IGNORE_INDEX)), index, CLASSES),
        int((labelled & ~mapped).sum()),
        by_confidence,
        by_reliability,
    )


def _levels(percent: np.ndarray, good: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(2,101) int64: pixels that are not good and good, by percent."""
    where = where & (percent != UNKNOWN)
    return np.stack(
        [np.bincount(percent[where & side], minlength=_LEVELS) for side in (~good, good)]
    )


def report(counted: Sequence[SampleScore], draws: int = 1000, seed: int = 0) -> dict:
    """Plain JSON of an evaluation: `overall`, `cloud_bins`, `pixels` and `samples`.

    Args:
      counted: of every sample.
      draws: of the bootstrap over places; 0: no intervals.
      seed: of the draws.

    Raises:
      ValueError: there is no sample.
    """
    if not counted:
        raise ValueError("evaluation: there is no sample")
    known = [s for s in counted if s.cloud is not None]
    clear = [s._replace(confusion=s.confusion - s.cloudy) for s in known]
    cloudy = [s._replace(confusion=s.cloudy) for s in known]
    bins = {name: [s for s in known if cloud_bin(s.cloud) == name] for name in BINS}
    overall = figures(counted, draws, seed)
    return {
        "overall": overall | _unmapped(counted) | _reliance(counted),
        "cloud_bins": {
            name: figures(part, draws, seed) | _unmapped(part) for name, part in bins.items()
        },
        "pixels": {
            "all": overall,
            "clear": figures(clear, draws, seed),
            "cloudy": figures(cloudy, draws, seed),
        },
        "samples": [
            {k: v for k, v in s.to_dict().items() if k not in ("confidence", "reliability")}
            for s in counted
        ],
    }


def figures(counted: Sequence[SampleScore], draws: int = 1000, seed: int = 0) -> dict:
    """Scores of the summed confusion matrix as plain JSON, None where undefined.

    One place alone has no interval.
    """
    total = sum((s.confusion for s in counted), np.zeros((CLASSES, CLASSES), np.int64))
    s = scores(total)
    interval = {}
    if draws and len({s.place for s in counted}) > 1:
        interval = {
            name: [_plain(edge) for edge in bootstrap(counted, name, draws, seed)[1:]]
            for name in STATISTICS
        }
    return {
        "samples": len(counted),
        "places": len({s.place for s in counted}),
        "pixels": s.pixels,
        "oa": _plain(s.overall_accuracy),
        "f1": _plain(s.macro_f1),
        "miou": _plain(s.mean_iou),
        "kappa": _plain(s.kappa),
        "interval": interval,
        "classes_present": s.present,
        "classes": {
            c.name: {
                "iou": _plain(s.iou[c.index]),
                "f1": _plain(s.f1[c.index]),
                "precision": _plain(s.precision[c.index]),
                "recall": _plain(s.recall[c.index]),
                "pixels": int(total[c.index].sum()),
            }
            for c in LULC6.classes
        },
        "confusion": total.tolist(),
    }


def _unmapped(counted: Sequence[SampleScore]) -> dict:
    """Labelled pixels without a class, and the accuracy that counts them as wrong."""
    unmapped = sum(s.unmapped for s in counted)
    right = sum(int(np.trace(s.confusion)) for s in counted)
    pixels = unmapped + sum(int(s.confusion.sum()) for s in counted)
    return {"unmapped": unmapped, "oa_unmapped_wrong": right / pixels if pixels else None}


def _reliance(counted: Sequence[SampleScore]) -> dict:
    """How far confidence is an accuracy, and reliability parts clear from cloudy pixels."""
    percent = np.tile(np.arange(_LEVELS) / 100, 2)
    good = np.repeat([False, True], _LEVELS)
    confidence = sum(s.confidence for s in counted)
    reliability = sum(s.reliability for s in counted)
    return {
        "ece": _plain(expected_calibration_error(percent, good, weight=confidence)),
        "reliability_auc": _plain(area_under_curve(percent, good, weight=reliability)),
    }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
