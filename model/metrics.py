"""Scores of land-cover maps, all from confusion matrices, and of probabilities. numpy only.

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
    accuracy = float(overall_accuracy(matrix))
    chance = float(_ratio((truth * predicted).sum(), total * total))
    return Scores(
        overall_accuracy=accuracy,
        precision=_ratio(hit, predicted),
        recall=_ratio(hit, truth),
        f1=_f1(matrix),
        iou=_iou(matrix),
        macro_f1=float(macro_f1(matrix)),
        mean_iou=float(mean_iou(matrix)),
        kappa=float(_ratio(accuracy - chance, 1 - chance)),
        present=int((truth > 0).sum()),
        pixels=int(total),
    )


def overall_accuracy(matrices: np.ndarray) -> np.ndarray:
    """Share of right pixels: (...,C,C) -> (...) float64; nan without pixels."""
    return _ratio(np.trace(matrices, axis1=-2, axis2=-1), np.sum(matrices, (-2, -1)))


def macro_f1(matrices: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes in the truth: (...,C,C) -> (...) float64; nan without pixels."""
    return _mean_present(_f1(np.asarray(matrices, np.float64)))


def mean_iou(matrices: np.ndarray) -> np.ndarray:
    """Mean IoU of the classes in the truth: (...,C,C) -> (...) float64; nan without pixels."""
    return _mean_present(_iou(np.asarray(matrices, np.float64)))


STATISTICS = {"oa": overall_accuracy, "f1": macro_f1, "miou": mean_iou}
"""Figures that are told with an interval, by their name in results."""


def _f1(matrices: np.ndarray) -> np.ndarray:
    """(...,C,C) float64 -> (...,C); nan where the truth lacks the class."""
    hit, truth, predicted = _marginals(matrices)
    return np.where(truth > 0, _ratio(2 * hit, truth + predicted), np.nan)


def _iou(matrices: np.ndarray) -> np.ndarray:
    """(...,C,C) float64 -> (...,C); nan where the truth lacks the class."""
    hit, truth, predicted = _marginals(matrices)
    return np.where(truth > 0, _ratio(hit, truth + predicted - hit), np.nan)


def _marginals(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right, true and predicted pixels of each class, (...,C)."""
    return np.diagonal(matrices, axis1=-2, axis2=-1), matrices.sum(-1), matrices.sum(-2)


def _mean_present(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not nan; nan where nothing is."""
    present = ~np.isnan(values)
    return _ratio(np.where(present, values, 0).sum(-1), present.sum(-1))


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = 15, weight: np.ndarray | None = None
) -> float:
    """Mean gap between confidence and accuracy over equal-width bins (Guo et al. 2017).

    Args:
      confidence: (...) float, highest class probability, 0 to 1.
      correct: (...) bool, same shape.
      bins: number of bins.
      weight: (...) how often each value counts; None: once.

    Returns:
      0 to 1; nan without any value.
    """
    confidence, correct = np.ravel(confidence).astype(np.float64), np.ravel(correct)
    weight = np.ones(confidence.size) if weight is None else np.ravel(weight).astype(np.float64)
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    believed = np.bincount(index, confidence * weight, bins)
    right = np.bincount(index, correct * weight, bins)
    return float(_ratio(np.abs(believed - right).sum(), weight.sum()))


def area_under_curve(
    score: np.ndarray, positive: np.ndarray, weight: np.ndarray | None = None
) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative.

    Computed from ranks, ties counting half (Mann and Whitney 1947).

    Args:
      score: (...) float.
      positive: (...) bool, same shape.
      weight: (...) how often each value counts; None: once.

    Returns:
      0 to 1; nan without a positive or without a negative.
    """
    score, positive = np.ravel(score), np.ravel(positive).astype(bool)
    weight = np.ones(score.size) if weight is None else np.ravel(weight).astype(np.float64)
    values, inverse = np.unique(score, return_inverse=True)
    positives = np.bincount(inverse, weight * positive, len(values))
    negatives = np.bincount(inverse, weight * ~positive, len(values))
    below = np.cumsum(negatives) - negatives / 2
    return float(_ratio((positives * below).sum(), positives.sum() * negatives.sum()))


def _ratio(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    """a / b, nan where b is 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b != 0)
