"""Scores of inputs of which a part is replaced by a baseline.

What occlusion, LIME and Shapley values share: many forwards of changed inputs, no
gradient of the network in them, and in the end one score of each.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.attributions import integrated
from xguide_jax.types import Array, PredictFn, ScoreFn


def checked_baselines(inputs: Array, targets: Array, baselines: Array | float) -> Array:
    """The baselines in the shape and dtype of inputs that can be perturbed.

    Args:
      inputs: float or integer [B, ...].
      targets: integer [B].
      baselines: broadcastable to the shape of `inputs`; integers if they are.

    Returns:
      Like `inputs`.

    Raises:
      AssertionError: if the batch sizes differ.
      ValueError: if the baselines do not broadcast to the inputs, are the inputs
        themselves, or are no integers beside integer inputs.
    """
    chex.assert_rank(targets, 1)
    chex.assert_equal_shape_prefix([inputs, targets], 1)
    if baselines is inputs:
        raise ValueError(
            "`baselines` must not be the inputs themselves: the map of an input that "
            "is its own baseline is 0 everywhere."
        )
    dtype = jnp.result_type(baselines)
    whole = not jnp.issubdtype(inputs.dtype, jnp.floating)
    if whole and jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"`baselines` ({dtype}) must be integers like the inputs ({inputs.dtype}), "
            "the id of a mask token for instance."
        )
    return integrated.broadcast_baselines(baselines, inputs)


def check_number(
    name: str, value: float | Array, is_good: Callable[[float], bool], rule: str
) -> None:
    """Refuses a number out of its range; one that is traced is not looked at.

    Args:
      name: of the argument.
      value: a number.
      is_good: whether it may be this one; NaN may not.
      rule: what it must do, for the message.

    Raises:
      ValueError: with the three.
    """
    if not isinstance(value, jax.core.Tracer) and not is_good(float(value)):
        raise ValueError(f"`{name}` (={value}) must {rule}.")


def score_at(
    predict_fn: PredictFn, inputs: Array, targets: Array, score_fn: ScoreFn
) -> Array:
    """The score of each example.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: [B, ...].
      targets: integer [B].
      score_fn: (logits, targets) -> [B].

    Returns:
      float [B], float32 or wider.

    Raises:
      AssertionError: if the score is not one number an example.
    """
    score = score_fn(predict_fn(inputs), targets)
    chex.assert_equal_shape([score, targets])
    return ops.at_least_float32(score)


def perturbed_scores(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    perturb: Callable[[Array, Array], Array],
    *,
    count: int,
    chunk_size: int | None,
    score_fn: ScoreFn,
) -> Array:
    """The scores of `count` perturbed copies of every example, chunk after chunk.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C]; sees the shape and dtype of the
        inputs only, more copies come by `vmap`.
      inputs: [B, ...].
      targets: integer [B].
      perturb: (inputs, number []) -> the copy of this number, like `inputs`.
      count: how many copies, at least 1; static.
      chunk_size: copies evaluated at once; None is 1.
      score_fn: (logits, targets) -> [B].

    Returns:
      float [count, B], float32 or wider.

    Raises:
      ValueError: if `chunk_size` is less than 1 or traced.
    """
    return ops.measure_copies(
        lambda values, number: score_at(
            predict_fn, perturb(values, number), targets, score_fn
        ),
        inputs,
        count=count,
        chunk_size=chunk_size,
    )
