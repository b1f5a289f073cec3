"""Tests of the completeness gap and error."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions

# logits = (x_0 x_1, 0): at (2, 5) it is 10, at the baseline (1, 1) it is 1.
INPUTS = np.array([[2.0, 5.0], [1.0, 1.0]], np.float32)
TARGETS = np.array([0, 0])


def predict(inputs):
    score = inputs[:, 0] * inputs[:, 1]
    return jnp.stack([score, jnp.zeros_like(score)], axis=-1)


def measure(function, values, *, baselines=1.0):
    return function(
        predict,
        INPUTS,
        TARGETS,
        values,
        baselines=baselines,
        score_fn=attributions.target_logit,
    )


gap = functools.partial(measure, attributions.completeness_gap)
error = functools.partial(measure, attributions.completeness_error)


class CompletenessTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_gap_by_hand_is_positive_where_too_much_is_attributed(self):
        values = np.array([[8.0, 4.0], [-1.0, 0.5]], np.float32)
        # 8 + 4 − (10 − 1) = 3; −1 + 0.5 − (1 − 1) = −0.5
        np.testing.assert_allclose(self.variant(gap)(values), [3, -0.5])

    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_error_by_hand_is_a_fraction_and_nan_without_a_change(self):
        for sign in (1, -1):
            # |9 ± 3 − 9| / 9
            values = np.array([[9 + 3 * sign, 0.0], [-1.0, 0.5]], np.float32)
            np.testing.assert_allclose(self.variant(error)(values), [1 / 3, np.nan])

    def test_error_is_a_fraction_of_a_change_downwards_too(self):
        # From (10, 2), of score 20, down to 10: −10 in all, −5 attributed.
        values = np.array([[-5.0, 0.0], [0.0, 0.0]], np.float32)
        baselines = np.array([10.0, 2.0], np.float32)
        actual = error(values, baselines=baselines)
        np.testing.assert_allclose(actual, [0.5, 1.0])

    def test_the_baseline_travels_with_the_map(self):
        arguments = (predict, INPUTS, TARGETS)
        score_fn = attributions.target_logit
        values = attributions.integrated_gradients(
            *arguments, baselines=0.0, num_points=1, score_fn=score_fn
        )  # the midpoint rule is exact for a quadratic
        np.testing.assert_allclose(gap(values, baselines=0.0), [0, 0], atol=1e-6)
        # Against (1, 1) the target is smaller by f(1, 1) − f(0, 0) = 1.
        np.testing.assert_allclose(gap(values, baselines=1.0), [1, 1], atol=1e-6)

    def test_all_axes_but_the_first_are_added_up(self):
        values = jnp.ones((2, 3, 4, 1))
        np.testing.assert_allclose(gap(values), [12 - 9, 12 - 0])

    def test_bfloat16_attributions_are_added_up_in_float32(self):
        values = jnp.ones((2, 400), jnp.bfloat16)
        chex.assert_type(gap(values), jnp.float32)
        np.testing.assert_allclose(gap(values), [391, 400])

    def test_undefined_example_leaves_the_others_gradient_alone(self):
        values = np.array([[8.0, 4.0], [-1.0, 0.5]], np.float32)
        slope = jax.grad(lambda values: error(values)[0])(values)
        np.testing.assert_allclose(slope, [[1 / 9, 1 / 9], [0, 0]], rtol=1e-6)

    def test_mismatched_arguments_are_refused(self):
        for function in (gap, error):
            with pytest.raises(AssertionError, match="shape"):
                function(np.ones((3, 2), np.float32))
            with pytest.raises(ValueError, match=r"`baselines` .* must broadcast"):
                function(np.ones((2, 2), np.float32), baselines=np.zeros(3))
