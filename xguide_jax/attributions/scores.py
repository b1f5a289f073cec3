"""Score functions: the one number of each example that is explained.

A score function maps `logits` [B, C] and `targets` [B] to [B]. An explainer
differentiates the sum of the scores, so the choice decides the units of the map:
logits, nats or probability. Here `s` are the logits of an example, `p = softmax(s)` and
`y` its target; for a sigmoid on each logit, σ(s_c) is the probability of class c.
Everything is computed in float32 or wider.

Which functions fit is a matter of the head. A softmax over C >= 2 classes: `target_*`,
`centred_logit`, `sum_log_probabilities`. A sigmoid for each class: `sigmoid_*`, where
one logit is a binary head with the targets 0 and 1, and more are a multi-label head
with the class that is explained for a target. Numbers: `regression_output`.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.types import Array


def target_logit(logits: Array, targets: Array) -> Array:
    """The logit of the target class, s_y.

    Differentiable in `logits`; the other logits have no influence.

    Args:
      logits: float [B, C], unnormalised; C >= 2.
      targets: integer [B], in [0, C).

    Returns:
      float [B], unbounded; NaN, with a NaN gradient, where the target is out of range.
      JAX on its own would take the last class for -1 and clamp in a gradient.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
      ValueError: for one logit, which is no softmax head.
    """
    _assert_softmax_head(logits, targets, sibling="sigmoid_logit")
    return _pick(ops.at_least_float32(logits), targets)


def centred_logit(logits: Array, targets: Array) -> Array:
    """The logit of the target class above the mean of all, s_y − (1 / C) Σ_c s_c.

    Adding a constant to all logits of an example changes neither a prediction nor a
    cross-entropy, but it changes the map of `target_logit`: a network that is trained
    on that map can hide evidence for a class as evidence against all others. Here such
    a constant has no influence. For two classes this is half of their difference.

    Args:
      logits: float [B, C], unnormalised; C >= 2.
      targets: integer [B], in [0, C).

    Returns:
      float [B], unbounded; NaN, with a NaN gradient, where the target is out of range.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
      ValueError: for one logit, which is no softmax head.

    Source: ours.
    """
    _assert_softmax_head(logits, targets, sibling="sigmoid_logit")
    logits = ops.at_least_float32(logits)
    return _pick(logits - jnp.mean(logits, axis=-1, keepdims=True), targets)


def target_log_probability(logits: Array, targets: Array) -> Array:
    """The log-probability of the target class, log p_y = s_y − log Σ_c exp(s_c).

    Its gradient with respect to `logits` is `onehot(y) − p`: it fades where the network
    is certain, and adding a constant to all logits changes nothing.

    Args:
      logits: float [B, C], unnormalised; C >= 2.
      targets: integer [B], in [0, C).

    Returns:
      float [B], in nats, at most 0; NaN, with a NaN gradient, where the target is out
      of range.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
      ValueError: for one logit, which is no softmax head.
    """
    _assert_softmax_head(logits, targets, sibling="sigmoid_log_probability")
    return _pick(jax.nn.log_softmax(ops.at_least_float32(logits)), targets)


def target_probability(logits: Array, targets: Array) -> Array:
    """The probability of the target class, p_y = softmax(s)_y.

    Its gradient vanishes at both ends, p_y near 0 and near 1; maps made of it are all
    but blank for confident predictions.

    Args:
      logits: float [B, C], unnormalised; C >= 2.
      targets: integer [B], in [0, C).

    Returns:
      float [B], in [0, 1]; NaN, with a NaN gradient, where the target is out of range.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
      ValueError: for one logit, which is no softmax head.
    """
    _assert_softmax_head(logits, targets, sibling="sigmoid_probability")
    return _pick(jax.nn.softmax(ops.at_least_float32(logits)), targets)


def sum_log_probabilities(logits: Array, targets: Array) -> Array:
    """The summed log-probabilities of all classes, Σ_c log p_c.

    Its gradient with respect to `logits` is `1 − C p`. The targets are ignored, so the
    explanation is of the prediction as a whole and needs no label.

    Args:
      logits: float [B, C], unnormalised; C >= 2.
      targets: integer [B], ignored.

    Returns:
      float [B], in nats, at most −C log C.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
      ValueError: for one logit, which is no softmax head.

    Source: Ross, Hughes, Doshi-Velez, "Right for the Right Reasons", IJCAI 2017, the
      score inside the squared input gradient.
    """
    _assert_softmax_head(logits, targets, sibling="sigmoid_sum_log_probabilities")
    return jnp.sum(jax.nn.log_softmax(ops.at_least_float32(logits)), axis=-1)


def sigmoid_logit(logits: Array, targets: Array) -> Array:
    """The logit of the target class of a sigmoid head, s_y.

    With one logit s for two classes it is s for the target 1 and −s for the target 0,
    so that a positive map speaks for the target in both. Differentiable in `logits`.

    Args:
      logits: float [B, C], unnormalised; C = 1 for a binary head.
      targets: integer [B], in [0, C), or in {0, 1} for a binary head.

    Returns:
      float [B], unbounded; NaN, with a NaN gradient, where the target is out of range.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
    """
    return _pick_sigmoid(lambda logits: logits, logits, targets)


def sigmoid_log_probability(logits: Array, targets: Array) -> Array:
    """The log-probability of the target class of a sigmoid head, log σ(s_y).

    With one logit s for two classes it is log σ(s) for the target 1 and log σ(−s) for
    the target 0: the `target_log_probability` of the two logits (0, s). Its gradient in
    the logit it explains is 1 − σ and fades where the network is certain.

    Args:
      logits: float [B, C], unnormalised; C = 1 for a binary head.
      targets: integer [B], in [0, C), or in {0, 1} for a binary head.

    Returns:
      float [B], in nats, at most 0; NaN, with a NaN gradient, where the target is out
      of range.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
    """
    return _pick_sigmoid(jax.nn.log_sigmoid, logits, targets)


def sigmoid_probability(logits: Array, targets: Array) -> Array:
    """The probability of the target class of a sigmoid head, σ(s_y).

    With one logit s for two classes it is σ(s) for the target 1 and σ(−s) for the
    target 0. Its gradient vanishes at both ends.

    Args:
      logits: float [B, C], unnormalised; C = 1 for a binary head.
      targets: integer [B], in [0, C), or in {0, 1} for a binary head.

    Returns:
      float [B], in [0, 1]; NaN, with a NaN gradient, where the target is out of range.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
    """
    return _pick_sigmoid(jax.nn.sigmoid, logits, targets)


def sigmoid_sum_log_probabilities(logits: Array, targets: Array) -> Array:
    """The summed log-probabilities of both answers of every class of a sigmoid head.

    Σ_c log σ(s_c) + log σ(−s_c), with the gradient 1 − 2 σ(s_c). The targets are
    ignored. With one logit s it is the `sum_log_probabilities` of the logits (0, s).

    Args:
      logits: float [B, C], unnormalised; C = 1 for a binary head.
      targets: integer [B], ignored.

    Returns:
      float [B], in nats, at most −C log 4.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.

    Source: ours; the counterpart of the score of Ross et al., IJCAI 2017.
    """
    _assert_logits_and_targets(logits, targets)
    logits = ops.at_least_float32(logits)
    both = jax.nn.log_sigmoid(logits) + jax.nn.log_sigmoid(-logits)
    return jnp.sum(both, axis=-1)


def regression_output(outputs: Array, targets: Array) -> Array:
    """The output of a regression that is explained, as it is.

    Differentiable in `outputs`; the other outputs have no influence.

    Args:
      outputs: float [B, C].
      targets: integer [B], which of the outputs is explained, in [0, C). With one
        output they are ignored, and may be the numbers that it is trained for.

    Returns:
      float [B], in units of the output; NaN, with a NaN gradient, where the target is
      out of range.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
    """
    if outputs.shape[1:] == (1,):
        chex.assert_rank(targets, 1)
        targets = jnp.zeros(targets.shape, jnp.int32)
    _assert_logits_and_targets(outputs, targets)
    return _pick(ops.at_least_float32(outputs), targets)


def _assert_softmax_head(logits: Array, targets: Array, *, sibling: str) -> None:
    """Asserts `logits` [B, C] of two classes or more beside `targets` [B]."""
    _assert_logits_and_targets(logits, targets)
    if logits.shape[-1] == 1:
        raise ValueError(
            f"`logits` (of shape {logits.shape}) must have two classes or more: the "
            "softmax of one is 1 whatever it is, and its maps are 0. For a sigmoid "
            f"take `attributions.{sibling}`, for a regression "
            "`attributions.regression_output`."
        )


def _assert_logits_and_targets(logits: Array, targets: Array) -> None:
    """Asserts float `logits` [B, C] beside integer `targets` [B]."""
    chex.assert_rank([logits, targets], [2, 1])
    chex.assert_equal_shape_prefix([logits, targets], 1)
    chex.assert_type([logits, targets], [float, int])


@jax.jit  # or ten small programs, each time a curve reads a prediction
def _pick(values: Array, targets: Array) -> Array:
    """The entry `values[i, targets[i]]` of each row, NaN where there is none."""
    num_classes = values.shape[-1]
    known = (targets >= 0) & (targets < num_classes)
    index = jnp.clip(targets, 0, num_classes - 1)[:, None]
    picked = jnp.take_along_axis(values, index, axis=-1)[:, 0]
    # A factor, not a `where`: the gradient must become NaN too, not a plausible zero.
    return picked * jnp.where(known, 1.0, jnp.nan).astype(values.dtype)


def _pick_sigmoid(
    link: Callable[[Array], Array], logits: Array, targets: Array
) -> Array:
    """`link` of each row's target logit; one logit s stands for the two (−s, s)."""
    _assert_logits_and_targets(logits, targets)
    logits = ops.at_least_float32(logits)
    if logits.shape[-1] == 1:
        logits = jnp.concatenate([-logits, logits], axis=-1)
    return _pick(link(logits), targets)
