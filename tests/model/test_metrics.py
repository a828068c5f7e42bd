"""Scores against values computed by hand."""

import numpy as np
import pytest

from model.metrics import (
    area_under_curve,
    confusion_matrix,
    expected_calibration_error,
    scores,
)


def test_confusion_matrix_counts_truth_by_row():
    truth = np.array([[0, 0, 1], [1, 2, 255]], np.uint8)
    predicted = np.array([[0, 1, 1], [1, 0, 2]], np.uint8)
    m = confusion_matrix(truth, predicted, 3)
    assert m.dtype == np.int64
    assert m.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_confusion_matrix_refuses_codes_and_other_shapes():
    with pytest.raises(ValueError, match="80"):
        confusion_matrix(np.array([0, 1], np.uint8), np.array([80, 10], np.uint8), 6)
    with pytest.raises(ValueError, match="truth"):
        confusion_matrix(np.array([7], np.uint8), np.array([1], np.uint8), 6)
    with pytest.raises(ValueError, match="shape"):
        confusion_matrix(np.zeros(2, np.uint8), np.zeros(3, np.uint8), 6)


def test_scores_by_hand():
    s = scores(np.array([[40, 10, 0], [5, 45, 0], [0, 0, 0]]))
    assert s.overall_accuracy == 0.85
    assert s.precision[:2] == pytest.approx([40 / 45, 45 / 55])
    assert s.recall[:2] == pytest.approx([0.8, 0.9])
    assert s.f1[:2] == pytest.approx([80 / 95, 90 / 105])
    assert s.iou[:2] == pytest.approx([40 / 55, 45 / 60])
    assert np.isnan(s.f1[2]) and np.isnan(s.iou[2]) and np.isnan(s.precision[2])
    assert s.macro_f1 == pytest.approx((80 / 95 + 90 / 105) / 2)
    assert s.mean_iou == pytest.approx((40 / 55 + 45 / 60) / 2)
    assert s.kappa == pytest.approx((0.85 - 0.5) / 0.5)
    assert (s.present, s.pixels) == (2, 100)


def test_class_in_the_truth_but_never_predicted_counts_as_zero():
    s = scores(np.array([[10, 0], [10, 0]]))
    assert s.mean_iou == pytest.approx((0.5 + 0) / 2)
    assert s.iou[1] == 0 and np.isnan(s.precision[1])


def test_predicted_class_without_truth_is_left_out_of_the_mean():
    s = scores(np.array([[8, 2], [0, 0]]))
    assert s.present == 1 and s.mean_iou == pytest.approx(0.8) and s.precision[1] == 0


def test_no_pixels_give_nan():
    s = scores(np.zeros((3, 3), np.int64))
    assert np.isnan([s.overall_accuracy, s.macro_f1, s.mean_iou, s.kappa]).all()
    assert s.present == 0


def test_calibration_error_by_hand():
    # Three values in the bin of 0.9 (2 of 3 right), one in the bin of 0.5 (right).
    confidence = np.array([0.9, 0.9, 0.9, 0.5])
    correct = np.array([True, True, False, True])
    assert expected_calibration_error(confidence, correct, 10) == pytest.approx(
        (abs(2.7 - 2) + abs(0.5 - 1)) / 4
    )
    assert expected_calibration_error(np.ones(5), np.ones(5, bool)) == 0


def test_area_under_curve_by_hand():
    score = np.array([0.1, 0.4, 0.35, 0.8])
    assert area_under_curve(score, np.array([0, 0, 1, 1])) == 0.75
    assert area_under_curve(np.array([1, 1, 2]), np.array([0, 1, 1])) == 0.75  # a tie is half
    assert np.isnan(area_under_curve(score, np.ones(4)))
