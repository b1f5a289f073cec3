"""Tests of attribution targets, of completeness, and of what keeps them together."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, evaluation

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
    @chex.variants(with_jit=True, without_jit=True)
    def test_gap_by_hand_is_positive_where_too_much_is_attributed(self):
        values = np.array([[8.0, 4.0], [-1.0, 0.5]], np.float32)
        # 8 + 4 − (10 − 1) = 3; −1 + 0.5 − (1 − 1) = −0.5
        np.testing.assert_allclose(self.variant(gap)(values), [3, -0.5])

    @chex.variants(with_jit=True, without_jit=True)
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


def target_of(baselines=1.0):
    return attributions.attribution_target(
        predict, INPUTS, TARGETS,
        baselines=baselines, score_fn=attributions.target_logit,
    )  # fmt: skip


class AttributionTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_target_and_error_by_hand(self):
        np.testing.assert_allclose(self.variant(target_of)(1.0 * jnp.ones(2)), [9, 0])
        values = np.array([[8.0, 4.0], [-1.0, 0.5]], np.float32)
        absolute, relative = self.variant(attributions.attribution_error)(
            values, np.array([9.0, 0.0], np.float32)
        )
        np.testing.assert_allclose(absolute, [3, 0.5])
        np.testing.assert_allclose(relative, [1 / 3, np.nan])

    def test_gap_and_error_rest_on_it_bit_for_bit(self):
        values = np.array([[0.3, 0.7], [-1.1, 0.4]], np.float32)
        absolute, relative = attributions.attribution_error(values, target_of())
        np.testing.assert_array_equal(absolute, np.abs(gap(values)))
        np.testing.assert_array_equal(relative, error(values))

    def test_the_error_of_a_whole_data_set_is_a_ratio_of_sums(self):
        values = np.array([[8.0, 4.0], [-1.0, 0.5]], np.float32)
        absolute, _ = attributions.attribution_error(values, target_of())
        whole = evaluation.completeness_of(gap(values), target_of())
        self.assertAlmostEqual(whole.error, float(absolute.sum() / 9))  # 3.5 / 9

    def test_a_map_keeps_its_target_its_residual_and_its_baseline(self):
        values = np.array([[8.0, 4.0], [-1.0, 0.5]], np.float32)
        made = attributions.attribution_of(
            predict, INPUTS, TARGETS, values,
            baselines=1.0, score_fn=attributions.target_logit, layer="features",
        )  # fmt: skip
        self.assertEqual(
            made._fields, ("values", "target", "residual", "baseline", "layer")
        )
        self.assertIs(made.values, values)
        np.testing.assert_allclose(made.target, [9, 0])
        np.testing.assert_allclose(made.residual, [-3, 0.5])  # 9 − 12, 0 − (−0.5)
        np.testing.assert_allclose(made.residual, -gap(values))
        np.testing.assert_allclose(made.baseline, np.ones((2, 2)))
        self.assertEqual(made.layer, "features")

    def test_a_map_of_the_input_is_a_tree_of_arrays(self):
        make = lambda values: attributions.attribution_of(
            predict, INPUTS, TARGETS, values,
            baselines=0.0, score_fn=attributions.target_logit,
        )  # fmt: skip
        made = jax.jit(make)(jnp.ones((2, 2)))
        self.assertIsNone(made.layer)
        np.testing.assert_allclose(made.residual, [8, -1])  # 10 − 2, 1 − 2

    def test_undefined_rows_leave_the_gradient_of_the_others_alone(self):
        def first(values):
            return attributions.attribution_error(values, target_of())[1][0]

        slope = jax.grad(first)(np.array([[8.0, 4.0], [-1.0, 0.5]], np.float32))
        np.testing.assert_allclose(slope, [[1 / 9, 1 / 9], [0, 0]], rtol=1e-6)

    def test_mismatched_batches_are_refused(self):
        with pytest.raises(AssertionError, match="shape"):
            attributions.attribution_error(np.ones((3, 2)), target_of())
        with pytest.raises(ValueError, match=r"`baselines` .* must broadcast"):
            target_of(np.zeros(3))
