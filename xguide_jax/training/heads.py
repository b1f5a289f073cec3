"""What a head is trained by and what counts as right: softmax and sigmoid.

Which of the two a network has is said by the function that is passed, never guessed.
"""

import chex
import jax.numpy as jnp
import optax

from xguide_jax import ops
from xguide_jax.types import Array, Batch, ModelOutput, TaskLoss, TaskScore


def softmax_cross_entropy(output: ModelOutput, batch: Batch) -> Array:
    """Cross-entropy with integer labels, the default task loss.

    l_i = −log softmax(logits_i)[label_i], in nats, in float32 or wider.

    Args:
      output: logits float [B, C], C >= 2.
      batch: 'labels' int [B] in [0, C). A label out of range gives NaN here, which
        the step skips: check labels on the host with `data.validate_batch`.

    Returns:
      float [B].

    Raises:
      ValueError: for one logit or multi-hot labels, naming `sigmoid_cross_entropy`.
    """
    logits, labels = output.logits, batch["labels"]
    _check_softmax(
        logits, labels,
        "softmax_cross_entropy", "task_loss=training.sigmoid_cross_entropy",
    )  # fmt: skip
    # A negative label would count from the last class; out of range it is NaN.
    labels = jnp.where(labels < 0, logits.shape[-1], labels)
    return optax.softmax_cross_entropy_with_integer_labels(
        ops.at_least_float32(logits), labels
    )


def score_of(task_loss: TaskLoss) -> TaskScore | None:
    """The score of which a task loss is minus the value at the label, where known.

    Args:
      task_loss: (output, batch) -> [B].

    Returns:
      its name, 'log_probability' for `softmax_cross_entropy`; None for any other loss,
      of which nobody knows what its gradient explains.
    """
    return "log_probability" if task_loss is softmax_cross_entropy else None


def sigmoid_cross_entropy(output: ModelOutput, batch: Batch) -> Array:
    """Binary cross-entropy of one logit, or its mean over the classes of many.

    l_i = −(1 / C) Σ_c y_c log σ(z_c) + (1 − y_c) log(1 − σ(z_c)), in nats, in float32
    or wider. The mean over classes is the usual multi-label loss.

    Args:
      output: logits float [B, C], C >= 1.
      batch: 'labels', bool, int or float in [0, 1]: multi-hot [B, C], or [B] where
        there is one logit. A label out of range gives NaN, which the step skips.

    Returns:
      float [B].

    Raises:
      ValueError: if the labels are neither.
    """
    logits = ops.at_least_float32(output.logits)
    labels = _multi_hot("sigmoid_cross_entropy", logits, batch["labels"])
    labels = labels.astype(logits.dtype)
    losses = optax.sigmoid_binary_cross_entropy(logits, labels)
    in_range = (labels >= 0) & (labels <= 1)
    return jnp.mean(jnp.where(in_range, losses, jnp.nan), axis=-1)


def softmax_correct(logits: Array, labels: Array) -> Array:
    """1 where the largest logit is the label's, the default of `make_eval_step`.

    Args:
      logits: float [B, C], C >= 2.
      labels: int [B].

    Returns:
      float32 [B], 0 or 1; of equal logits the first counts.

    Raises:
      ValueError: for one logit or multi-hot labels, naming `sigmoid_correct`.
    """
    _check_softmax(
        logits, labels, "softmax_correct", "correct=training.sigmoid_correct"
    )
    return (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)


def sigmoid_correct(logits: Array, labels: Array) -> Array:
    """The share of an example's classes on whose right side of 1/2 it is.

    mean_c [z_c > 0] = y_c: binary accuracy, for many classes 1 minus the Hamming loss.
    (The share of examples of which *every* class is right is
    `lambda z, y: jnp.all((z > 0) == (y > 0), axis=-1)`.) A logit of 0 predicts 0.

    Args:
      logits: float [B, C], C >= 1.
      labels: 0 or 1: multi-hot [B, C], or [B] where there is one logit. Any other
        value is never right.

    Returns:
      float32 [B] in [0, 1].

    Raises:
      ValueError: if the labels are neither.
    """
    labels = _multi_hot("sigmoid_correct", logits, labels).astype(jnp.float32)
    predicted = (logits > 0).astype(jnp.float32)
    return jnp.mean((predicted == labels).astype(jnp.float32), axis=-1)


def _check_softmax(logits: Array, labels: Array, name: str, sibling: str) -> None:
    chex.assert_rank(logits, 2)
    if logits.shape[-1] == 1:
        raise ValueError(
            f"`{name}` needs at least two logits, got {logits.shape}: the softmax of "
            f"one number is always 1. For a sigmoid head pass {sibling}."
        )
    if labels.ndim != 1:
        raise ValueError(
            f"`{name}` needs one class an example, got labels of shape {labels.shape}. "
            f"For multi-hot labels pass {sibling}."
        )


def _multi_hot(name: str, logits: Array, labels: Array) -> Array:
    chex.assert_rank(logits, 2)
    if labels.ndim == 1 and logits.shape[-1] == 1:
        labels = labels[:, None]
    if labels.shape != logits.shape:
        raise ValueError(
            f"`{name}` needs multi-hot labels of the shape of the logits "
            f"{logits.shape}, or [B] for one logit; got {labels.shape}."
        )
    return labels
