"""Functions whose attributions are known, and every explainer that must find them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions

RNG = np.random.default_rng(0)
draw = lambda *shape: RNG.normal(size=shape).astype(np.float32)
INPUTS, BASELINES = draw(3, 4), draw(3, 4)
TARGETS = np.array([0, 1, 0], np.int32)
KERNEL, OFFSET = draw(4, 2), draw(2)
SCORE = {"score_fn": attributions.target_logit}
BASELINE = {"baselines": BASELINES, **SCORE}
KEY = {"key": jax.random.key(0)}
SEGMENTS = {"segments": np.arange(4), "num_segments": 4, "chunk_size": 16}

# Exact for functions that are affine, or a sum of functions of one feature each.
ADDITIVE = {
    "kernel_shap": {"num_samples": 14, **KEY, **SEGMENTS, **BASELINE},
    "lime": {
        "num_samples": 30, "kernel_width": 0.5, "ridge": 0.0,
        **KEY, **SEGMENTS, **BASELINE,
    },
    "occlusion": {"window": (1,), "strides": (1,), **BASELINE},
    "shapley_sampling": {"num_samples": 1, **KEY, **SEGMENTS, **BASELINE},
    "shapley_values": {**SEGMENTS, **BASELINE},
    "deep_lift": BASELINE,
}  # fmt: skip
# Exact for affine functions only, whatever the number of points.
AFFINE = ADDITIVE | {
    "integrated_gradients": {"num_points": 1, **BASELINE},
    "taylor": {"at": "input", **BASELINE},
    "expected_gradients_at": {
        "starts": BASELINES[None], "positions": np.full((1, 3), 0.3, np.float32),
        "noise": None, **SCORE,
    },
}  # fmt: skip


def affine(inputs):
    return inputs @ KERNEL + OFFSET


def additive(inputs):
    """Σ_i sin(3 x_i) w_ic, without a product of two features."""
    return jnp.sin(3 * inputs) @ KERNEL + OFFSET


def explain(name, predict, settings):
    return getattr(attributions, name)(predict, INPUTS, TARGETS, **settings)


@pytest.mark.parametrize("name", sorted(AFFINE))
def test_affine_functions_are_shared_out_exactly(name):
    expected = KERNEL[:, TARGETS].T * (INPUTS - BASELINES)
    actual = explain(name, affine, AFFINE[name])
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("name", sorted(ADDITIVE))
def test_additive_functions_are_taken_apart(name):
    change = np.sin(3 * INPUTS) - np.sin(3 * BASELINES)
    expected = KERNEL[:, TARGETS].T * change
    actual = explain(name, additive, ADDITIVE[name])
    np.testing.assert_allclose(actual, expected, atol=1e-5)


FROM_ZERO = {"baselines": 0.0, **SCORE}
HOMOGENEOUS = {
    "deep_lift": FROM_ZERO,
    "integrated_gradients": {"num_points": 3, **FROM_ZERO},
    "lrp": {"rules": attributions.epsilon_rule(0.0), **SCORE},
    "taylor": {"at": "input", **FROM_ZERO},
}


def without_biases(inputs):
    first, second = np.random.default_rng(1).normal(size=(2, 4, 4)).astype(np.float32)
    return jax.nn.relu(jax.nn.relu(inputs @ first) @ second) @ KERNEL


@pytest.mark.parametrize("name", sorted(HOMOGENEOUS))
def test_on_relus_without_biases_all_are_gradient_times_input(name):
    arguments = (without_biases, INPUTS, TARGETS)
    expected = attributions.gradient_x_input(*arguments, **SCORE)
    actual = explain(name, without_biases, HOMOGENEOUS[name])
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    gap = attributions.completeness_gap(*arguments, actual, **FROM_ZERO)
    np.testing.assert_allclose(gap, 0, atol=1e-5)


def with_biases_pooling_and_softmax(images):
    """Convolution and bias, ReLU, max pooling, dense layer, probabilities."""
    weights = np.random.default_rng(2)
    kernel = weights.normal(size=(3, 3, 1, 3)).astype(np.float32)
    hidden = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    hidden = jax.nn.relu(hidden + weights.normal(size=3).astype(np.float32))
    hidden = jax.lax.reduce_window(
        hidden, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
    )
    dense = weights.normal(size=(12, 3)).astype(np.float32) / 3
    return jax.nn.softmax(hidden.reshape(len(hidden), -1) @ dense)


def test_deep_lift_is_complete_with_biases_max_pooling_and_a_softmax():
    images, baselines = (
        np.random.default_rng(3).normal(size=(2, 3, 4, 4, 1)).astype(np.float32)
    )
    arguments = (with_biases_pooling_and_softmax, images, TARGETS)
    settings = {"baselines": baselines, **SCORE}
    maps = jax.jit(functools.partial(attributions.deep_lift, arguments[0], **settings))(
        images, targets=TARGETS
    )
    gap = attributions.completeness_gap(*arguments, maps, **settings)
    change = attributions.attribution_target(*arguments, **settings)
    assert np.min(np.abs(change)) > 1e-3
    np.testing.assert_allclose(gap, 0, atol=1e-5)
