"""Score functions: the one number of each example that is explained.

A score function maps `logits` [B, C] and `targets` [B] to [B]. An explainer
differentiates the sum of the scores, so the choice decides the units of the map:
logits, nats or probability. Here `s` are the logits of an example, `p = softmax(s)` and
`y` its target. Everything is computed in float32 or wider.
"""

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.types import Array


def target_logit(logits: Array, targets: Array) -> Array:
    """The logit of the target class, s_y.

    Differentiable in `logits`; the other logits have no influence.

    Args:
      logits: float [B, C], unnormalised.
      targets: integer [B], in [0, C).

    Returns:
      float [B], unbounded; NaN, with a NaN gradient, where the target is out of range.
      JAX on its own would take the last class for -1 and clamp in a gradient.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
    """
    _assert_logits_and_targets(logits, targets)
    return _pick(ops.at_least_float32(logits), targets)


def centred_logit(logits: Array, targets: Array) -> Array:
    """The logit of the target class above the mean of all, s_y − (1 / C) Σ_c s_c.

    Adding a constant to all logits of an example changes neither a prediction nor a
    cross-entropy, but it changes the map of `target_logit`: a network that is trained
    on that map can hide evidence for a class as evidence against all others. Here such
    a constant has no influence. For two classes this is half of their difference.

    Args:
      logits: float [B, C], unnormalised.
      targets: integer [B], in [0, C).

    Returns:
      float [B], unbounded; NaN, with a NaN gradient, where the target is out of range.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.

    Source: ours.
    """
    _assert_logits_and_targets(logits, targets)
    logits = ops.at_least_float32(logits)
    return _pick(logits - jnp.mean(logits, axis=-1, keepdims=True), targets)


def target_log_probability(logits: Array, targets: Array) -> Array:
    """The log-probability of the target class, log p_y = s_y − log Σ_c exp(s_c).

    Its gradient with respect to `logits` is `onehot(y) − p`: it fades where the network
    is certain, and adding a constant to all logits changes nothing.

    Args:
      logits: float [B, C], unnormalised.
      targets: integer [B], in [0, C).

    Returns:
      float [B], in nats, at most 0; NaN, with a NaN gradient, where the target is out
      of range.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
    """
    _assert_logits_and_targets(logits, targets)
    return _pick(jax.nn.log_softmax(ops.at_least_float32(logits)), targets)


def target_probability(logits: Array, targets: Array) -> Array:
    """The probability of the target class, p_y = softmax(s)_y.

    Its gradient vanishes at both ends, p_y near 0 and near 1; maps made of it are all
    but blank for confident predictions.

    Args:
      logits: float [B, C], unnormalised.
      targets: integer [B], in [0, C).

    Returns:
      float [B], in [0, 1]; NaN, with a NaN gradient, where the target is out of range.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
    """
    _assert_logits_and_targets(logits, targets)
    return _pick(jax.nn.softmax(ops.at_least_float32(logits)), targets)


def sum_log_probabilities(logits: Array, targets: Array) -> Array:
    """The summed log-probabilities of all classes, Σ_c log p_c.

    Its gradient with respect to `logits` is `1 − C p`. The targets are ignored, so the
    explanation is of the prediction as a whole and needs no label.

    Args:
      logits: float [B, C], unnormalised.
      targets: integer [B], ignored.

    Returns:
      float [B], in nats, at most −C log C.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.

    Source: Ross, Hughes, Doshi-Velez, "Right for the Right Reasons", IJCAI 2017, the
      score inside the squared input gradient.
    """
    _assert_logits_and_targets(logits, targets)
    return jnp.sum(jax.nn.log_softmax(ops.at_least_float32(logits)), axis=-1)


def _assert_logits_and_targets(logits: Array, targets: Array) -> None:
    """Asserts float `logits` [B, C] beside integer `targets` [B]."""
    chex.assert_rank([logits, targets], [2, 1])
    chex.assert_equal_shape_prefix([logits, targets], 1)
    chex.assert_type([logits, targets], [float, int])


def _pick(values: Array, targets: Array) -> Array:
    """The entry `values[i, targets[i]]` of each row, NaN where there is none."""
    num_classes = values.shape[-1]
    known = (targets >= 0) & (targets < num_classes)
    index = jnp.clip(targets, 0, num_classes - 1)[:, None]
    picked = jnp.take_along_axis(values, index, axis=-1)[:, 0]
    # A factor, not a `where`: the gradient must become NaN too, not a plausible zero.
    return picked * jnp.where(known, 1.0, jnp.nan).astype(values.dtype)
