"""First-order attributions: the gradient of a score at the input.

They explain `score_fn(predict_fn(inputs), targets)` one example at a time. Here `x` is
an input and `f(x)` its score. The same functions explain a layer: give them the head
and the features that `layers.split_at` returns.
"""

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.types import Array, PredictFn, ScoreFn


def input_gradient(
    predict_fn: PredictFn, inputs: Array, targets: Array, *, score_fn: ScoreFn
) -> Array:
    """Sensitivity of each example's score to its own input, g_i = ∂f(x) / ∂x_i.

    One gradient of the *sum* of the scores. It equals the gradients example by example
    as long as no example sees another one: a network with batch statistics belongs
    here in eval mode. Differentiable again, in the inputs and in the parameters that
    `predict_fn` closes over.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      score_fn: (logits, targets) -> [B]; see `scores`.

    Returns:
      Like `inputs`, also in dtype, signed, in units of score per unit of input.

    Raises:
      AssertionError: if the batch sizes differ, the inputs are not float or the score
        is not one number an example.
    """
    chex.assert_type(inputs, float)
    chex.assert_rank(targets, 1)
    chex.assert_equal_shape_prefix([inputs, targets], 1)

    def total_score(values: Array) -> Array:
        score = score_fn(predict_fn(values), targets)
        chex.assert_equal_shape([score, targets])
        return jnp.sum(score)

    return jax.grad(total_score)(inputs)


def gradient_x_input(
    predict_fn: PredictFn, inputs: Array, targets: Array, *, score_fn: ScoreFn
) -> Array:
    """Gradient times input, x_i ∂f(x) / ∂x_i.

    The first-order Taylor estimate of f(x) − f(0) taken at x: its implicit baseline is
    0, whatever 0 means in the units of the inputs, and its sum is exact only where f is
    affine between 0 and x. Differentiable again, through both factors.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      score_fn: (logits, targets) -> [B]; see `scores`.

    Returns:
      Shaped like `inputs`, float32 or wider, signed, in units of the score.

    Raises:
      AssertionError: as `input_gradient`.
    """
    gradient = input_gradient(predict_fn, inputs, targets, score_fn=score_fn)
    return ops.at_least_float32(inputs) * ops.at_least_float32(gradient)
