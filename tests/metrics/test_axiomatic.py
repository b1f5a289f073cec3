"""Features without effect and shifts that the network undoes, in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics

INPUTS = jnp.array([[2.0, -1.0, 3.0], [1.0, 0.0, 1.0]])
TARGETS = jnp.zeros(2, int)
WEIGHTS = jnp.array([[2.0], [1.0], [0.0]])
linear = lambda inputs: inputs @ WEIGHTS
first_logit = lambda logits, targets: logits[:, 0]
count = functools.partial(
    metrics.non_sensitivity, linear, INPUTS, TARGETS, baselines=0.0,
    score_fn=first_logit, map_tolerance=1e-5, score_tolerance=1e-5,
)  # fmt: skip


def gradient(predict_fn, inputs):
    return jax.grad(lambda inputs: predict_fn(inputs)[:, 0].sum())(inputs)


def gradient_x_input(predict_fn, inputs):
    return inputs * gradient(predict_fn, inputs)


def test_a_map_of_what_has_an_effect_has_0():
    # The second feature of the second input is its baseline: no effect, no part in it.
    np.testing.assert_array_equal(count(INPUTS * WEIGHTS.T), [0, 0])
    np.testing.assert_array_equal(count(-7e3 * INPUTS * WEIGHTS.T), [0, 0])


def test_features_named_without_effect_and_left_out_in_spite_of_one_are_counted():
    maps = jnp.array([[4.0, -1.0, 0.1], [0.0, 1.0, 1.0]])
    np.testing.assert_array_equal(count(maps), [1, 3])
    np.testing.assert_array_equal(count(0 * maps), [2, 1])
    np.testing.assert_array_equal(count(maps, map_tolerance=0.025), [0, 3])
    np.testing.assert_array_equal(count(maps, score_tolerance=1.0), [2, 3])


def test_tolerances_of_0_are_of_exact_zeros():
    maps = jnp.array([[4.0, -1.0, 1e-30], [2.0, 0.0, 0.0]])
    found = count(maps, map_tolerance=0.0, score_tolerance=0.0)
    np.testing.assert_array_equal(found, [1, 0])


def test_a_baseline_is_what_effects_are_against():
    # Against the inputs themselves nothing has an effect, and each named one is wrong.
    maps = jnp.array([[4.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(count(maps, baselines=INPUTS), [2, 1])


def test_channels_of_a_position_are_one_feature():
    inputs = jnp.ones((1, 2, 2, 2))
    predict_fn = lambda inputs: inputs[:, 0, 1, 1:]
    maps = jnp.array([[[1.0], [1.0]], [[0.0], [0.0]]])[None]
    found = count.func(
        predict_fn, inputs, TARGETS[:1], maps, **count.keywords, chunk_size=3
    )
    np.testing.assert_array_equal(found, [1])


def test_a_nan_stays_in_its_row():
    maps = (INPUTS * WEIGHTS.T).at[0, 2].set(jnp.nan)
    np.testing.assert_array_equal(count(maps), [np.nan, 0])
    broken = INPUTS.at[1, 0].set(jnp.nan)
    arguments = (linear, broken, TARGETS, INPUTS * WEIGHTS.T)
    found = count.func(*arguments, **count.keywords)
    np.testing.assert_array_equal(found, [0, np.nan])


@pytest.mark.parametrize("chunk_size", [None, 2, 3])
def test_the_count_is_the_same_compiled_and_in_chunks(chunk_size):
    maps = jnp.array([[4.0, -1.0, 0.1], [0.0, 1.0, 1.0]])
    compiled = jax.jit(functools.partial(count, chunk_size=chunk_size))
    np.testing.assert_array_equal(compiled(maps), [1, 3])


@pytest.mark.parametrize(
    ("name", "value"),
    [("map_tolerance", 1.0), ("map_tolerance", -0.1), ("score_tolerance", np.nan)],
)
def test_tolerances_out_of_their_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        count(INPUTS, **{name: value})


def test_a_gradient_is_invariant_and_gradient_x_input_is_not():
    shift = jnp.array([1.0, -2.0, 5.0])
    measure = functools.partial(
        metrics.input_invariance, predict_fn=linear, inputs=INPUTS, shift=shift
    )
    np.testing.assert_allclose(measure(gradient), [0, 0], atol=1e-6)
    # w m = (2, -2, 0) over w x = (4, -1, 0) and (2, 0, 0).
    expected = np.sqrt(8) / np.array([np.sqrt(17), 2])
    np.testing.assert_allclose(measure(gradient_x_input), expected, rtol=1e-6)
    np.testing.assert_allclose(
        measure(lambda f, x: -3 * gradient_x_input(f, x)), expected, rtol=1e-6
    )


def test_the_shifted_network_predicts_what_the_other_does():
    square = lambda inputs: jnp.square(inputs).sum(axis=-1, keepdims=True)
    found = metrics.input_invariance(gradient, square, INPUTS, shift=0.5)
    np.testing.assert_allclose(found, [0, 0], atol=1e-6)
    values = metrics.input_invariance(lambda f, x: f(x), square, INPUTS, shift=-1.0)
    np.testing.assert_allclose(values, [0, 0], atol=1e-6)
    identity = metrics.input_invariance(lambda f, x: x, square, INPUTS, shift=3.0)
    norms = np.linalg.norm(INPUTS, axis=-1)
    np.testing.assert_allclose(identity, np.sqrt(27) / norms, rtol=1e-6)


def test_a_map_of_zeros_or_with_a_nan_has_no_invariance():
    flat = lambda inputs: 0 * linear(inputs)
    found = metrics.input_invariance(gradient, flat, INPUTS, shift=1.0)
    assert np.all(np.isnan(found))
    broken = INPUTS.at[0, 1].set(jnp.nan)
    found = metrics.input_invariance(gradient_x_input, linear, broken, shift=0.0)
    np.testing.assert_array_equal(found, [np.nan, 0])


def test_a_nan_of_a_shifted_map_shows_among_many_maps():
    # Of 4096 numbers or more a maximum on a CPU overlooks a NaN.
    inputs = jnp.ones((2000, 4))
    first = jnp.arange(inputs.size).reshape(inputs.shape) == 0
    explain = lambda _, values: jnp.where(first & (values != 1), jnp.nan, 1.0)
    found = metrics.input_invariance(explain, lambda x: x, inputs, shift=1.0)
    np.testing.assert_array_equal(found, [np.nan, *[0.0] * 1999])
