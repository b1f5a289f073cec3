"""Tests of the score functions."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from xguide_jax import attributions

ALL = (
    attributions.target_logit,
    attributions.target_log_probability,
    attributions.target_probability,
    attributions.centred_logit,
    attributions.sum_log_probabilities,
)
PICKING = ALL[:4]

# softmax(log 1, log 2, log 5) = (1, 2, 5) / 8
LOGITS = np.log([[1.0, 2.0, 5.0], [1.0, 1.0, 2.0]]).astype(np.float32)
TARGETS = np.array([2, 0])


class ScoresTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_each_score_is_the_one_computed_by_hand(self):
        expected = {
            attributions.target_logit: [math.log(5), 0.0],
            attributions.target_log_probability: [math.log(5 / 8), math.log(1 / 4)],
            attributions.target_probability: [5 / 8, 1 / 4],
            # log 5 − log(1 · 2 · 5) / 3, 0 − log(1 · 1 · 2) / 3
            attributions.centred_logit: [
                math.log(5) - math.log(10) / 3,
                -math.log(2) / 3,
            ],
            # log(1/8 · 2/8 · 5/8), log(1/4 · 1/4 · 2/4)
            attributions.sum_log_probabilities: [math.log(10 / 512), math.log(2 / 64)],
        }
        for score_fn in ALL:
            score = self.variant(score_fn)(LOGITS, TARGETS)
            np.testing.assert_allclose(score, expected[score_fn], rtol=1e-5, atol=1e-7)

    def test_each_gradient_is_the_one_in_closed_form(self):
        p = jax.nn.softmax(LOGITS)
        onehot = np.eye(3, dtype=np.float32)[TARGETS]
        p_target = np.sum(p * onehot, axis=-1, keepdims=True)
        expected = {
            attributions.target_logit: onehot,
            attributions.target_log_probability: onehot - p,
            attributions.target_probability: p_target * (onehot - p),
            attributions.centred_logit: onehot - 1 / 3,
            attributions.sum_log_probabilities: 1 - 3 * p,
        }
        for score_fn in ALL:
            gradient = gradient_of(score_fn)(LOGITS, TARGETS)
            np.testing.assert_allclose(gradient, expected[score_fn], atol=1e-6)

    @parameterized.parameters(*ALL)
    def test_bfloat16_logits_are_scored_in_float32(self, score_fn):
        logits = jnp.asarray(LOGITS, jnp.bfloat16)
        score = score_fn(logits, TARGETS)
        chex.assert_type(score, jnp.float32)
        exact = score_fn(logits.astype(jnp.float32), TARGETS)
        np.testing.assert_array_equal(score, exact)

    @parameterized.parameters(*ALL[1:])
    def test_a_constant_added_to_all_logits_changes_nothing_but_the_logit(
        self, score_fn
    ):
        np.testing.assert_allclose(
            score_fn(LOGITS + 3, TARGETS), score_fn(LOGITS, TARGETS), rtol=1e-5
        )

    @parameterized.parameters(*PICKING)
    def test_a_target_out_of_range_gives_nan_in_its_row_only(self, score_fn):
        logits = np.tile(LOGITS[:1], (3, 1))
        targets = np.array([-1, 1, 3])
        for compiled in (score_fn, jax.jit(score_fn)):
            score = compiled(logits, targets)
            np.testing.assert_array_equal(np.isnan(score), [True, False, True])
            gradient = gradient_of(compiled)(logits, targets)
            rows = np.isnan(gradient).any(axis=-1)
            np.testing.assert_array_equal(rows, [True, False, True])

    def test_the_sum_over_classes_ignores_the_targets(self):
        np.testing.assert_array_equal(
            attributions.sum_log_probabilities(LOGITS, TARGETS),
            attributions.sum_log_probabilities(LOGITS, np.array([99, -5])),
        )

    @parameterized.parameters(*ALL)
    def test_saturated_logits_have_finite_scores_and_gradients(self, score_fn):
        logits = np.array([[1e4, -1e4, 0.0]], np.float32)
        targets = np.array([1])
        chex.assert_tree_all_finite(score_fn(logits, targets))
        chex.assert_tree_all_finite(gradient_of(score_fn)(logits, targets))

    @parameterized.parameters(*ALL)
    def test_logits_and_targets_of_the_wrong_kind_are_refused(self, score_fn):
        with pytest.raises(AssertionError, match=r"[Rr]ank"):
            score_fn(LOGITS[0], TARGETS)
        with pytest.raises(AssertionError, match="shape"):
            score_fn(LOGITS, np.array([0, 1, 2]))
        with pytest.raises(AssertionError, match="type"):
            score_fn(LOGITS, np.array([0.0, 1.0], np.float32))

    @parameterized.parameters(*ALL)
    def test_one_logit_is_refused_and_the_score_for_a_sigmoid_named(self, score_fn):
        sibling = {
            attributions.target_logit: "sigmoid_logit",
            attributions.centred_logit: "sigmoid_logit",
            attributions.target_log_probability: "sigmoid_log_probability",
            attributions.target_probability: "sigmoid_probability",
            attributions.sum_log_probabilities: "sigmoid_sum_log_probabilities",
        }[score_fn]
        message = (
            rf"`logits` \(of shape \(2, 1\)\) must have two.* `attributions\.{sibling}"
            r"`, for a regression `attributions\.regression_output`"
        )
        for compiled in (score_fn, jax.jit(score_fn)):
            with pytest.raises(ValueError, match=message):
                compiled(np.zeros((2, 1), np.float32), np.array([0, 0]))


# sigmoid(log 3, log 1, log 1/4) = (3/4, 1/2, 1/5)
ODDS = np.log([[3.0, 1.0, 0.25], [3.0, 1.0, 0.25]]).astype(np.float32)
ONE = np.log([[3.0], [3.0]]).astype(np.float32)
SIGMOID = (
    attributions.sigmoid_logit,
    attributions.sigmoid_log_probability,
    attributions.sigmoid_probability,
    attributions.sigmoid_sum_log_probabilities,
)
WITHOUT_SOFTMAX = (*SIGMOID, attributions.regression_output)


class SigmoidScoresTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_each_multi_label_score_is_the_one_computed_by_hand(self):
        expected = {
            attributions.sigmoid_logit: [math.log(1 / 4), math.log(3)],
            attributions.sigmoid_log_probability: [math.log(1 / 5), math.log(3 / 4)],
            attributions.sigmoid_probability: [1 / 5, 3 / 4],
            # 3/4 1/4, 1/2 1/2, 1/5 4/5
            attributions.sigmoid_sum_log_probabilities: [math.log(3 / 400)] * 2,
            attributions.regression_output: [math.log(1 / 4), math.log(3)],
        }
        for score_fn in WITHOUT_SOFTMAX:
            score = self.variant(score_fn)(ODDS, TARGETS)
            np.testing.assert_allclose(score, expected[score_fn], rtol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_one_logit_explains_the_complement_for_the_target_0(self):
        expected = {
            attributions.sigmoid_logit: [-math.log(3), math.log(3)],
            attributions.sigmoid_log_probability: [math.log(1 / 4), math.log(3 / 4)],
            attributions.sigmoid_probability: [1 / 4, 3 / 4],
            attributions.sigmoid_sum_log_probabilities: [math.log(3 / 16)] * 2,
        }
        for score_fn in SIGMOID:
            score = self.variant(score_fn)(ONE, np.array([0, 1]))
            np.testing.assert_allclose(score, expected[score_fn], rtol=1e-5)

    def test_each_gradient_is_the_one_in_closed_form(self):
        p = jax.nn.sigmoid(ODDS)
        onehot = np.eye(3, dtype=np.float32)[TARGETS]
        expected = {
            attributions.sigmoid_logit: onehot,
            attributions.sigmoid_log_probability: onehot * (1 - p),
            attributions.sigmoid_probability: onehot * p * (1 - p),
            attributions.sigmoid_sum_log_probabilities: 1 - 2 * p,
            attributions.regression_output: onehot,
        }
        for score_fn in WITHOUT_SOFTMAX:
            gradient = gradient_of(score_fn)(ODDS, TARGETS)
            np.testing.assert_allclose(gradient, expected[score_fn], atol=1e-6)

    def test_one_output_of_a_regression_needs_no_class(self):
        for targets in (np.array([1.5, -7.0], np.float32), np.array([9, -1])):
            score = attributions.regression_output(ONE, targets)
            np.testing.assert_array_equal(score, ONE[:, 0])
        with pytest.raises(AssertionError, match="type"):
            attributions.regression_output(ODDS, np.array([1.5, -7.0], np.float32))

    @parameterized.parameters(*WITHOUT_SOFTMAX)
    def test_bfloat16_logits_are_scored_in_float32(self, score_fn):
        logits = jnp.asarray(ODDS, jnp.bfloat16)
        score = score_fn(logits, TARGETS)
        chex.assert_type(score, jnp.float32)
        exact = score_fn(logits.astype(jnp.float32), TARGETS)
        np.testing.assert_array_equal(score, exact)

    @parameterized.parameters(*SIGMOID[:3])
    def test_a_target_out_of_range_gives_nan_in_its_row_only(self, score_fn):
        targets = np.array([-1, 1, 2])
        for compiled in (score_fn, jax.jit(score_fn)):
            logits = np.tile(ONE[:1], (3, 1))
            score = compiled(logits, targets)
            np.testing.assert_array_equal(np.isnan(score), [True, False, True])
            gradient = gradient_of(compiled)(logits, targets)
            np.testing.assert_array_equal(np.isnan(gradient[:, 0]), [True, False, True])

    @parameterized.product(score_fn=WITHOUT_SOFTMAX, size=[-1e4, 1e4])
    def test_saturated_logits_have_finite_scores_and_gradients(self, score_fn, size):
        logits = np.array([[size, 0.0], [size, size]], np.float32)
        for columns in (logits, logits[:, :1]):
            targets = np.array([0, 0])
            chex.assert_tree_all_finite(score_fn(columns, targets))
            chex.assert_tree_all_finite(gradient_of(score_fn)(columns, targets))

    @parameterized.parameters(*WITHOUT_SOFTMAX)
    def test_logits_and_targets_of_the_wrong_kind_are_refused(self, score_fn):
        with pytest.raises(AssertionError, match=r"[Rr]ank"):
            score_fn(ODDS[0], TARGETS)
        with pytest.raises(AssertionError, match="shape"):
            score_fn(ODDS, np.array([0, 1, 2]))


@pytest.mark.parametrize(
    ("sigmoid", "softmax"),
    [
        (attributions.sigmoid_log_probability, attributions.target_log_probability),
        (attributions.sigmoid_probability, attributions.target_probability),
        (
            attributions.sigmoid_sum_log_probabilities,
            attributions.sum_log_probabilities,
        ),
    ],
)
def test_one_sigmoid_is_the_softmax_of_zero_and_its_logit(x64, sigmoid, softmax):
    del x64
    s = 5 * np.random.default_rng(0).normal(size=(20, 1))
    targets = np.arange(20) % 2
    two = lambda s: jnp.concatenate([jnp.zeros_like(s), s], axis=-1)
    expected = lambda s, targets: softmax(two(s), targets)
    np.testing.assert_allclose(sigmoid(s, targets), expected(s, targets), rtol=1e-9)
    np.testing.assert_allclose(
        gradient_of(sigmoid)(s, targets), gradient_of(expected)(s, targets), rtol=1e-9
    )


@pytest.mark.parametrize("score_fn", WITHOUT_SOFTMAX)
def test_second_derivatives_without_a_softmax_are_right(x64, score_fn):
    del x64
    logits = np.random.default_rng(0).normal(size=(2, 3))
    for columns in (logits, logits[:, :1]):
        jax.test_util.check_grads(
            lambda s: score_fn(s, np.array([0, 0])), (columns,), order=2, modes=["rev"]
        )


@pytest.mark.parametrize("score_fn", ALL)
def test_second_derivatives_are_right(x64, score_fn):
    del x64
    logits = np.random.default_rng(0).normal(size=(2, 3))
    jax.test_util.check_grads(
        lambda s: score_fn(s, TARGETS), (logits,), order=2, modes=["rev"]
    )


def gradient_of(score_fn):
    return jax.grad(lambda logits, targets: jnp.sum(score_fn(logits, targets)))
