"""KL consistency: its value, its laws, its gradients."""

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

    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    @parameterized.product(shift=[0.0, 5.0, -1e3], num_classes=[2, 10])
    def test_zero_for_logits_equal_up_to_a_shift(self, shift, num_classes):
        logits = jax.random.normal(jax.random.key(0), (4, num_classes))
        divergence = self.variant(losses.kl_consistency)(logits, logits + shift)
        np.testing.assert_allclose(divergence, np.zeros(4), atol=1e-4)

    def test_never_negative(self):
        logits, masked_logits = 3 * jax.random.normal(jax.random.key(0), (2, 500, 4))
        self.assertGreater(losses.kl_consistency(logits, masked_logits).min(), 0)

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
