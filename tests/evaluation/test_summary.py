"""Means that say what they leave out."""

import warnings

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from xguide_jax import evaluation

VALUES = strategies.lists(
    strategies.floats(-1e3, 1e3, width=32) | strategies.just(float("nan")), max_size=12
)


def test_what_is_undefined_is_left_out_and_counted_and_counted_as_zero():
    summary = evaluation.summarise([1.0, np.nan, 3.0, np.nan])
    assert summary == (2.0, 1.0, 2, 4)
    assert summary.num_undefined == 2


def test_where_all_is_defined_the_two_means_are_one():
    assert evaluation.summarise(jnp.array([1.0, 2.0, 6.0])) == (3.0, 3.0, 3, 3)
    assert evaluation.summarise(np.array([True, False])) == (0.5, 0.5, 2, 2)


def test_of_nothing_defined_there_is_no_mean_and_of_nothing_no_number():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lost = evaluation.summarise(np.full(3, np.nan))
        nothing = evaluation.summarise([])
    assert np.isnan(lost.mean)
    assert lost[1:] == (0.0, 0, 3)
    assert np.isnan([nothing.mean, nothing.mean_or_zero]).all()
    assert nothing[2:] == (0, 0)


def test_what_is_infinite_is_defined():
    assert evaluation.summarise([1.0, np.inf, np.nan]) == (np.inf, np.inf, 2, 3)
    assert np.isnan(evaluation.summarise([np.inf, -np.inf]).mean)


@pytest.mark.parametrize("dtype", [np.float16, "bfloat16", np.int8])
def test_narrow_values_are_added_up_in_wide_ones(dtype):
    values = np.ones(70_000, jnp.dtype(dtype))
    assert evaluation.summarise(values)[:2] == (1.0, 1.0)


def test_values_in_rows_are_refused():
    with pytest.raises(ValueError, match=r"`values` \(shaped \[2, 3\]\) must be \[N\]"):
        evaluation.summarise(np.zeros((2, 3)))


@hypothesis.given(VALUES)
def test_the_sum_of_the_defined_is_in_both_means(values):
    summary = evaluation.summarise(values)
    assert summary.num_values == len(values)
    assert summary.num_defined + summary.num_undefined == len(values)
    if summary.num_defined:
        np.testing.assert_allclose(
            summary.mean * summary.num_defined,
            summary.mean_or_zero * summary.num_values,
            rtol=1e-9, atol=1e-9,
        )  # fmt: skip
        known = [v for v in values if not np.isnan(v)]
        assert min(known) - 1e-9 <= summary.mean <= max(known) + 1e-9


def test_two_measurements_are_compared_on_the_examples_that_both_have():
    first, second = evaluation.summarise_pair(
        [1.0, np.nan, 3.0, 5.0], [0.0, 4.0, np.nan, 2.0]
    )
    assert first == (3.0, 1.5, 2, 4)
    assert second == (1.0, 0.5, 2, 4)
    # By themselves both would be 3 and 2: of other examples.
    whole = evaluation.summarise_pair(np.array([1, 2]), jnp.array([3.0, 4.0]))
    assert [side.mean for side in whole] == [1.5, 3.5]


def test_what_is_no_pair_is_refused():
    with pytest.raises(ValueError, match="2 and 1 values are not of the same examples"):
        evaluation.summarise_pair([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match=r"`values` \(shaped \[1, 1\]\)"):
        evaluation.summarise_pair([1.0], [[1.0]])
