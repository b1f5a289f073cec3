"""Gaps between groups, by hand, and what happens where a rate is not known."""

import numpy as np
import pytest

from xguide_jax import metrics

PREDICTED = np.array([1, 1, 0, 0, 1, 0, 0, 0])
LABELS = np.array([1, 0, 1, 0, 1, 1, 0, 0])
GROUPS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
parity, odds = metrics.demographic_parity_gap, metrics.equalised_odds_gap


def test_gaps_by_hand():
    found = parity(PREDICTED, GROUPS, num_groups=2)
    assert found.gap == 0.25  # 2 of 4 and 1 of 4
    np.testing.assert_array_equal(found.rates, [0.5, 0.25])
    assert found.num_undefined == 0
    found = odds(PREDICTED, LABELS, GROUPS, num_groups=2)
    # Of the negatives 1 of 2 and 0 of 2; of the positives 1 of 2 in both groups.
    np.testing.assert_array_equal(found.rates, [[0.5, 0.0], [0.5, 0.5]])
    assert found.gap == 0.5
    found = odds(1 - PREDICTED, 1 - LABELS, GROUPS, num_groups=2)
    np.testing.assert_array_equal(found.rates, [[0.5, 0.5], [0.5, 1.0]])
    assert found.gap == 0.5


def test_the_gap_is_between_the_outermost_of_several_groups():
    groups = np.array([0, 0, 1, 1, 2, 2, 2, 2])
    found = parity(np.array([1, 0, 1, 1, 0, 0, 0, 1]), groups, num_groups=3)
    assert found.gap == 0.75
    np.testing.assert_array_equal(found.rates, [0.5, 1, 0.25])


def test_perfect_predictions_have_equal_odds_and_no_parity():
    labels = np.array([1, 1, 1, 0, 1, 0, 0, 0])
    assert odds(labels, labels, GROUPS, num_groups=2).gap == 0
    assert parity(labels, GROUPS, num_groups=2).gap == 0.5


def test_an_empty_group_is_counted_and_is_no_rate_of_0():
    found = parity(PREDICTED, 2 * GROUPS, num_groups=4)
    assert found.gap == 0.25
    assert found.num_undefined == 2
    np.testing.assert_array_equal(found.rates, [0.5, np.nan, 0.25, np.nan])
    alone = parity(PREDICTED, 0 * GROUPS, num_groups=2)
    assert np.isnan(alone.gap)
    assert alone.num_undefined == 1


def test_odds_are_unknown_where_one_label_has_no_two_groups():
    labels = np.array([1, 0, 1, 0, 1, 1, 1, 1])  # no negative in group 1
    found = odds(PREDICTED, labels, GROUPS, num_groups=2)
    assert np.isnan(found.gap)
    assert found.num_undefined == 1
    np.testing.assert_array_equal(found.rates, [[0.5, np.nan], [0.5, 0.25]])
    found = odds(PREDICTED, 1 - labels, GROUPS, num_groups=2)
    assert np.isnan(found.gap)


def test_a_group_without_a_prediction_is_not_passed_over():
    predicted = np.where(GROUPS == 1, np.nan, PREDICTED)
    groups = GROUPS.copy()
    groups[0] = 2
    found = parity(predicted, groups, num_groups=3)
    assert np.isnan(found.gap)
    assert found.num_undefined == 1
    one = PREDICTED.astype(float)
    one[4] = np.nan  # left out of its group
    np.testing.assert_array_equal(parity(one, GROUPS, num_groups=2).rates, [0.5, 0])


def test_numbers_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"`predicted` must lie in \[0, 1\]"):
        parity(2 * PREDICTED, GROUPS, num_groups=2)
    with pytest.raises(ValueError, match=r"`predicted` must lie in \[0, 1\]"):
        odds(PREDICTED - 1, LABELS, GROUPS, num_groups=2)
    with pytest.raises(ValueError, match="`labels` must hold 0 and 1 only"):
        odds(PREDICTED, 2 * LABELS, GROUPS, num_groups=2)
    with pytest.raises(ValueError, match=r"`groups`\[4\] \(=1\) must lie in \[0, 1\)"):
        odds(PREDICTED, LABELS, GROUPS, num_groups=1)
    with pytest.raises(AssertionError):
        odds(PREDICTED, LABELS[:3], GROUPS, num_groups=2)
