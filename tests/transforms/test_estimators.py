"""Estimators: the papers' worked examples to their digits, unequal pixels, rare classes."""

import numpy as np
import pytest

from benchmarks.assess_coverage import coverage
from transforms.estimators import (
    NORMAL,
    RARE,
    Sample,
    Z,
    _mid_p_gamma,
    producers_accuracy,
    proportion,
    ratio,
)

# Olofsson et al. 2014, table 8: sample counts, rows map, columns reference; strata are the classes
# deforestation, forest gain, stable forest, stable non-forest, in 900,000 ha.
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
HECTARES = np.array([0.020, 0.015, 0.320, 0.645]) * 900_000


def olofsson() -> tuple[Sample, np.ndarray, np.ndarray]:
    mapped = np.repeat(np.arange(4), COUNTS.sum(axis=1))
    truth = np.concatenate([np.repeat(np.arange(4), row) for row in COUNTS])
    return Sample(mapped, HECTARES), mapped, truth


# Stehman 2014, table 2: ten samples in each of four strata.
MAPPED = np.array(list("AAAAAAABBBABBBBBBBBBBBCCCCCCBBDDDDDDDDDD"))
TRUTH = np.array(list("AAAAACBABCABBBBBAABBCCCCCDDBBADDDDDDDCCB"))
PIXELS = np.array([40_000, 30_000, 20_000, 10_000])
STEHMAN = Sample(np.repeat(np.arange(4), 10), PIXELS.astype(float), PIXELS)


def test_olofsson_2014_areas_to_the_hectare():
    sample, _, truth = olofsson()
    areas = [proportion(sample, truth == k).times(HECTARES.sum()) for k in range(4)]
    assert [round(a.value) for a in areas] == [21_158, 11_686, 285_770, 581_386]
    assert [round(Z * a.se) for a in areas] == [6_158, 3_756, 15_510, 16_282]


def test_olofsson_2014_accuracies_to_two_digits():
    sample, mapped, truth = olofsson()
    overall = proportion(sample, mapped == truth)
    assert (round(overall.value, 2), round(Z * overall.se, 2)) == (0.95, 0.02)
    users = [ratio(sample, (mapped == k) & (truth == k), mapped == k) for k in range(4)]
    assert [round(u.value, 2) for u in users] == [0.88, 0.73, 0.93, 0.96]
    assert [round(Z * u.se, 2) for u in users] == [0.07, 0.10, 0.04, 0.02]
    producers = [producers_accuracy(sample, mapped == k, truth == k) for k in range(4)]
    assert [round(p.value, 2) for p in producers] == [0.75, 0.85, 0.93, 0.96]
    # Printed are 0.21, 0.23, 0.03, 0.01; the paper's own equation 7 gives 0.254 and 0.018.
    assert [round(Z * p.se, 3) for p in producers] == [0.213, 0.254, 0.034, 0.018]


def test_olofsson_2014_error_matrix_to_four_digits():
    sample, mapped, truth = olofsson()
    matrix = [
        [round(proportion(sample, (mapped == i) & (truth == j)).value, 4) for j in range(4)]
        for i in range(4)
    ]
    assert matrix == [
        [0.0176, 0, 0.0013, 0.0011],
        [0, 0.0110, 0.0016, 0.0024],
        [0.0019, 0, 0.2967, 0.0213],
        [0.0040, 0.0020, 0.0179, 0.6212],
    ]


def test_stehman_2014_strata_that_are_not_classes():
    def shown(estimate, digits=3):
        return round(estimate.value, digits), round(estimate.se, 3)

    b = (MAPPED == "B") & (TRUTH == "B")
    assert shown(proportion(STEHMAN, MAPPED == TRUTH)) == (0.63, 0.085)
    assert shown(proportion(STEHMAN, TRUTH == "A")) == (0.35, 0.082)
    assert shown(proportion(STEHMAN, TRUTH == "C")) == (0.20, 0.064)
    assert shown(ratio(STEHMAN, b, MAPPED == "B")) == (0.574, 0.125)
    assert round(proportion(STEHMAN, (MAPPED == "B") & (TRUTH == "C")).value, 3) == 0.08
    # Printed is 0.114: its sum takes 0 for the variance of the reference's B in stratum 4, which
    # the paper's table 3 gives as 0.1. With that 0 equation 28 gives what is printed.
    producers = producers_accuracy(STEHMAN, MAPPED == "B", TRUTH == "B")
    assert shown(producers) == (0.794, 0.117)
    total = 100_000 * proportion(STEHMAN, TRUTH == "B").value
    slip = producers.value**2 * 10_000**2 * (1 - 10 / 10_000) * 0.1 / 10 / total**2
    assert round(np.sqrt(producers.se**2 - slip), 3) == 0.114


def test_estimates_are_weighted_by_the_area_of_strata_and_of_pixels():
    sample, mapped, truth = olofsson()
    flat = sample._replace(area=np.full(4, 225_000.0))
    assert proportion(flat, truth == 0).value > 5 * proportion(sample, truth == 0).value
    # Pixels of a geographic grid: those in the north are smaller.
    ground = np.where(np.arange(40) % 2, 1.0, 0.5)
    known = STEHMAN._replace(ground=ground)
    hit = ground == 0.5
    assert proportion(known, hit).value == pytest.approx(1 / 3)
    assert proportion(known._replace(ground=3 * ground), hit) == proportion(known, hit)
    assert proportion(STEHMAN, hit).value == pytest.approx(1 / 2)


def test_variance_of_unequal_pixels_is_what_repeated_draws_show():
    rng = np.random.default_rng(0)
    ground = np.linspace(0.4, 1.6, 3000)
    truth = rng.random(3000) < np.linspace(0.2, 0.7, 3000)
    known = ground[truth].sum() / ground.sum()
    values, errors = [], []
    for _ in range(300):
        drawn = rng.choice(3000, 150, replace=False)
        sample = Sample(np.zeros(150, int), np.array([1.0]), np.array([3000]), ground[drawn])
        estimate = proportion(sample, truth[drawn])
        values.append(estimate.value)
        errors.append(estimate.se)
    assert np.mean(values) == pytest.approx(known, abs=0.01)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.12)


def test_a_stratum_sampled_whole_has_no_error():
    sample = Sample(np.repeat([0, 1], [4, 50]), np.array([4.0, 500.0]), np.array([4, 5000]))
    hit = np.arange(54) % 2 == 0
    alone = Sample(np.zeros(4, int), np.array([4.0]), np.array([4]))
    assert proportion(alone, hit[:4])[:4] == (0.5, 0.0, 0.5, 0.5)
    assert proportion(sample, hit).se == pytest.approx(
        proportion(Sample(np.zeros(50, int), np.array([500.0]), np.array([5000])), hit[4:]).se
        * 500
        / 504
    )


def test_what_was_seen_once_or_never_gets_an_interval_that_is_named():
    sample = Sample(np.repeat([0, 1], 100), np.array([20.0, 980.0]))
    seen_once = np.zeros(200, bool)
    seen_once[:90] = seen_once[150] = True
    estimate = proportion(sample, seen_once)
    assert estimate.interval == RARE
    assert estimate.low > estimate.normal[0]
    assert estimate.high > estimate.normal[1]
    never = proportion(sample, np.zeros(200, bool))
    assert (never.value, never.se, never.low, never.interval) == (0, 0, 0, RARE)
    # The mid-p limit of a count of 0 is -ln(0.05) counts.
    assert never.high == pytest.approx(-np.log(0.05) * (0.02**2 + 0.98**2) / 100)
    always = proportion(sample, np.ones(200, bool))
    assert always.low == pytest.approx(1 - never.high)
    assert always.high == 1


def test_mid_p_gamma_limits_of_a_published_example():
    # Down's syndrome by age of the mother, fifth births in Michigan (Fay and Feuer 1997, table II),
    # and the limits that the R package dsrTest, with asht, prints for it: 59.71632 to 173.08170.
    cases = np.array([0, 8, 63, 112, 262, 295])
    births = np.array([327, 30_666, 123_419, 149_919, 104_088, 34_392])
    everyone = np.array([319_933, 931_318, 786_511, 488_235, 237_863, 61_313])
    weights = everyone / everyone.sum() / births * 1e5
    total, variance = weights @ cases, weights**2 @ cases
    assert total == pytest.approx(75.52901)
    limits = _mid_p_gamma(total, variance, weights.max())
    assert limits == pytest.approx((59.71632, 173.08170), rel=1e-5)


def test_common_classes_get_the_normal_interval():
    sample, mapped, truth = olofsson()
    overall = proportion(sample, mapped == truth)
    assert overall.interval == NORMAL
    assert (overall.low, overall.high) == pytest.approx(overall.normal)


def test_a_rare_class_has_a_producers_accuracy_inside_its_interval():
    # 30 samples of the class, mapped on 0.1 % of the area; one or no omission in the rest.
    sample = Sample(np.repeat([0, 1, 2], [30, 300, 50]), np.array([1.0, 900.0, 99.0]))
    mapped = sample.stratum == 0
    for omissions in (0, 1, 2):
        truth = mapped & (np.arange(380) % 3 > 0)
        truth[30 : 30 + omissions] = True
        estimate = producers_accuracy(sample, mapped, truth)
        assert estimate.interval == RARE
        assert 0 < estimate.low < estimate.value <= estimate.high <= 1
        assert (estimate.high == 1) == (omissions == 0)


def test_accuracy_of_a_class_that_the_sample_does_not_hold_is_none():
    assert ratio(STEHMAN, np.zeros(40, bool), np.zeros(40, bool)) is None
    assert producers_accuracy(STEHMAN, MAPPED == "A", TRUTH == "E") is None


def test_one_unit_in_a_stratum_is_an_error():
    sample = Sample(np.array([0, 0, 1]), np.ones(2), np.array([100, 100]))
    with pytest.raises(ValueError, match="stratum 1: got 1 units, expected 2"):
        proportion(sample, np.ones(3, bool))


def test_intervals_hold_the_truth_as_often_as_they_say():
    # 2,000 draws give 95.0 to 96.6 % for these; 150 may stray by 2 standard errors more.
    for line in coverage(draws=150, seed=4):
        assert 0.88 <= line["coverage"], line
        if line["figure"].startswith(("overall", "area")):
            assert line["coverage"] <= 0.99, line
