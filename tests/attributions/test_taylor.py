"""Tests of first-order Taylor attributions."""

import functools

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from xguide_jax import attributions, testing

score_fn = attributions.target_logit
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(3, 4)).astype(np.float32)
BASELINES = RNG.normal(size=(3, 4)).astype(np.float32)
TARGETS = np.array([0, 1, 1])
KERNEL = RNG.normal(size=(4, 2)).astype(np.float32)


def predict(kernel, inputs):
    return jnp.tanh(inputs @ kernel) + inputs @ kernel


network = functools.partial(predict, KERNEL)


def explain(function=network, inputs=INPUTS, **settings):
    return attributions.taylor(
        function, inputs, TARGETS[: len(inputs)], score_fn=score_fn, **settings
    )


class TaylorTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_cubic_by_hand_at_both_ends(self):
        # f = x³ at x = 3, b = 1: (3 − 1) 3 x² = 54, (3 − 1) 3 b² = 6; it rose by 26.
        cubic = lambda x: jnp.concatenate([x**3, -(x**3)], axis=-1)
        for at, expected in (("input", 54), ("baseline", 6)):
            run = self.variant(
                functools.partial(explain, cubic, at=at, baselines=np.float32(1))
            )
            np.testing.assert_allclose(run(jnp.full((1, 1), 3.0)), [[expected]])

    def test_gradient_times_input_is_the_case_of_a_zero_baseline_bit_for_bit(self):
        product = attributions.gradient_x_input(
            network, INPUTS, TARGETS, score_fn=score_fn
        )
        np.testing.assert_array_equal(explain(at="input", baselines=0.0), product)
        self.assertGreater(
            np.max(np.abs(explain(at="baseline", baselines=0.0) - product)), 0.1
        )

    def test_an_affine_function_is_complete_at_both_ends(self):
        function = lambda x: x @ KERNEL + 3.0
        target = attributions.attribution_target(
            function, INPUTS, TARGETS, baselines=BASELINES, score_fn=score_fn
        )
        for at in ("input", "baseline"):
            maps = explain(function, at=at, baselines=BASELINES)
            np.testing.assert_allclose(maps.sum(axis=1), target, rtol=1e-4)

    def test_both_ends_together_bracket_the_integral_of_a_quadratic(self):
        function = lambda x: jnp.square(x) @ KERNEL
        ends = [
            explain(function, at=at, baselines=BASELINES)
            for at in ("input", "baseline")
        ]
        path = attributions.integrated_gradients(
            function, INPUTS, TARGETS,
            baselines=BASELINES, num_points=1, score_fn=score_fn,
        )  # fmt: skip
        np.testing.assert_allclose((ends[0] + ends[1]) / 2, path, rtol=1e-4, atol=1e-5)

    def test_another_place_is_refused(self):
        with pytest.raises(ValueError, match=r"`at` \(='middle'\) must be 'input' or"):
            explain(at="middle", baselines=0.0)
        with pytest.raises(ValueError, match=r"`baselines` .* must broadcast"):
            explain(at="input", baselines=np.zeros(3))


def test_derivatives_in_parameters_inputs_and_baselines_are_right(x64):
    del x64
    wide = [array.astype(np.float64) for array in (KERNEL, INPUTS, BASELINES)]

    @jax.jit
    def both(kernel, inputs, baselines):
        function = functools.partial(predict, kernel)
        return [
            explain(function, inputs, at=at, baselines=baselines)
            for at in ("input", "baseline")
        ]

    jax.test_util.check_grads(both, wide, order=2, modes=["rev"])


def test_it_keeps_what_every_explainer_promises():
    testing.check_explainer(
        functools.partial(
            attributions.taylor,
            at="baseline", baselines=0.3, score_fn=attributions.target_log_probability,
        )
    )  # fmt: skip
