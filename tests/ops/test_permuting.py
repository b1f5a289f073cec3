"""Values permuted within their groups: what stays, and how it is drawn."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import ops

PERMUTE = jax.jit(ops.permute_within)


@hypothesis.given(
    st.lists(st.integers(-1, 2), min_size=7, max_size=7), st.integers(0, 2**30)
)
def test_each_group_keeps_its_values_and_no_group_its_place(groups, seed):
    values = jnp.arange(7.0)[None]
    groups = np.array(groups)
    found = np.asarray(PERMUTE(jax.random.key(seed), values, jnp.array([groups]))[0])
    for group in set(groups.tolist()):
        there = groups == group
        assert sorted(found[there]) == sorted(np.arange(7.0)[there])
    np.testing.assert_array_equal(found[groups == -1], np.flatnonzero(groups == -1))


def test_all_orders_are_as_likely():
    keys = jax.random.split(jax.random.key(0), 6000)
    values = jnp.tile(jnp.arange(4.0), (6000, 1))
    groups = jnp.tile(jnp.array([0, -1, 0, 0]), (6000, 1))
    found = np.asarray(PERMUTE(keys, values, groups))
    orders, counts = np.unique(found, axis=0, return_counts=True)
    assert len(orders) == 6
    # Each count is binomial(6000, 1/6), of standard deviation 29.
    assert np.all(abs(counts - 1000) < 130)


def test_an_example_depends_on_its_own_key_only():
    keys = jax.random.split(jax.random.key(0), 4)
    values = jax.random.normal(jax.random.key(1), (4, 9))
    groups = jnp.zeros((4, 9), jnp.int32)
    whole = PERMUTE(keys, values, groups)
    part = PERMUTE(keys[2:], values[2:], groups[2:])
    np.testing.assert_array_equal(whole[2:], part)
    assert np.any(PERMUTE(keys[::-1], values, groups) != whole)


def test_gradients_follow_the_values():
    weights = jnp.arange(5.0)
    groups = jnp.zeros((1, 5), jnp.int32)
    permute = lambda values: ops.permute_within(jax.random.key(3), values, groups)
    order = permute(weights[None])[0].astype(int)
    gradient = jax.grad(lambda v: jnp.sum(weights * permute(v)))(jnp.ones((1, 5)))
    np.testing.assert_array_equal(gradient[0, order], weights)


def test_shapes_and_dtypes_must_be_those_documented():
    key, values = jax.random.key(0), jnp.ones((2, 3))
    for groups in (jnp.ones((2, 3)), jnp.ones((2, 4), int), jnp.ones(3, int)):
        with pytest.raises(AssertionError):
            ops.permute_within(key, values, groups)
