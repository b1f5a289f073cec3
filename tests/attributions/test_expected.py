"""Tests of expected gradients and GradientSHAP."""

import functools
import unittest

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from xguide_jax import attributions, ops, testing

score_fn = attributions.target_logit
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(2, 3)).astype(np.float32)
TARGETS = np.array([0, 1], np.int32)
BACKGROUND = RNG.normal(size=(4, 3)).astype(np.float32)
KERNEL = RNG.normal(size=(3, 2)).astype(np.float32)
KEY = jax.random.key(0)


def cubic(kernel, inputs):
    """Logits whose path integrals have a closed form, Σ_i w_ic x_i³."""
    return inputs**3 @ kernel


def draw(function=attributions.expected_gradients, inputs=INPUTS, **settings):
    settings = {"key": KEY, "background": BACKGROUND, "num_samples": 2, **settings}
    return function(
        functools.partial(cubic, settings.pop("kernel", KERNEL)),
        inputs, TARGETS, score_fn=score_fn, **settings,
    )  # fmt: skip


def given(starts, positions, noise=None, *, kernel=KERNEL, inputs=INPUTS):
    return attributions.expected_gradients_at(
        functools.partial(cubic, kernel), inputs, TARGETS,
        starts=starts, positions=positions, noise=noise, score_fn=score_fn,
    )  # fmt: skip


class GivenDrawsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_two_samples_by_hand(self):
        # f = x³, x = 2. From b = 1 at t = ½: (2 − 1) 3 · 1.5² = 6.75. Noise 2 makes
        # the end 4: from b = 0 at t = ¼, (4 − 0) 3 · 1² = 12. Their mean is 9.375.
        run = self.variant(
            lambda x: attributions.expected_gradients_at(
                lambda x: jnp.concatenate([x**3, -x], axis=1), x, np.array([0]),
                starts=np.array([[[1.0]], [[0.0]]]),
                positions=np.array([[0.5], [0.25]]),
                noise=np.array([[[0.0]], [[2.0]]]), score_fn=score_fn,
            )
        )  # fmt: skip
        np.testing.assert_allclose(run(jnp.full((1, 1), 2.0)), [[9.375]], rtol=1e-6)

    def test_midpoints_from_one_baseline_are_integrated_gradients(self):
        starts = np.broadcast_to(BACKGROUND[0], (5, 2, 3))
        positions = np.tile((np.arange(5)[:, None] + 0.5) / 5, (1, 2))
        path = attributions.integrated_gradients(
            functools.partial(cubic, KERNEL), INPUTS, TARGETS,
            baselines=BACKGROUND[0], num_points=5, score_fn=score_fn,
        )  # fmt: skip
        np.testing.assert_allclose(given(starts, positions), path, rtol=1e-5, atol=1e-6)

    def test_draws_of_other_shapes_are_refused(self):
        starts, positions = np.zeros((2, 2, 3)), np.zeros((2, 2))
        for wrong in (
            (starts[:, :1], positions),
            (starts, positions[:1]),
            (starts, positions, starts[:1]),
        ):
            with pytest.raises(AssertionError, match="shape"):
                given(*wrong)


class ExpectedGradientsTest(chex.TestCase):
    def test_the_draws_are_those_of_the_documented_keys(self):
        starts, positions, noise = np.zeros((2, 2, 3)), np.zeros((2, 2)), None
        noise = np.zeros((2, 2, 3))
        for s in range(2):
            for i in range(2):
                key = jax.random.fold_in(jax.random.fold_in(KEY, i), s)
                row_key, position_key, noise_key = jax.random.split(key, 3)
                starts[s, i] = BACKGROUND[jax.random.randint(row_key, (), 0, 4)]
                positions[s, i] = jax.random.uniform(position_key)
                noise[s, i] = 0.5 * jax.random.normal(noise_key, (3,))
        np.testing.assert_allclose(draw(), given(starts, positions), rtol=1e-4)
        noisy = draw(attributions.gradient_shap, sigma=0.5)
        np.testing.assert_allclose(noisy, given(starts, positions, noise), rtol=1e-4)

    def test_they_are_unbiased_feature_by_feature(self):
        # 1/N Σ_n w_i (x_i³ − b_ni³), the mean of integrated gradients in closed form.
        expected = KERNEL.T[TARGETS] * (INPUTS**3 - np.mean(BACKGROUND**3, axis=0))
        keys = jax.random.split(KEY, 4096)
        maps = jax.jit(jax.vmap(lambda key: draw(key=key, num_samples=1)))(keys)
        error = np.std(maps, axis=0) / 64
        self.assertTrue(np.all(np.abs(np.mean(maps, axis=0) - expected) < 4 * error))
        self.assertTrue(np.all(error < 0.1 * np.std(maps)))

    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_the_target_is_the_score_above_the_mean_of_the_background(self):
        run = self.variant(
            lambda x: attributions.expected_target(
                functools.partial(cubic, KERNEL), x, TARGETS,
                background=BACKGROUND, score_fn=score_fn,
            )
        )  # fmt: skip
        change = INPUTS**3 - np.mean(BACKGROUND**3, axis=0)
        expected = np.sum(KERNEL.T[TARGETS] * change, axis=1)
        np.testing.assert_allclose(run(INPUTS), expected, rtol=1e-4)

    def test_an_affine_function_and_one_baseline_have_no_noise(self):
        maps = attributions.expected_gradients(
            lambda x: x @ KERNEL + 5.0, INPUTS, TARGETS,
            key=KEY, background=BACKGROUND[:1], num_samples=1, score_fn=score_fn,
        )  # fmt: skip
        expected = KERNEL.T[TARGETS] * (INPUTS - BACKGROUND[0])
        np.testing.assert_allclose(maps, expected, rtol=1e-5)

    def test_without_noise_gradient_shap_is_the_same_bit_for_bit(self):
        actual = draw(attributions.gradient_shap, sigma=0.0)
        np.testing.assert_array_equal(actual, draw())
        traced = jax.jit(lambda s: draw(attributions.gradient_shap, sigma=s))(0.5)
        fixed = draw(attributions.gradient_shap, sigma=0.5)
        np.testing.assert_allclose(traced, fixed, rtol=1e-5)

    def test_examples_have_their_own_draws_whatever_their_batch(self):
        keys = ops.example_keys(KEY, 2)
        together = draw(key=keys)
        np.testing.assert_array_equal(together, draw())
        for i in range(2):
            alone = attributions.expected_gradients(
                functools.partial(cubic, KERNEL), INPUTS[i : i + 1], TARGETS[i : i + 1],
                key=keys[i : i + 1], background=BACKGROUND, num_samples=2,
                score_fn=score_fn,
            )  # fmt: skip
            np.testing.assert_allclose(together[i : i + 1], alone, rtol=1e-5)

    @unittest.skipIf(jax.__version_info__ < (0, 12), "XLA dropped barriers too early")
    def test_memory_does_not_grow_with_the_samples(self):
        kernel = jnp.ones((5, 256))

        def temporary_bytes(num_samples):
            run = lambda inputs: attributions.expected_gradients(
                lambda x: jax.nn.softplus(x @ kernel) @ kernel.T, inputs,
                jnp.zeros(64, int), key=KEY, background=jnp.ones((3, 5)),
                num_samples=num_samples, score_fn=score_fn,
            )  # fmt: skip
            compiled = jax.jit(run).lower(jnp.ones((64, 5))).compile()
            return compiled.memory_analysis().temp_size_in_bytes

        self.assertLess(temporary_bytes(8), 1.5 * temporary_bytes(2))

    def test_values_out_of_range_are_refused(self):
        for wrong in (BACKGROUND[:0], BACKGROUND[:, :2], BACKGROUND[0]):
            with pytest.raises(ValueError, match=r"`background` .* one or more exam"):
                draw(background=wrong)
        with pytest.raises(ValueError, match=r"`num_samples` \(=0\) must be at least"):
            draw(num_samples=0)
        with pytest.raises(ValueError, match=r"`sigma` \(=-1.0\) must be at least 0"):
            draw(attributions.gradient_shap, sigma=-1.0)


def test_derivatives_in_parameters_inputs_and_background_are_right(x64):
    del x64
    wide = [array.astype(np.float64) for array in (KERNEL, INPUTS, BACKGROUND)]

    @jax.jit
    def maps(kernel, inputs, background):
        return draw(
            attributions.gradient_shap,
            inputs, kernel=kernel, background=background, sigma=0.5,
        )  # fmt: skip

    jax.test_util.check_grads(maps, wide, order=2, modes=["rev"])


def test_they_keep_what_every_explainer_promises():
    """With keys that belong to their examples, as the check takes them one by one."""

    def explain(predict_fn, inputs, targets):
        first = inputs.reshape(len(inputs), -1)[:, 0].astype(jnp.float32)
        own = jax.lax.bitcast_convert_type(first, jnp.uint32)
        return attributions.gradient_shap(
            predict_fn, inputs, targets,
            key=jax.vmap(functools.partial(jax.random.fold_in, KEY))(own),
            background=jnp.stack([jnp.zeros((6, 6, 2)), jnp.ones((6, 6, 2))]),
            sigma=0.1, num_samples=2, score_fn=attributions.target_log_probability,
        )  # fmt: skip

    testing.check_explainer(explain)
