"""How far a set of attributions is from adding up."""

import jax.numpy as jnp
import numpy as np

from xguide_jax import evaluation


def test_the_error_is_a_ratio_of_sums():
    gap, change = jnp.array([0.1, -0.3, 0.0]), jnp.array([1.0, -0.1, 0.9])
    found = evaluation.completeness_of(gap, change)
    np.testing.assert_allclose(found.error, 0.4 / 2.0, rtol=1e-6)
    assert found[1:] == (3, 3)


def test_an_undefined_example_is_left_out_of_both_sums():
    nan = jnp.nan
    gap, change = jnp.array([0.1, nan, 5.0, -0.3]), jnp.array([1.0, 1.0, nan, -0.6])
    found = evaluation.completeness_of(gap, change)
    np.testing.assert_allclose(found.error, 0.4 / 1.6, rtol=1e-6)
    assert found[1:] == (2, 4)


def test_without_a_change_there_is_no_error():
    zero = jnp.zeros(2)
    assert np.isnan(evaluation.completeness_of(zero, zero).error)
    lost = evaluation.completeness_of(jnp.full(2, jnp.nan), zero)
    assert np.isnan(lost.error)
    assert lost[1:] == (0, 2)
