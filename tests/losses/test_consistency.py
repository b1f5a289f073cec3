"""Consistency of two predictions: values, laws and gradients, a head at a time."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from jax.test_util import check_grads

from xguide_jax import losses


class KlConsistencyTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_matches_hand_computed_value(self):
        # p = (1/2, 1/2), q = (4/5, 1/5):
        # KL = 1/2 ln(5/8) + 1/2 ln(5/2) = 1/2 ln(25/16) = ln(5/4).
        logits = jnp.zeros((1, 2))
        masked_logits = jnp.log(jnp.array([[4.0, 1.0]]))
        divergence = self.variant(losses.kl_consistency)(logits, masked_logits)
        np.testing.assert_allclose(divergence, [np.log(1.25)], rtol=1e-6)

    def test_the_full_input_is_the_reference(self):
        # KL(q || p) = 4/5 ln(8/5) + 1/5 ln(2/5), another number.
        swapped = losses.kl_consistency(
            jnp.log(jnp.array([[4.0, 1.0]])), jnp.zeros((1, 2))
        )
        expected = 0.8 * np.log(1.6) + 0.2 * np.log(0.4)
        np.testing.assert_allclose(swapped, [expected], rtol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.product(shift=[0.0, 5.0, -1e3], num_classes=[2, 10])
    def test_zero_for_logits_equal_up_to_a_shift(self, shift, num_classes):
        logits = jax.random.normal(jax.random.key(0), (4, num_classes))
        divergence = self.variant(losses.kl_consistency)(logits, logits + shift)
        np.testing.assert_allclose(divergence, np.zeros(4), atol=1e-4)

    def test_never_negative(self):
        logits, masked_logits = 3 * jax.random.normal(jax.random.key(0), (2, 500, 4))
        self.assertGreater(losses.kl_consistency(logits, masked_logits).min(), 0)

    @chex.variants(with_jit=True, without_jit=True)
    def test_nearly_equal_predictions_are_not_below_zero(self):
        # Divergences near 5e-9 beside a rounding of 1e-7: half of the sums were below.
        logits, change = jax.random.normal(jax.random.key(0), (2, 2000, 10))
        divergence = self.variant(losses.kl_consistency)(
            3 * logits, 3 * logits + 1e-4 * change
        )
        self.assertGreaterEqual(divergence.min(), 0)
        self.assertLess(divergence.max(), 1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_a_prediction_diverges_from_itself_by_exactly_zero(self):
        logits = 30 * jax.random.normal(jax.random.key(0), (500, 10))
        divergence = self.variant(losses.kl_consistency)(logits, logits)
        np.testing.assert_array_equal(divergence, np.zeros(500))

    def test_what_is_rounded_up_to_zero_keeps_its_gradient(self):
        # d/d masked_logits = q - p, near 1e-5, whether the sum came out above 0 or not.
        logits, change = jax.random.normal(jax.random.key(0), (2, 500, 10))
        masked_logits = logits + 1e-4 * change
        total = lambda masked: jnp.sum(losses.kl_consistency(logits, masked))
        gradient = jax.grad(total)(masked_logits)
        expected = jax.nn.softmax(masked_logits) - jax.nn.softmax(logits)
        np.testing.assert_allclose(gradient, expected, atol=2e-7)
        self.assertGreater(np.abs(gradient).max(axis=1).min(), 1e-6)

    def test_a_class_that_is_excluded_counts_nothing(self):
        # A logit of -inf: p = (0, 1/2, 1/2), q = (1/2, 1/4, 1/4), so KL = ln 2.
        logits = jnp.array([[-jnp.inf, 0.0, 0.0]])
        masked_logits = jnp.log(jnp.array([[2.0, 1.0, 1.0]]))
        total = lambda a, b: jnp.sum(losses.kl_consistency(a, b))
        value, gradients = jax.value_and_grad(total, (0, 1))(logits, masked_logits)
        np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
        np.testing.assert_allclose(gradients[0], [[0, 0, 0]], atol=1e-6)
        np.testing.assert_allclose(gradients[1], [[0.5, -0.25, -0.25]], rtol=1e-5)
        # Excluded by both it counts nothing either, and by q alone it is infinite.
        self.assertEqual(losses.kl_consistency(logits, logits), 0)
        self.assertEqual(losses.kl_consistency(masked_logits, logits), jnp.inf)

    @chex.variants(with_jit=True, without_jit=True)
    def test_the_softmax_of_one_logit_is_refused(self):
        message = r"`logits` \(of shape \(4, 1\)\).*`losses.bernoulli_consistency`"
        with pytest.raises(ValueError, match=message):
            self.variant(losses.kl_consistency)(jnp.ones((4, 1)), jnp.zeros((4, 1)))

    def test_cross_entropy_minus_entropy(self):
        logits, masked_logits = jax.random.normal(jax.random.key(0), (2, 6, 4))
        p = jax.nn.softmax(logits)
        cross = -jnp.sum(p * jax.nn.log_softmax(masked_logits), axis=-1)
        entropy = -jnp.sum(p * jnp.log(p), axis=-1)
        divergence = losses.kl_consistency(logits, masked_logits)
        np.testing.assert_allclose(divergence, cross - entropy, rtol=2e-5)

    def test_computed_in_float32_under_bfloat16(self):
        logits, masked_logits = jax.random.normal(jax.random.key(0), (2, 6, 4))
        low = [x.astype(jnp.bfloat16) for x in (logits, masked_logits)]
        divergence = losses.kl_consistency(*low)
        self.assertEqual(divergence.dtype, jnp.float32)
        high = losses.kl_consistency(*[x.astype(jnp.float32) for x in low])
        np.testing.assert_array_equal(divergence, high)

    def test_errors(self):
        with pytest.raises(AssertionError, match="rank"):
            losses.kl_consistency(jnp.zeros(3), jnp.zeros(3))
        with pytest.raises(AssertionError, match="shape"):
            losses.kl_consistency(jnp.zeros((1, 3)), jnp.zeros((2, 3)))


def test_gradients_match_finite_differences(x64):
    logits, masked_logits = jax.random.normal(jax.random.key(1), (2, 3, 5))
    check_grads(losses.kl_consistency, (logits, masked_logits), order=2, modes=["rev"])


def test_closed_form_gradients(x64):
    # d/d masked_logits = q - p; d/d logits = p * (log p - log q - KL).
    logits, masked_logits = jax.random.normal(jax.random.key(1), (2, 3, 5))
    total = lambda a, b: jnp.sum(losses.kl_consistency(a, b))
    d_logits, d_masked = jax.grad(total, argnums=(0, 1))(logits, masked_logits)
    log_p, log_q = jax.nn.log_softmax(logits), jax.nn.log_softmax(masked_logits)
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    divergence = losses.kl_consistency(logits, masked_logits)[:, None]
    np.testing.assert_allclose(d_masked, q - p, atol=1e-12)
    np.testing.assert_allclose(d_logits, p * (log_p - log_q - divergence), atol=1e-12)


def test_saturated_predictions_have_finite_gradients():
    # p underflows to exactly (1, 0) and q to (0, 1).
    logits, masked_logits = jnp.array([[200.0, 0.0]]), jnp.array([[0.0, 200.0]])
    total = lambda a, b: jnp.sum(losses.kl_consistency(a, b))
    value, gradients = jax.value_and_grad(total, argnums=(0, 1))(logits, masked_logits)
    np.testing.assert_allclose(value, 200.0)
    chex.assert_tree_all_finite(gradients)


class BernoulliConsistencyTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_is_the_sum_over_the_classes_computed_by_hand(self):
        # p = (1/2, 1/5), q = (4/5, 1/2): KL = ln(5/4) for the first, as with
        # two classes, and 1/5 ln(2/5) + 4/5 ln(8/5) for the second.
        logits = jnp.log(jnp.array([[1.0, 1 / 4]]))
        masked_logits = jnp.log(jnp.array([[4.0, 1.0]]))
        divergence = self.variant(losses.bernoulli_consistency)(logits, masked_logits)
        expected = np.log(1.25) + 0.2 * np.log(0.4) + 0.8 * np.log(1.6)
        np.testing.assert_allclose(divergence, [expected], rtol=1e-6)

    def test_sees_that_all_answers_flip(self):
        # A multi-label head whose logits all fall by 10: a softmax sees nothing.
        before, after = jnp.array([[5.0, 5.0, -5.0]]), jnp.array([[-5.0, -5.0, -15.0]])
        p, q = (1 / (1 + np.exp(-np.asarray(z, np.float64))) for z in (before, after))
        expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum()
        self.assertAlmostEqual(expected, 9.926, places=3)
        divergence = losses.bernoulli_consistency(before, after)
        np.testing.assert_allclose(divergence, [expected], rtol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_is_exactly_zero_for_equal_logits_of_any_size(self):
        logits = jnp.array([[0.0], [3.0], [-80.0], [1e4], [-1e30], [jnp.inf]])
        divergence = self.variant(losses.bernoulli_consistency)(logits, logits)
        np.testing.assert_array_equal(divergence, np.zeros(6))

    @chex.variants(with_jit=True, without_jit=True)
    def test_is_never_below_zero(self):
        logits, change = jax.random.normal(jax.random.key(0), (2, 5000, 2))
        for size in (1e-5, 1e-3, 10.0):
            divergence = self.variant(losses.bernoulli_consistency)(
                3 * logits, 3 * logits + size * change
            )
            self.assertGreaterEqual(divergence.min(), 0)

    @parameterized.parameters(
        # p = 1 and q = sigmoid(-s) costs s nats, however large; p = 0 likewise.
        (1e4, -1e4, 1e4),
        (-1e4, 1e4, 1e4),
        # p = 1/2: -ln 2 - (ln q + ln(1 - q)) / 2 = s / 2 - ln 2.
        (0.0, 1e4, 5e3 - np.log(2)),
        # p = 1 excludes the other answer: -ln q = ln 2.
        (np.inf, 0.0, np.log(2)),
        (-np.inf, 0.0, np.log(2)),
        # What q excludes and p does not.
        (0.0, np.inf, np.inf),
    )
    def test_has_the_right_limits(self, logit, masked_logit, expected):
        as_logits = lambda value: jnp.array([[value]], jnp.float32)
        arguments = as_logits(logit), as_logits(masked_logit)
        divergence = losses.bernoulli_consistency(*arguments)
        np.testing.assert_allclose(divergence, [expected], rtol=1e-6)
        if np.isfinite(expected):
            total = lambda a, b: jnp.sum(losses.bernoulli_consistency(a, b))
            chex.assert_tree_all_finite(jax.grad(total, (0, 1))(*arguments))

    def test_is_computed_in_float32_under_bfloat16(self):
        logits, masked_logits = jax.random.normal(jax.random.key(0), (2, 6, 4))
        low = [x.astype(jnp.bfloat16) for x in (logits, masked_logits)]
        divergence = losses.bernoulli_consistency(*low)
        self.assertEqual(divergence.dtype, jnp.float32)
        high = losses.bernoulli_consistency(*[x.astype(jnp.float32) for x in low])
        np.testing.assert_array_equal(divergence, high)


class SquaredConsistencyTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_is_the_sum_of_squares_computed_by_hand(self):
        outputs, masked = jnp.array([[1.0, -2.0]]), jnp.array([[4.0, 2.0]])
        loss = self.variant(losses.squared_consistency)(outputs, masked)
        np.testing.assert_array_equal(loss, [25.0])

    def test_small_differences_survive_bfloat16(self):
        outputs = jnp.array([[1.0]], jnp.bfloat16)
        masked = jnp.array([[1.0 + 2**-7]], jnp.bfloat16)
        loss = losses.squared_consistency(outputs, masked)
        self.assertEqual(loss.dtype, jnp.float32)
        np.testing.assert_array_equal(loss, [2.0**-14])


SIBLINGS = (losses.bernoulli_consistency, losses.squared_consistency)


@pytest.mark.parametrize("loss_fn", SIBLINGS)
def test_arrays_of_the_wrong_shape_are_refused(loss_fn):
    with pytest.raises(AssertionError, match="rank"):
        loss_fn(jnp.zeros(3), jnp.zeros(3))
    with pytest.raises(AssertionError, match="shape"):
        loss_fn(jnp.zeros((1, 3)), jnp.zeros((2, 3)))


def test_one_sigmoid_is_the_softmax_of_zero_and_its_logit(x64):
    logits, masked_logits = 4 * jax.random.normal(jax.random.key(1), (2, 50, 1))
    two = lambda s: jnp.concatenate([jnp.zeros_like(s), s], axis=-1)
    np.testing.assert_allclose(
        losses.bernoulli_consistency(logits, masked_logits),
        losses.kl_consistency(two(logits), two(masked_logits)),
        rtol=1e-12,
        atol=1e-14,
    )


@pytest.mark.parametrize("loss_fn", SIBLINGS)
def test_gradients_of_the_siblings_match_finite_differences(x64, loss_fn):
    logits, masked_logits = jax.random.normal(jax.random.key(1), (2, 3, 2))
    check_grads(loss_fn, (logits, masked_logits), order=2, modes=["rev", "fwd"])


def test_the_gradient_at_a_masked_sigmoid_is_in_closed_form(x64):
    logits, masked_logits = jax.random.normal(jax.random.key(1), (2, 3, 2))
    total = lambda masked: jnp.sum(losses.bernoulli_consistency(logits, masked))
    expected = jax.nn.sigmoid(masked_logits) - jax.nn.sigmoid(logits)
    np.testing.assert_allclose(jax.grad(total)(masked_logits), expected, atol=1e-12)
