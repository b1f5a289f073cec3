"""Tests of occlusion, against windows placed by hand."""

import functools
import itertools
import unittest

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, testing

RNG = np.random.default_rng(0)
TARGETS = np.zeros(2, int)


def explain(predict, inputs, targets=TARGETS, *, baselines=0.0, **settings):
    settings = {
        "strides": (1,) * len(settings["window"]),
        "score_fn": attributions.regression_output,
        "chunk_size": 16,
        **settings,
    }
    run = lambda inputs, baselines: attributions.occlusion(
        predict, inputs, targets, baselines=baselines, **settings
    )
    return jax.jit(run)(inputs, baselines)


def curved(inputs):
    """A score in which every place interacts with every other."""
    slopes = np.linspace(-1, 2, inputs[0].size, dtype=np.float32)
    total = inputs.reshape(len(inputs), -1) @ slopes
    return (total + 0.3 * total**2)[:, None]


def by_loops(inputs, baseline, window, strides):
    """The mean fall over slices of arrays: NumPy cuts what sticks out by itself."""
    total, count = np.zeros_like(inputs), np.zeros_like(inputs)
    starts = [
        range(0, max(n - w, 0) + s, s) if (n - w) % s else range(0, n - w + 1, s)
        for n, w, s in zip(inputs.shape[1:], window, strides, strict=False)
    ]
    for corner in itertools.product(*starts):
        covered = np.zeros(inputs.shape, bool)
        places = [slice(a, a + w) for a, w in zip(corner, window, strict=True)]
        covered[(slice(None), *places)] = True
        fall = curved(inputs) - curved(np.where(covered, baseline, inputs))
        total += covered * np.reshape(fall, (-1,) + (1,) * (inputs.ndim - 1))
        count += covered
    return total / count


def test_a_row_by_hand():
    # f = x1 x2 + x3 at (2, 3, 5), baseline 0, windows of 2: without (x1, x2) it falls
    # by 6, without (x2, x3) by 11; the middle is covered by both.
    predict = lambda x: x[:, :1] * x[:, 1:2] + x[:, 2:]
    actual = explain(predict, jnp.array([[2.0, 3.0, 5.0]]), TARGETS[:1], window=(2,))
    np.testing.assert_allclose(actual, [[6.0, 8.5, 11.0]], rtol=1e-6)


def test_a_window_that_sticks_out_is_cut_at_the_border():
    # Windows of 3 by steps of 3 over 5 places: (x1 x2 x3) and (x4 x5).
    predict = lambda x: x @ jnp.array([[1.0], [10], [100], [1000], [10000]])
    actual = explain(
        predict, jnp.ones((2, 5)), window=(3,), strides=(3,), baselines=-1.0
    )
    np.testing.assert_allclose(actual[0], [222, 222, 222, 22000, 22000], rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "window", "strides"),
    [
        ((5,), (2,), (2,)),
        ((5, 4, 2), (3, 2), (2, 1)),
        ((4, 5, 2), (2, 3, 1), (2, 2, 1)),
        ((3, 4), (3, 4), (1, 2)),
    ],
)
def test_it_is_the_mean_over_the_windows_that_cover_a_feature(shape, window, strides):
    inputs = RNG.normal(size=(2, *shape)).astype(np.float32)
    actual = explain(curved, inputs, window=window, strides=strides, baselines=0.4)
    expected = by_loops(inputs, np.float32(0.4), window, strides)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("chunk_size", [None, 2, 5])
def test_affine_functions_give_weight_times_change(chunk_size):
    slopes = RNG.normal(size=(3, 1)).astype(np.float32)
    inputs = RNG.normal(size=(2, 3)).astype(np.float32)
    baselines = RNG.normal(size=3).astype(np.float32)
    actual = explain(
        lambda x: x @ slopes + 4.0, inputs,
        window=(1,), baselines=baselines, chunk_size=chunk_size,
    )  # fmt: skip
    expected = slopes[:, 0] * (inputs - baselines)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_token_ids_are_replaced_by_the_id_of_a_mask():
    table = jnp.array([0.0, 1.0, 10.0, 100.0])
    predict = lambda ids: jnp.sum(table[ids], axis=1, keepdims=True)
    tokens = jnp.array([[1, 2, 3], [3, 3, 0]])
    actual = explain(predict, tokens, window=(1,), baselines=0)
    np.testing.assert_allclose(actual, [[1, 10, 100], [100, 100, 0]])
    chex.assert_type(actual, jnp.float32)
    with pytest.raises(ValueError, match=r"`baselines` \(float32\) must be integ"):
        explain(predict, tokens, window=(1,), baselines=0.5)


def test_it_keeps_what_every_explainer_promises():
    testing.check_explainer(
        functools.partial(
            attributions.occlusion,
            window=(3, 3),
            strides=(3, 3),
            baselines=0.1,
            score_fn=attributions.target_logit,
            chunk_size=4,
        )
    )


def test_gradients_reach_the_baselines():
    predict = lambda x: jnp.sum(x**2, axis=1, keepdims=True)
    total = lambda b: jnp.sum(
        explain(predict, jnp.ones((2, 3)), window=(1,), baselines=b)
    )
    # Each value is 1 − b², two examples of them.
    actual = jax.grad(total)(jnp.array([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(actual, [0, -4, -8])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": (4,)}, r"`window` \(=\(4,\)\) must not be larger"),
        ({"window": (0,)}, r"`window` \(=\(0,\)\) must be 1 to 2 positive"),
        ({"window": (1, 1, 1)}, r"`window` \(=\(1, 1, 1\)\) must be 1 to 2 positive"),
        ({"window": (), "strides": (1,)}, r"`window` \(=\(\)\) must be 1 to 2"),
        ({"window": (2,), "strides": (3,)}, r"`strides` \(=\(3,\)\) must be at most"),
        ({"window": (2,), "strides": (1, 1)}, r"`strides` .* must name the axes of"),
        ({"window": (1,), "baselines": np.ones(3)}, r"`baselines` \(of shape \(3,\)"),
        ({"window": (1,), "chunk_size": 0}, r"`chunk_size` \(=0\) must be at least"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        explain(curved, jnp.ones((2, 3, 2)), **settings)


def test_inputs_as_their_own_baselines_are_refused():
    inputs = jnp.ones((2, 3))
    with pytest.raises(ValueError, match="must not be the inputs themselves"):
        attributions.occlusion(
            curved, inputs, TARGETS, window=(1,), strides=(1,), baselines=inputs,
            score_fn=attributions.regression_output,
        )  # fmt: skip


@unittest.skipIf(jax.__version_info__ < (0, 12), "XLA dropped barriers too early")
def test_memory_grows_with_the_chunk_and_not_with_the_windows():
    """The loop that LIME and Shapley values run through as well."""
    kernel = jnp.ones((16, 512))

    def temporary_bytes(stride, chunk_size):
        run = lambda inputs: attributions.occlusion(
            lambda x: jax.nn.softplus(x @ kernel) @ kernel.T, inputs,
            jnp.zeros(64, int), window=(4,), strides=(stride,), baselines=0.0,
            score_fn=attributions.target_logit, chunk_size=chunk_size,
        )  # fmt: skip
        compiled = jax.jit(run).lower(jnp.ones((64, 16))).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many, at_once = (temporary_bytes(*s) for s in ((4, 1), (1, 1), (1, 13)))
    assert many < 1.5 * few
    assert at_once > 4 * many
