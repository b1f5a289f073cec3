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
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
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


@pytest.mark.parametrize("score_fn", ALL)
def test_second_derivatives_are_right(x64, score_fn):
    del x64
    logits = np.random.default_rng(0).normal(size=(2, 3))
    jax.test_util.check_grads(
        lambda s: score_fn(s, TARGETS), (logits,), order=2, modes=["rev"]
    )


def gradient_of(score_fn):
    return jax.grad(lambda logits, targets: jnp.sum(score_fn(logits, targets)))
