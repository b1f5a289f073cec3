import itertools

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics


def similarities(*rows):
    return np.array(rows, np.float32)


def test_ranks_of_a_matrix_made_by_hand():
    values = similarities(
        [0.9, 0.1, 0.5],  # its own first
        [0.9, 0.1, 0.5],  # its own last
        [0.5, 0.1, 0.5],  # its own and one other: 1 + 1 / 2
        [0.2, 0.2, 0.2],  # all alike: 1 + 2 / 2
    )
    right = np.eye(4, 3, dtype=bool)
    right[3, 0] = True
    np.testing.assert_allclose(metrics.retrieval_rank(values, right), [1, 3, 1.5, 2])
    # Each query is a row: texts ask with the columns.
    by_text = metrics.retrieval_rank(values[:3].T, right[:3].T)
    # Column 0 is (.9, .9, .5), 1 is (.1, .1, .1), 2 is (.5, .5, .5).
    np.testing.assert_allclose(by_text, [1.5, 2, 2])


def test_any_partner_of_the_same_text_is_right():
    values = similarities([0.1, 0.8, 0.7, 0.9], [0.3, 0.3, 0.3, 0.3])
    right = np.array([[True, True, False, False], [True, True, False, False]])
    # The better of the two has one wrong one before it. Of four alike, two right ones:
    # the first right one is at 1, 2 or 3 in 3, 2 and 1 of 6 orders, 10 / 6 on average.
    np.testing.assert_allclose(metrics.retrieval_rank(values, right), [2, 5 / 3])
    alone = metrics.retrieval_rank(values[:1], np.eye(1, 4, dtype=bool))
    np.testing.assert_allclose(alone, [4])


def test_who_is_not_there_is_neither_ahead_nor_found():
    values = similarities([0.2, 0.8, np.nan, 0.9], [0.2, 0.8, 0.1, 0.9])
    right = np.array([[True, False, False, False], [False, True, False, False]])
    where = np.array([[True, True, False, False], [True, False, True, True]])
    ranks = metrics.retrieval_rank(values, right, where=where)
    np.testing.assert_allclose(ranks, [2, np.nan])


def test_undefined_rows_are_nan_and_alone():
    values = similarities([0.2, 0.8], [np.nan, 0.8], [0.2, 0.8])
    right = np.array([[True, False], [False, True], [False, False]])
    ranks = metrics.retrieval_rank(values, right)
    np.testing.assert_allclose(ranks, [2, np.nan, np.nan])
    np.testing.assert_array_equal(metrics.recall_at_k(ranks, k=2), [1, np.nan, np.nan])


@hypothesis.given(st.integers(0, 10_000))
def test_it_is_the_mean_over_all_orders_of_those_that_are_tied(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 3, size=(1, 5)).astype(np.float32)
    right = rng.permutation([[True, True, False, False, False]], axis=1)
    places = []
    for order in itertools.permutations(range(5)):
        ordered = sorted(order, key=lambda j: -values[0, j])
        places.append(1 + min(ordered.index(j) for j in np.flatnonzero(right)))
    # Sorting keeps equal ones in the order they were given.
    rank = metrics.retrieval_rank(values, right)
    np.testing.assert_allclose(rank, [np.mean(places)], rtol=1e-6)


@hypothesis.given(st.integers(0, 10_000))
def test_ranks_know_the_order_alone(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(4, 6)).astype(np.float32)
    right = np.eye(4, 6, dtype=bool)
    ranks = metrics.retrieval_rank(values, right)
    np.testing.assert_allclose(metrics.retrieval_rank(3 * values - 1, right), ranks)
    np.testing.assert_allclose(  # one rank and its reverse are N + 1
        metrics.retrieval_rank(-values, right) + ranks, 7
    )
    moved = rng.permutation(6)
    np.testing.assert_allclose(
        metrics.retrieval_rank(values[:, moved], right[:, moved]), ranks
    )


def test_recall_counts_ranks_up_to_k():
    ranks = np.array([1, 1.5, 5, 5.5, np.nan], np.float32)
    found = lambda k: metrics.recall_at_k(ranks, k=k)
    np.testing.assert_array_equal(found(1), [1, 0, 0, 0, np.nan])
    np.testing.assert_array_equal(found(5), [1, 1, 1, 0, np.nan])
    np.testing.assert_array_equal(found(10), [1, 1, 1, 1, np.nan])


def test_a_network_that_tells_nothing_apart_is_not_first():
    ranks = metrics.retrieval_rank(np.zeros((9, 9), np.float32), np.eye(9, dtype=bool))
    np.testing.assert_allclose(ranks, 5)
    assert not metrics.recall_at_k(ranks, k=1).any()


@pytest.mark.parametrize("lift", [jax.jit, lambda function: function])
def test_values_are_those_of_float32_compiled_or_not(lift):
    values = similarities([0.2, 0.8, 0.5]).astype(jnp.bfloat16)
    ranks = lift(metrics.retrieval_rank)(values, np.eye(1, 3, dtype=bool))
    chex.assert_type(ranks, jnp.float32)
    np.testing.assert_allclose(ranks, [3])


def test_gradients_are_zero_and_finite():
    values = similarities([0.2, 0.2, 0.1])
    slope = jax.grad(
        lambda s: metrics.retrieval_rank(s, np.eye(1, 3, dtype=bool)).sum()
    )
    np.testing.assert_array_equal(slope(values), np.zeros((1, 3)))


def test_bad_input():
    values, right = np.zeros((2, 3), np.float32), np.eye(2, 3, dtype=bool)
    for bad in (right[:1], right.astype(int)):
        with pytest.raises(AssertionError):
            metrics.retrieval_rank(values, bad)
    with pytest.raises(AssertionError):
        metrics.retrieval_rank(values[0], right[0])
    with pytest.raises(AssertionError):
        metrics.retrieval_rank(values, right, where=right[:, :2])
    with pytest.raises(ValueError, match=r"`k` \(=0\) must be at least 1\."):
        metrics.recall_at_k(np.ones(2, np.float32), k=0)
    with pytest.raises(AssertionError):
        metrics.recall_at_k(values, k=1)
