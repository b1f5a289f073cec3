"""Losses that compare two predictions of one network.

`p` is the prediction on the full input and the reference; `q` the one on an input of
which a part was replaced. Which one fits is a matter of the head: `kl_consistency` for
a softmax over the classes, `bernoulli_consistency` for a sigmoid for each,
`squared_consistency` for numbers that are the prediction.
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
      logits: float [B, C], unnormalised, for the full inputs (the reference p); C >= 2.
      masked_logits: float [B, C], unnormalised, for the masked inputs (q).

    Returns:
      float [B], in nats, at least 0; 0 when both predict the same distribution.

    Raises:
      AssertionError: if the shapes differ or are not rank 2.
      ValueError: for one logit, whose softmax is 1 whatever it is.

    Source: Ismail, Corrada Bravo, Feizi, "Improving Deep Learning Interpretability by
      Saliency Guided Training", NeurIPS 2021, Algorithm 1 as on the authors' poster
      (the full input is the reference); the paper's text was not available to check.
    """
    chex.assert_rank([logits, masked_logits], 2)
    chex.assert_equal_shape([logits, masked_logits])
    if logits.shape[-1] == 1:
        raise ValueError(
            f"`logits` (of shape {logits.shape}) must have two classes or more: the "
            "softmax of one is 1 whatever it is, and its divergence 0. For a sigmoid "
            "take `losses.bernoulli_consistency`, for a regression "
            "`losses.squared_consistency`."
        )
    return _divergence(
        jax.nn.log_softmax(ops.at_least_float32(logits)),
        jax.nn.log_softmax(ops.at_least_float32(masked_logits)),
    )


def bernoulli_consistency(logits: Array, masked_logits: Array) -> Array:
    """Divergence of the prediction on a masked input, for a sigmoid for each class.

    Σ_c p_c log(p_c / q_c) + (1 − p_c) log((1 − p_c) / (1 − q_c)), p =
    sigmoid(logits), q = sigmoid(masked_logits), in float32 or wider: the divergence of
    C independent answers, yes or no. Gradients flow into both arguments, d/d
    masked_logits = q − p; hold `logits` constant for a fixed teacher. With one logit s
    it is the `kl_consistency` of the two logits (0, s).

    Args:
      logits: float [B, C], unnormalised, for the full inputs (the reference p); C = 1
        for a binary head, more for a multi-label one.
      masked_logits: float [B, C], unnormalised, for the masked inputs (q).

    Returns:
      float [B], in nats, at least 0, summed over the classes; 0 when both predict the
      same probabilities. It grows like |s| where a certain answer flips, and is
      infinite only where q excludes what p does not.

    Raises:
      AssertionError: if the shapes differ or are not rank 2.

    Source: ours; the counterpart of `kl_consistency`.
    """
    chex.assert_rank([logits, masked_logits], 2)
    chex.assert_equal_shape([logits, masked_logits])
    by_class = _divergence(_log_yes_and_no(logits), _log_yes_and_no(masked_logits))
    return jnp.sum(by_class, axis=-1)


def squared_consistency(outputs: Array, masked_outputs: Array) -> Array:
    """Squared difference of the predictions of a regression.

    Σ_c (y_c − ỹ_c)², in float32 or wider: up to a factor 2 σ², the divergence of two
    normal distributions of variance σ². Gradients flow into both arguments, d/d
    masked_outputs = 2 (ỹ − y); hold `outputs` constant for a fixed teacher.

    Args:
      outputs: float [B, C], for the full inputs (y).
      masked_outputs: float [B, C], for the masked inputs (ỹ).

    Returns:
      float [B], at least 0, in squared units of the outputs, summed over them.

    Raises:
      AssertionError: if the shapes differ or are not rank 2.

    Source: ours; the counterpart of `kl_consistency`.
    """
    chex.assert_rank([outputs, masked_outputs], 2)
    chex.assert_equal_shape([outputs, masked_outputs])
    change = ops.at_least_float32(outputs) - ops.at_least_float32(masked_outputs)
    return jnp.sum(jnp.square(change), axis=-1)


def _log_yes_and_no(logits: Array) -> Array:
    """Both log-probabilities of each sigmoid, [..., 2]."""
    logits = ops.at_least_float32(logits)
    both = (jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits))
    return jnp.stack(both, axis=-1)


def _divergence(log_p: Array, log_q: Array) -> Array:
    """Σ p (log p − log q) over the last axis, at least 0."""
    # A probability that underflows to 0 beside a log of -inf contributes 0, not NaN.
    p = jnp.exp(log_p)
    difference = jnp.where(p > 0, log_p - log_q, 0.0)
    return _rounded_up_to_zero(jnp.sum(p * difference, axis=-1))


@jax.custom_jvp
def _rounded_up_to_zero(divergence: Array) -> Array:
    """What rounding put below 0 is 0; NaN stays.

    The derivative is 1 everywhere: a `maximum` would take the gradient q − p away from
    predictions that differ by less than their sum is exact to.
    """
    return jnp.where(divergence < 0, 0.0, divergence)


@_rounded_up_to_zero.defjvp
def _rounded_up_to_zero_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    return _rounded_up_to_zero(*primals), tangents[0]
