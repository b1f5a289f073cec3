"""Tests of SmoothGrad and its kin."""

import functools
import unittest

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from xguide_jax import attributions, ops, testing

INPUTS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
TARGETS = np.array([0, 1, 0])
KEY = jax.random.key(0)
gradient = functools.partial(
    attributions.input_gradient, score_fn=attributions.target_logit
)


def quadratic(slope, inputs):
    """Logits ±slope |x|² / 2, whose gradients ±slope x show the noise as it is."""
    score = slope * jnp.sum(inputs**2, axis=-1) / 2
    return jnp.stack([score, -score], axis=-1)


def explain(
    inputs=INPUTS,
    targets=TARGETS,
    *,
    smooth=attributions.smooth_grad,
    slope=1.0,
    key=KEY,
    **settings,
):
    return smooth(
        gradient,
        functools.partial(quadratic, slope),
        inputs,
        targets,
        key=key,
        **{"sigma": 0.5, "num_samples": 2, **settings},
    )


class SmoothGradTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_without_noise_it_is_the_explainer(self):
        expected = gradient(functools.partial(quadratic, 1.0), INPUTS, TARGETS)
        actual = self.variant(functools.partial(explain, sigma=0.0))(INPUTS, TARGETS)
        np.testing.assert_allclose(actual, expected, rtol=1e-6)

    def test_cubic_has_the_mean_of_its_closed_form(self):
        # f = Σ x³: E[3 (x + σ ε)²] = 3 (x² + σ²) = 3 (1 + 0.25) at x = 1, σ = 0.5.
        # One draw has a standard deviation of 3.2; the mean of 4 · 4096 one of 0.025.
        def cubic(inputs):
            return jnp.sum(inputs**3, axis=-1, keepdims=True)

        actual = attributions.smooth_grad(
            functools.partial(gradient, score_fn=attributions.regression_output),
            cubic,
            jnp.ones((1, 4096)),
            np.array([0]),
            key=KEY,
            sigma=0.5,
            num_samples=4,
        )
        np.testing.assert_allclose(jnp.mean(actual), 3.75, atol=0.1)

    def test_the_copies_are_those_of_the_documented_keys(self):
        """x + σ normal(fold_in(fold_in(key, i), s)): runs are repeated bit for bit."""
        seen = []
        attributions.smooth_grad(
            lambda predict, x, y: seen.append(x) or x,
            None, INPUTS, TARGETS, key=KEY, sigma=0.5, num_samples=2,
        )  # fmt: skip
        for sample, copies in enumerate(seen):
            for row, copy in enumerate(copies):
                key = jax.random.fold_in(jax.random.fold_in(KEY, row), sample)
                noise = jax.random.normal(key, copy.shape)
                np.testing.assert_allclose(copy, INPUTS[row] + 0.5 * noise, rtol=1e-6)

    def test_the_noise_is_gaussian(self):
        # At 0 the gradient of |x|² / 2 is the noise σ ε itself. Of 4096 draws the mean
        # has a standard deviation of 0.008 = σ / 64, the deviation one of 0.006 and
        # the ratio of moments E[ε⁴] / E[ε²]² one of 0.08; it is 3, and 1.8 if uniform.
        noise = explain(jnp.zeros((1, 4096)), np.array([0]), num_samples=1)
        np.testing.assert_allclose(jnp.mean(noise), 0.0, atol=0.04)
        np.testing.assert_allclose(jnp.std(noise), 0.5, atol=0.03)
        ratio = jnp.mean(noise**4) / jnp.mean(noise**2) ** 2
        np.testing.assert_allclose(ratio, 3.0, atol=0.4)

    def test_more_samples_extend_the_sequence(self):
        first = explain(num_samples=1)
        second = 2 * explain(num_samples=2) - first
        third = 3 * explain(num_samples=3) - first - second
        self.assertGreater(np.min(np.abs(first - second)), 1e-3)
        self.assertGreater(np.min(np.abs(second - third)), 1e-3)

    def test_noise_differs_between_examples_and_features(self):
        noise = explain(jnp.zeros((3, 4)), np.zeros(3, int), num_samples=1)
        self.assertLen(np.unique(noise), 12)

    def test_keys_of_the_examples_make_them_independent_of_their_batch(self):
        keys = ops.example_keys(KEY, 3)
        together = explain(key=keys)
        np.testing.assert_array_equal(together, explain())
        for i in range(3):
            one = slice(i, i + 1)
            alone = explain(INPUTS[one], TARGETS[one], key=keys[one])
            np.testing.assert_allclose(together[one], alone, rtol=1e-6)

    def test_explainer_may_return_a_map_of_another_shape(self):
        def head(features):
            return jnp.mean(features, axis=(1, 2))

        features = jnp.ones((2, 3, 4, 5))
        cam = functools.partial(
            attributions.grad_cam, score_fn=attributions.target_logit
        )
        actual = attributions.smooth_grad(
            cam, head, features, np.array([0, 4]), key=KEY, sigma=0.0, num_samples=2
        )
        # Only the target's channel counts, with weight 1 / (h w) = 1 / 12.
        np.testing.assert_allclose(actual, np.full((2, 3, 4), 1 / 12), rtol=1e-6)

    @unittest.skipIf(jax.__version_info__ < (0, 12), "XLA dropped barriers too early")
    def test_memory_does_not_grow_with_the_samples(self):
        kernel = jnp.ones((5, 256))

        def predict(inputs):
            return jax.nn.softplus(inputs @ kernel) @ kernel.T

        def temporary_bytes(num_samples):
            run = lambda inputs: attributions.smooth_grad(
                gradient,
                predict,
                inputs,
                jnp.zeros(64, int),
                key=KEY,
                sigma=0.5,
                num_samples=num_samples,
            )
            compiled = jax.jit(run).lower(jnp.ones((64, 5))).compile()
            return compiled.memory_analysis().temp_size_in_bytes

        self.assertLess(temporary_bytes(8), 1.5 * temporary_bytes(2))

    def test_bfloat16_inputs_give_float32_attributions(self):
        actual = explain(jnp.asarray(INPUTS, jnp.bfloat16))
        chex.assert_type(actual, jnp.float32)

    def test_a_traced_sigma_is_the_same_sigma(self):
        run = jax.jit(lambda sigma: explain(sigma=sigma))
        for sigma in (0.25, 0.5):
            np.testing.assert_allclose(run(sigma), explain(sigma=sigma), rtol=1e-5)
        constant = jnp.asarray(0.5)
        actual = jax.jit(lambda: explain(sigma=constant))()
        np.testing.assert_allclose(actual, explain(sigma=0.5), rtol=1e-5)
        with pytest.raises(ValueError, match=r"`sigma` \(=-0.5\) must be at least 0"):
            jax.jit(lambda: explain(sigma=-0.5 * np.ones(())))()

    def test_values_out_of_range_are_refused(self):
        for sigma in (-0.1, float("nan")):
            with pytest.raises(ValueError, match=r"`sigma` \(=.*\) must be at least 0"):
                explain(sigma=sigma)
        with pytest.raises(ValueError, match=r"`num_samples` \(=0\) must be at least"):
            explain(num_samples=0)
        traced = jax.jit(lambda count: explain(num_samples=count))
        with pytest.raises(ValueError, match=r"`num_samples` \(=.*\) must be a whole"):
            traced(3)
        with pytest.raises(ValueError, match="`key` must be a typed key"):
            explain(key=jax.random.PRNGKey(0))


def test_second_derivatives_in_parameters_and_inputs_are_right(x64):
    del x64

    @jax.jit
    def explanation(slope, inputs):
        return explain(inputs**2, slope=slope)

    arguments = (np.float64(1.3), INPUTS.astype(np.float64))
    jax.test_util.check_grads(explanation, arguments, order=2, modes=["rev"])


class MomentsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_they_are_the_moments_of_the_same_copies(self):
        """Mean square and variance of S maps, divided by S."""
        maps = []
        record = lambda predict, x, y: maps.append(gradient(predict, x, y)) or maps[-1]
        attributions.smooth_grad(
            record, functools.partial(quadratic, 1.0), INPUTS, TARGETS,
            key=KEY, sigma=0.5, num_samples=3,
        )  # fmt: skip
        for smooth, expected in (
            (attributions.smooth_grad_squared, np.mean(np.square(maps), axis=0)),
            (attributions.var_grad, np.var(maps, axis=0)),
        ):
            run = self.variant(functools.partial(explain, smooth=smooth, num_samples=3))
            np.testing.assert_allclose(run(INPUTS, TARGETS), expected, rtol=1e-4)

    def test_a_quadratic_has_the_variance_of_its_noise(self):
        # E(x) = x: mean square x² + σ², variance σ² (S − 1) / S = 0.25 · 3 / 4.
        ones = jnp.ones((1, 4096))
        settings = {"sigma": 0.5, "num_samples": 4}
        square = explain(
            ones, np.array([0]), smooth=attributions.smooth_grad_squared, **settings
        )
        variance = explain(
            ones, np.array([0]), smooth=attributions.var_grad, **settings
        )
        np.testing.assert_allclose(jnp.mean(square), 1.25, atol=0.05)
        np.testing.assert_allclose(jnp.mean(variance), 0.1875, atol=0.01)

    def test_a_small_variance_of_large_maps_is_not_lost_and_never_negative(self):
        # Maps of 1000 ± 0.01: their squares differ by less than float32 keeps of them.
        variance = explain(
            1000 * jnp.ones((1, 4096)), np.array([0]),
            smooth=attributions.var_grad, sigma=0.01, num_samples=4,
        )  # fmt: skip
        self.assertGreaterEqual(np.min(variance), 0)
        np.testing.assert_allclose(jnp.mean(variance), 0.75e-4, rtol=0.05)

    def test_an_affine_function_has_none(self):
        variance = attributions.var_grad(
            gradient, lambda x: x[:, :2], INPUTS, TARGETS,
            key=KEY, sigma=0.5, num_samples=2,
        )  # fmt: skip
        np.testing.assert_array_equal(variance, 0)

    def test_the_variance_of_one_is_refused(self):
        with pytest.raises(
            ValueError, match=r"`num_samples` \(=1\) must be at least 2"
        ):
            explain(smooth=attributions.var_grad, num_samples=1)
        for smooth in (attributions.smooth_grad_squared, attributions.var_grad):
            with pytest.raises(ValueError, match=r"`sigma` \(=-1\) must be at least 0"):
                explain(smooth=smooth, sigma=-1)


def test_second_derivatives_of_the_variance_are_right(x64):
    del x64

    @jax.jit
    def explanation(slope, inputs):
        return attributions.var_grad(
            gradient, lambda x: slope * jnp.stack([jnp.sum(x**3, 1), x[:, 0]], axis=1),
            inputs, np.zeros(3, np.int32), key=KEY, sigma=0.5, num_samples=2,
        )  # fmt: skip

    arguments = (np.float64(1.3), INPUTS.astype(np.float64))
    jax.test_util.check_grads(explanation, arguments, order=2, modes=["rev"])


def test_the_variance_keeps_what_every_explainer_promises():
    """With keys that belong to their examples, as the check takes them one by one."""

    def variance(predict_fn, inputs, targets):
        first = inputs.reshape(len(inputs), -1)[:, 0].astype(jnp.float32)
        own = jax.lax.bitcast_convert_type(first, jnp.uint32)
        return attributions.var_grad(
            gradient, predict_fn, inputs, targets,
            key=jax.vmap(functools.partial(jax.random.fold_in, KEY))(own),
            sigma=0.1, num_samples=2,
        )  # fmt: skip

    testing.check_explainer(variance)
