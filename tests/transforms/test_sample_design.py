"""Sample sizes and their allocation."""

import numpy as np
import pytest

from transforms.sample_design import allocate, design, expected_accuracies, sample_size

# Olofsson et al. 2014, table 5.
SHARE = np.array([0.020, 0.015, 0.320, 0.645])
USERS = np.array([0.70, 0.60, 0.90, 0.95])
PIXELS = (SHARE * 10**7).astype(int)


def test_olofsson_2014_sample_size_and_allocations():
    assert sample_size(SHARE, USERS, 0.01) == 641
    assert allocate(641, PIXELS, SHARE, USERS).tolist() == [13, 10, 205, 413]
    assert sorted(allocate(641, PIXELS, SHARE, USERS, "equal").tolist()) == [160, 160, 160, 161]


def test_a_minimum_is_taken_from_the_large_strata():
    sizes = allocate(641, PIXELS, SHARE, USERS, minimum=100)
    assert sizes.tolist() == [100, 100, 146, 295]
    assert allocate(100, PIXELS, SHARE, USERS, minimum=100).tolist() == [100] * 4


def test_neyman_samples_more_where_errors_are_expected():
    sizes = allocate(1000, PIXELS, np.ones(4), np.array([0.5, 0.5, 0.99, 0.99]), "neyman")
    assert sizes.sum() == 1000
    assert sizes[0] == sizes[1] == pytest.approx(5 * sizes[2], rel=0.02)


def test_no_stratum_gets_more_samples_than_pixels():
    pixels = np.array([10, 0, 3_200_000, 6_450_000])
    sizes = allocate(641, pixels, SHARE * [1, 0, 1, 1], USERS, minimum=75)
    assert sizes[:2].tolist() == [10, 0]
    assert sizes.sum() == 641
    assert allocate(500, np.array([4, 5]), np.ones(2), np.full(2, 0.8)).tolist() == [4, 5]


def test_the_sample_grows_until_the_wanted_error_is_reached_in_spite_of_minima():
    names = ["a", "b", "c", "d"]
    plan = design(names, PIXELS, SHARE, "a=0.7,b=0.6,c=0.9,d=0.95", 0.01, minimum=100)
    assert plan.standard_error <= 0.01
    assert 700 < plan.sizes.sum() < 850
    fixed = design(names, PIXELS, SHARE, "0.9", 0.01, size=641, minimum=100)
    assert fixed.sizes.sum() == 641


def test_a_map_that_is_sampled_whole_has_no_error():
    plan = design(["a", "b"], np.array([5, 6]), np.array([5.0, 6.0]), "0.5", 0.01, minimum=2)
    assert plan.sizes.tolist() == [5, 6]
    assert plan.standard_error == 0


def test_expected_accuracies_of_strata_go_before_those_of_classes():
    names = ["forest/clear", "forest/cloudy", "water/clear"]
    assert expected_accuracies("0.7", names).tolist() == [0.7] * 3
    told = expected_accuracies("forest=0.9,forest/cloudy=0.6", names)
    assert told.tolist() == [0.9, 0.6, 0.8]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("woods=0.9", "there is no woods"),
        ("forest=high", "got 'forest=high'"),
        ("1.2", "between 0 and 1"),
    ],
)
def test_wrong_expectations_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        expected_accuracies(text, ["forest/clear"])


def test_a_minimum_below_two_is_refused():
    with pytest.raises(ValueError, match="2 or more in each stratum"):
        design(["a"], np.array([100]), np.ones(1), "0.8", 0.01, minimum=1)
