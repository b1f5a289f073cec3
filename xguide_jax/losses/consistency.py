"""Losses that compare two predictions of one network.

`p` is the prediction on the full input and the reference; `q` the one on an input of
which a part was replaced.
"""

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.types import Array


def kl_consistency(logits: Array, masked_logits: Array) -> Array:
    """Divergence of the prediction on a masked input from the one on the full input.

    KL(p || q) = Σ_c p_c (log p_c − log q_c), p = softmax(logits), q =
    softmax(masked_logits), in float32 or wider. Gradients flow into both arguments;
    hold `logits` constant for a fixed teacher.

    Args:
      logits: float [B, C], unnormalised, for the full inputs (the reference p).
      masked_logits: float [B, C], unnormalised, for the masked inputs (q).

    Returns:
      float [B], in nats, at least 0; 0 when both predict the same distribution.

    Raises:
      AssertionError: if the shapes differ or are not rank 2.

    Source: Ismail, Corrada Bravo, Feizi, "Improving Deep Learning Interpretability by
      Saliency Guided Training", NeurIPS 2021, Algorithm 1 as on the authors' poster
      (the full input is the reference); the paper's text was not available to check.
    """
    chex.assert_rank([logits, masked_logits], 2)
    chex.assert_equal_shape([logits, masked_logits])
    log_p = jax.nn.log_softmax(ops.at_least_float32(logits))
    log_q = jax.nn.log_softmax(ops.at_least_float32(masked_logits))
    # A probability that underflows to 0 beside a log of -inf contributes 0, not NaN.
    p = jnp.exp(log_p)
    difference = jnp.where(p > 0, log_p - log_q, 0.0)
    return jnp.sum(p * difference, axis=-1)
