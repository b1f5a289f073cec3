"""Paired comparisons over seeds."""

import numpy as np
import pytest

from xguide_jax import evaluation


def test_paired_difference_matches_a_hand_computed_interval():
    # d = (1, 2, 3, 4, 5): mean 3, s = sqrt(2.5), half = 2.776445 sqrt(2.5 / 5).
    estimate = evaluation.paired_difference([2, 4, 6, 8, 10], [1, 2, 3, 4, 5])
    half = 2.7764451 * np.sqrt(0.5)
    np.testing.assert_allclose(estimate, [3, 3 - half, 3 + half, 5, 5], rtol=1e-6)


def test_two_seeds_have_an_interval():
    # d = (0, 2): s = sqrt(2), half = 12.706205 sqrt(2) / sqrt(2).
    estimate = evaluation.paired_difference([1, 3], [1, 1])
    np.testing.assert_allclose(estimate[:3], [1, -11.706205, 13.706205], rtol=1e-6)


def test_pairing_removes_what_the_seeds_share():
    shared = np.array([0.0, 10.0, -7.0])
    estimate = evaluation.paired_difference(shared + 1, shared)
    np.testing.assert_allclose(estimate, [1, 1, 1, 3, 3], atol=1e-12)


def test_one_seed_has_no_interval_and_says_so():
    estimate = evaluation.paired_difference([0.5], [0.25])
    assert np.isnan(estimate.low)
    assert str(estimate) == "+0.250 (one seed, no interval)"


def test_undefined_pairs_are_dropped_and_not_counted():
    estimate = evaluation.paired_difference([1, np.nan, 3], [0, 0, 0])
    assert (estimate.value, estimate.num_seeds) == (2, 2)
    assert str(evaluation.paired_difference([np.nan], [0])) == "undefined"


def test_a_comparison_says_on_how_many_of_the_seeds_it_rests():
    values = [1, np.nan, 2, 3, np.nan]
    estimate = evaluation.paired_difference(values, np.zeros(5))
    assert (estimate.num_seeds, estimate.num_given) == (3, 5)
    # 1, 2, 3: s = 1, half = 4.302653 / sqrt(3) = 2.484138.
    assert str(estimate) == "+2.000 [-0.484, +4.484] (3 of 5 seeds)"
    assert str(evaluation.paired_difference([1, 2, 3], np.zeros(3))).endswith("4.484]")
    one = evaluation.paired_difference([1.0, np.nan], [0.5, 0.5])
    assert str(one) == "+0.500 (1 of 2 seeds, no interval)"
    ratio = evaluation.ratio_of_means([1, 2, np.nan], [2, 4, 1])
    assert str(ratio) == "+0.500 [+0.500, +0.500] (2 of 3 seeds)"


def test_a_pair_is_dropped_whichever_side_is_undefined():
    values, references = [1.0, np.nan, 3.0], [np.nan, 1.0, 1.0]
    assert evaluation.paired_difference(values, references)[:1] == (2.0,)
    assert evaluation.ratio_of_means(values, references)[:1] == (3.0,)


def test_what_is_infinite_is_not_dropped():
    estimate = evaluation.paired_difference([np.inf, 1, 2], [0, 0, 0])
    assert (estimate.value, estimate.num_seeds) == (np.inf, 3)
    assert np.isnan([estimate.low, estimate.high]).all()
    assert str(estimate) == "+inf (no interval)"
    # Of two infinite numbers there is no difference.
    assert str(evaluation.paired_difference([np.inf, 1], [np.inf, 0])) == "undefined"
    ratio = evaluation.ratio_of_means([np.inf, 1], [1, 1])
    assert str(ratio) == "+inf (no interval)"
    assert str(evaluation.ratio_of_means([1, 1], [np.inf, np.inf])) == (
        "+0.000 (no interval)"
    )


def test_a_ratio_whose_denominator_may_be_zero_is_unbounded():
    estimate = evaluation.ratio_of_means([1, 1, 1], [-1, 0.5, 0.6])
    np.testing.assert_allclose(estimate.value, 3 / 0.1)
    assert (estimate.low, estimate.high) == (-np.inf, np.inf)
    assert str(estimate) == "+30.000 [unbounded]"
    dropped = evaluation.ratio_of_means([1, 1, 1, 1], [-1, 0.5, 0.6, np.nan])
    assert str(dropped) == "+30.000 [unbounded] (3 of 4 seeds)"
    # A denominator of either sign, away from 0, bounds the ratio.
    for sign in (1, -1):
        bounded = evaluation.ratio_of_means([1, 1, 1], sign * np.array([1, 0.5, 0.6]))
        assert np.isfinite(bounded[:3]).all()
    for sign in (1, -1):
        touching = sign * np.array([0, 0.5, 0.6])
        touching = evaluation.ratio_of_means([1, 1, 1], touching)
        assert str(touching).endswith("[unbounded]")  # three times the 0, 1 in 27
    # Five seeds of which one is 0: all five draws are it once in 3125.
    rare = evaluation.ratio_of_means(np.ones(5), [0, 1, 1, 1, 1])
    assert np.isfinite(rare[:3]).all()


def test_a_ratio_by_zero_is_undefined_and_counts_its_seeds():
    estimate = evaluation.ratio_of_means([1, 1], [1, -1])
    assert np.isnan(estimate.value)
    assert estimate.num_seeds == 2
    assert str(estimate) == "undefined"


def test_ratio_is_of_means_and_not_a_mean_of_ratios():
    # (1 + 3) / (2 + 2) = 1; the seeds' own ratios are 1/2 and 3/2.
    estimate = evaluation.ratio_of_means([1, 3], [2, 2])
    assert estimate == (1, 0.5, 1.5, 2, 2)


def test_a_constant_ratio_has_an_interval_of_no_width():
    estimate = evaluation.ratio_of_means([1, 2, 5], [2, 4, 10])
    np.testing.assert_allclose(estimate[:3], 0.5)


def test_bootstrap_is_a_function_of_its_seed():
    pairs = np.random.default_rng(0).uniform(1, 2, size=(2, 5))
    assert evaluation.ratio_of_means(*pairs) == evaluation.ratio_of_means(*pairs)


def test_errors():
    with pytest.raises(ValueError, match="2 values and 1 references are not pairs"):
        evaluation.paired_difference([1, 2], [1])
    with pytest.raises(ValueError, match=r"`confidence` \(=1\) must lie in \(0, 1\)"):
        evaluation.paired_difference([1], [1], confidence=1)
    with pytest.raises(ValueError, match=r"`num_resamples` \(=0\) must be at least 1"):
        evaluation.ratio_of_means([1], [1], num_resamples=0)
