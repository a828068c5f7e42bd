"""Scores of land-cover maps, all from one confusion matrix, and of probabilities. numpy only.

Means over classes leave out the classes that the truth does not hold, as a subset of a test set
often lacks some; `Scores.present` says how many were counted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.legend import IGNORE_INDEX


class Scores(NamedTuple):
    overall_accuracy: float
    precision: np.ndarray  # (C,) float64, user's accuracy; nan: never predicted
    recall: np.ndarray  # (C,) float64, producer's accuracy; nan: not in the truth
    f1: np.ndarray  # (C,) float64; nan: not in the truth
    iou: np.ndarray  # (C,) float64; nan: not in the truth
    macro_f1: float  # unweighted mean over the classes in the truth
    mean_iou: float  # unweighted mean over the classes in the truth
    kappa: float  # Cohen 1960
    present: int  # classes in the truth
    pixels: int


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts pixels by class; matrices of parts add up.

    Args:
      truth: (...) uint8 class index, 255 left out.
      predicted: (...) uint8 class index.
      classes: number of classes C.

    Returns:
      (C,C) int64 pixels, [truth, predicted].

    Raises:
      ValueError: shapes differ, or an index is outside the classes.
    """
    if truth.shape != predicted.shape:
        raise ValueError(
            f"confusion matrix: truth has shape {truth.shape}, predicted {predicted.shape}; "
            "expected the same"
        )
    valid = truth != IGNORE_INDEX
    t, p = truth[valid].astype(np.int64), predicted[valid].astype(np.int64)
    for name, values in (("truth", t), ("predicted", p)):
        if values.size and (values.min() < 0 or values.max() >= classes):
            raise ValueError(
                f"confusion matrix: {name} holds {np.unique(values).tolist()}, expected 0 to "
                f"{classes - 1}; class codes have to be turned into class indices first"
            )
    return np.bincount(t * classes + p, minlength=classes * classes).reshape(classes, classes)


def scores(matrix: np.ndarray) -> Scores:
    """All scores of a confusion matrix (C,C) int64, [truth, predicted]; nan where undefined."""
    matrix = np.asarray(matrix, np.float64)
    hit = np.diag(matrix)
    truth, predicted, total = matrix.sum(1), matrix.sum(0), matrix.sum()
    present = truth > 0
    recall = _ratio(hit, truth)
    f1 = np.where(present, _ratio(2 * hit, truth + predicted), np.nan)
    iou = np.where(present, _ratio(hit, truth + predicted - hit), np.nan)
    accuracy = float(_ratio(hit.sum(), total))
    chance = float(_ratio((truth * predicted).sum(), total * total))
    return Scores(
        overall_accuracy=accuracy,
        precision=_ratio(hit, predicted),
        recall=recall,
        f1=f1,
        iou=iou,
        macro_f1=float(f1[present].mean()) if present.any() else np.nan,
        mean_iou=float(iou[present].mean()) if present.any() else np.nan,
        kappa=float(_ratio(accuracy - chance, 1 - chance)),
        present=int(present.sum()),
        pixels=int(total),
    )


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equal-width bins (Guo et al. 2017).

    Args:
      confidence: (...) float, highest class probability, 0 to 1.
      correct: (...) bool, same shape.
      bins: number of bins.

    Returns:
      0 to 1; nan without any value.
    """
    confidence, correct = np.ravel(confidence).astype(np.float64), np.ravel(correct)
    if not confidence.size:
        return np.nan
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    believed = np.bincount(index, confidence, bins)
    right = np.bincount(index, correct.astype(np.float64), bins)
    return float(np.abs(believed - right).sum() / confidence.size)


def area_under_curve(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative.

    Computed from ranks, ties counting half (Mann and Whitney 1947).

    Args:
      score: (...) float.
      positive: (...) bool, same shape.

    Returns:
      0 to 1; nan without a positive or without a negative.
    """
    score, positive = np.ravel(score), np.ravel(positive).astype(bool)
    n_positive = int(positive.sum())
    n_negative = positive.size - n_positive
    if not n_positive or not n_negative:
        return np.nan
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)  # ranks of equal scores are first..last; each gets their mean
    rank = (last - (counts - 1) / 2)[inverse]
    above = rank[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


def _ratio(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    """a / b, nan where b is 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b != 0)
