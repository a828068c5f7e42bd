"""Intervals over places and the gap of two maps on the same samples."""

import numpy as np
import pytest

from model.bootstrap import bootstrap, paired_bootstrap


def sample(number, right, wrong, place=None):
    matrix = [[right, wrong], [0, 0]]
    return {"name": f"s{number}", "confusion": matrix} | ({"place": place} if place else {})


SHARES = [3, 5, 6, 7, 7, 8, 9, 10]
A = [sample(i, right, 10 - right) for i, right in enumerate(SHARES)]


def test_the_interval_holds_the_estimate_and_is_that_of_the_mean():
    found = bootstrap(A, "oa", draws=4000, seed=1)
    assert found.estimate == pytest.approx(np.mean(SHARES) / 10)
    assert found.low < found.estimate < found.high
    spread = np.std(SHARES) / 10 / np.sqrt(len(SHARES))
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_equal_draws_give_equal_intervals_and_another_seed_another():
    assert bootstrap(A, "miou", 200, 5) == bootstrap(A, "miou", 200, 5)
    assert bootstrap(A, "miou", 200, 5) != bootstrap(A, "miou", 200, 6)


def test_samples_of_one_place_are_drawn_together():
    split = [sample(i, right / 2, 5 - right / 2, f"p{i // 2}")
             for i, right in enumerate(np.repeat(SHARES, 2))]  # fmt: skip
    assert bootstrap(split, "oa", 300, 2) == pytest.approx(bootstrap(A, "oa", 300, 2))


def test_the_gap_of_a_map_with_itself_is_nothing():
    assert paired_bootstrap(A, A[::-1], "oa", 100) == (0, 0, 0, 0)


def test_a_small_gap_on_every_sample_is_sure_though_the_intervals_overlap():
    better = [sample(i, right + 0.5, 9.5 - right) for i, right in enumerate(SHARES)]
    gap = paired_bootstrap(better, A, "oa", 500)
    assert gap.estimate == pytest.approx(0.05) and gap.low == pytest.approx(0.05)
    assert gap.below == 0 and paired_bootstrap(A, better, "oa", 500).below == 1
    assert bootstrap(A, "oa").high > bootstrap(better, "oa").low


def test_a_statistic_may_be_a_function_of_matrices():
    gap = paired_bootstrap(A, A, lambda m: m[..., 0, 1] / m.sum((-1, -2)), 10)
    assert gap.estimate == 0
    assert bootstrap(A, lambda m: m[..., 0, 1] / m.sum((-1, -2))).estimate == pytest.approx(
        1 - np.mean(SHARES) / 10
    )


def test_other_samples_and_unknown_statistics_are_refused():
    with pytest.raises(ValueError, match=r"only one side holds \['s7'\]"):
        paired_bootstrap(A, A[:-1], "oa")
    with pytest.raises(ValueError, match="got 'iou', expected"):
        bootstrap(A, "iou")
    with pytest.raises(ValueError, match="no sample"):
        bootstrap([], "oa")
