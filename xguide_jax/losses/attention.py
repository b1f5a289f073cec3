"""Losses that compare attention weights with the tokens that a person marked.

`a` are the attention weights of one query, the class token as a rule, [B, heads, T], or
[B, T] of a layer without heads; any axes between B and T are heads. `d` is the target
[B, T], at least 0: the marks, divided by their sum. Where `where` is False there is
padding, which counts in no sum. Softmax weights belong here as they are before dropout:
after it rows do not add up to 1.
"""

import chex
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.ops import checking
from xguide_jax.types import Array


def attention_supervision(
    attention: Array, target: Array, *, where: Array | None = None
) -> Array:
    """Squared distance of attention weights to a target distribution.

    (1 / H) Σ_h Σ_i (a_hi − d_i)², in float32 or wider: a sum over the tokens and a mean
    over the heads. Gradients flow into both arguments, 2 (a − d) / H into the
    attention.

    The published objective adds λ times the *sum* of these over the examples of a batch
    to the mean cross-entropy. Of a mean over all B examples, 0 for those without a
    target counted in, the same weight is λ B; of a mean over N annotated ones, λ N.

    Args:
      attention: float [B, ..., T], [B, heads, T] or [B, T].
      target: float [B, T], at least 0; rows that add up to 1 as published.
      where: bool [B, T], the tokens that count; all if None.

    Returns:
      float [B], at least 0, at most 2 for two distributions; Σ a² where the target is
      empty.

    Raises:
      ValueError: if `target` is negative or not finite, where its values are known.
      AssertionError: if the shapes or dtypes differ from the above.

    Source: Stacey, Belinkov, Rei, "Supervising Model Attention with Human Explanations
      for Robust Natural Language Inference", AAAI 2022, by their code; the paper's text
      was not available to check.
    """
    attention, target, where = _paired(attention, target, where)
    squares = jnp.square(attention - target[:, None])
    if where is not None:
        squares = jnp.where(where[:, None], squares, 0.0)
    return jnp.mean(jnp.sum(squares, axis=-1), axis=-1)


def attention_divergence(
    attention: Array,
    target: Array,
    *,
    where: Array | None = None,
    epsilon: float = 0.0,
) -> Array:
    """Divergence of the heads' mean attention from a target distribution.

    KL(d || b) = Σ_i d_i (log d_i − log b_i), in float32 or wider. b is the mean over
    the heads, divided by its sum. d is the target divided by its sum, and with an
    `epsilon` above 0 that in place of its zeros, divided again. log b is at least −100.
    Gradients flow into both arguments; the one of a b_i = 0 is 0, as there the
    logarithm is cut off.

    Args:
      attention: float [B, ..., T], at least 0: [B, heads, T] or [B, T].
      target: float [B, T], at least 0.
      where: bool [B, T], the tokens that count; all if None.
      epsilon: at least 0; 1e-4 in the published code. With 0 only the marked tokens are
        looked at; above it, tokens nobody marked must not be ignored altogether.

    Returns:
      float [B] in nats, at least 0 up to rounding; 0, with zero gradient, for an empty
      target or where no token counts, of which the published code makes NaN.

    Raises:
      ValueError: if `epsilon` is negative or not finite; if `target` is, where its
        values are known.
      AssertionError: if the shapes or dtypes differ from the above.

    Source: the baseline after Pruthi et al. in the code of Stacey, Belinkov, Rei, AAAI
      2022; neither paper's text was available to check.
    """
    if not 0 <= epsilon < float("inf"):
        raise ValueError(f"`epsilon` (={epsilon}) must be finite and at least 0.")
    attention, target, where = _paired(attention, target, where)
    counted = jnp.ones(target.shape, bool) if where is None else where
    mean = _normalised(jnp.where(counted, jnp.mean(attention, axis=1), 0.0))
    target = _normalised(jnp.where(counted, target, 0.0))
    if epsilon > 0:
        marked = jnp.any(target > 0, axis=-1, keepdims=True)
        ignored = counted & marked & (target == 0)
        target = _normalised(jnp.where(ignored, epsilon, target))
    difference = ops.clamped_log(target) - ops.clamped_log(mean)
    return jnp.sum(target * difference, axis=-1)


def _normalised(values: Array) -> Array:
    """Rows that add up to 1, or hold zeros."""
    return ops.safe_divide(values, jnp.sum(values, axis=-1, keepdims=True))


def _paired(
    attention: Array, target: Array, where: Array | None
) -> tuple[Array, Array, Array | None]:
    """Attention [B, heads, T] and target [B, T], in one dtype of float32 or wider."""
    chex.assert_type(attention, float)
    chex.assert_rank(target, 2)
    chex.assert_axis_dimension_gt(attention, 1, 0)
    batch, tokens = target.shape
    chex.assert_shape(attention, (batch, ..., tokens))
    if where is not None:
        chex.assert_shape(where, target.shape)
        chex.assert_type(where, bool)
    checking.check_marks("target", target, where=where)
    attention = ops.at_least_float32(attention).reshape(batch, -1, tokens)
    return attention, ops.at_least_float32(target).astype(attention.dtype), where
