"""Paired comparisons over seeds."""

import numpy as np
import pytest

from xguide_jax.reporting import paired


def test_paired_difference_matches_a_hand_computed_interval():
    # d = (1, 2, 3, 4, 5): mean 3, s = sqrt(2.5), half = 2.776445 sqrt(2.5 / 5).
    estimate = paired.paired_difference([2, 4, 6, 8, 10], [1, 2, 3, 4, 5])
    half = 2.7764451 * np.sqrt(0.5)
    np.testing.assert_allclose(estimate, [3, 3 - half, 3 + half, 5], rtol=1e-6)


def test_pairing_removes_what_the_seeds_share():
    shared = np.array([0.0, 10.0, -7.0])
    estimate = paired.paired_difference(shared + 1, shared)
    np.testing.assert_allclose(estimate, [1, 1, 1, 3], atol=1e-12)


def test_one_seed_has_no_interval_and_says_so():
    estimate = paired.paired_difference([0.5], [0.25])
    assert np.isnan(estimate.low)
    assert str(estimate) == "+0.250 (one seed, no interval)"


def test_undefined_pairs_are_dropped_and_not_counted():
    estimate = paired.paired_difference([1, np.nan, 3], [0, 0, 0])
    assert (estimate.value, estimate.num_seeds) == (2, 2)
    assert str(paired.paired_difference([np.nan], [0])) == "undefined"


def test_ratio_is_of_means_and_not_a_mean_of_ratios():
    # (1 + 3) / (2 + 2) = 1; the seeds' own ratios are 1/2 and 3/2.
    estimate = paired.ratio_of_means([1, 3], [2, 2])
    assert estimate == (1, 0.5, 1.5, 2)


def test_a_constant_ratio_has_an_interval_of_no_width():
    estimate = paired.ratio_of_means([1, 2, 5], [2, 4, 10])
    np.testing.assert_allclose(estimate[:3], 0.5)


def test_bootstrap_is_a_function_of_its_seed():
    pairs = np.random.default_rng(0).uniform(1, 2, size=(2, 5))
    assert paired.ratio_of_means(*pairs) == paired.ratio_of_means(*pairs)


def test_errors():
    with pytest.raises(ValueError, match="2 values and 1 references are not pairs"):
        paired.paired_difference([1, 2], [1])
    with pytest.raises(ValueError, match=r"`confidence` \(=1\) must lie in \(0, 1\)"):
        paired.paired_difference([1], [1], confidence=1)
