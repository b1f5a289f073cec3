"""Axioms of attribution."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics, ops

KEY = jax.random.key(0)
zeros = functools.partial(ops.constant_fill, value=0.0)
first_logit = lambda logits, labels: logits[:, 0]


def predict(inputs):
    """3 x₀ + x₀ x₁, whatever x₂ is."""
    return (3 * inputs[:, 0] + inputs[:, 0] * inputs[:, 1])[:, None]


def count(maps, *, tolerance=0.5, inputs=((1.0, 2.0, 3.0),)):
    inputs = jnp.array(inputs, jnp.float32)
    maps = jnp.array(maps, jnp.float32)
    return metrics.non_sensitivity(
        predict, inputs, jnp.zeros(len(inputs), int), maps, fill=zeros, key=KEY,
        value=first_logit, tolerance=tolerance,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        # Without the first the score of 5 is 0, without the second 3, without the
        # third the same.
        ((5.0, 2.0, 0.0), 0),
        ((-5.0, -2.0, 0.0), 0),
        ((5.0, 0.0, 0.0), 1),
        ((5.0, 0.0, 1.0), 2),
        ((0.0, 0.0, 1.0), 3),
    ],
)
def test_features_with_one_of_both_are_counted(maps, expected):
    np.testing.assert_array_equal(count([maps]), [expected])


def test_the_tolerance_is_of_effects_and_of_attributions():
    np.testing.assert_array_equal(count([(5.0, 2.0, 0.0)], tolerance=2.5), [0])
    # The effect of 2 is none then, the attribution of 3 is one.
    np.testing.assert_array_equal(count([(5.0, 3.0, 0.0)], tolerance=2.5), [1])
    # Exactly as large is one, of both.
    np.testing.assert_array_equal(count([(5.0, 2.0, 0.0)], tolerance=2.0), [0])
    np.testing.assert_array_equal(count([(5.0, 1.0, 0.0)], tolerance=2.0), [1])


def test_an_undefined_row_is_its_own():
    maps = [(5.0, np.nan, 0.0), (5.0, 2.0, 0.0), (5.0, 2.0, 0.0)]
    inputs = [(1.0, 2.0, 3.0), (np.nan, 2.0, 3.0), (1.0, 2.0, 3.0)]
    found = count(maps, inputs=inputs)
    np.testing.assert_array_equal(found, [np.nan, np.nan, 0])


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan")])
def test_a_tolerance_that_nothing_is_below_is_refused(tolerance):
    with pytest.raises(ValueError, match=r"`tolerance` \(="):
        count([(1.0, 1.0, 1.0)], tolerance=tolerance)


def test_maps_of_another_shape_are_refused():
    with pytest.raises(AssertionError):
        count([[5.0]])


def test_gradients_do_not_see_a_shift_and_their_products_with_the_input_do():
    inputs = jnp.array([[1.0, -2.0], [0.5, 4.0]])
    shift = jnp.array([2.0, 0.0])
    slopes = jnp.array([3.0, 1.0])
    gradient = lambda x: jnp.broadcast_to(slopes, x.shape)
    product = lambda x: slopes * x
    found = metrics.input_invariance(gradient, gradient, inputs, shift=shift)
    np.testing.assert_array_equal(found, [0, 0])
    # 3 · 2 more in the first cell, beside a largest of 3 and of 4.
    found = metrics.input_invariance(product, product, inputs, shift=shift)
    np.testing.assert_allclose(found, [6 / 3, 6 / 4], rtol=1e-6)
    back = lambda x: slopes * (x - shift)
    found = metrics.input_invariance(product, back, inputs, shift=shift)
    np.testing.assert_allclose(found, [0, 0], atol=1e-6)


def test_invariance_is_undefined_where_there_is_no_map():
    inputs = jnp.array([[0.0, 0.0], [1.0, np.nan], [1.0, 2.0]])
    same = lambda x: x
    found = metrics.input_invariance(same, same, inputs, shift=jnp.array(0.0))
    np.testing.assert_array_equal(found, [np.nan, np.nan, 0])


def test_a_nan_among_many_cells_is_seen():
    inputs = jnp.ones((1, 9000)).at[0, 5000].set(jnp.nan)
    same = lambda x: x
    found = metrics.input_invariance(same, same, inputs, shift=jnp.array(0.0))
    assert np.isnan(found)[0]


@pytest.mark.parametrize("factor", [0.1, 30.0])
def test_invariance_is_of_maps_up_to_a_factor(factor):
    inputs = jnp.array([[1.0, -2.0]])
    found = [
        metrics.input_invariance(
            lambda x, f=f: f * x, lambda x, f=f: f * x, inputs, shift=jnp.ones(2)
        )
        for f in (1.0, factor)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    np.testing.assert_allclose(found[0], [1 / 2], rtol=1e-6)
