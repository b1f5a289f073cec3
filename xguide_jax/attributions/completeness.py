"""How far attributions are from adding up to what they explain.

For attributions `A` with baseline `b` the attribution target is `f(x) − f(b)`. The
measure is necessary and not sufficient: the target spread evenly over all features has
no error at all. A baseline travels with its map; judged against another one a perfect
map looks wrong.
"""

import chex
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.attributions import integrated
from xguide_jax.types import Array, PredictFn, ScoreFn


def completeness_gap(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    attributions: Array,
    *,
    baselines: Array | float,
    score_fn: ScoreFn,
) -> Array:
    """What the attributions sum to beyond the score's change, with its sign.

    gap = Σ_i A_i − (f(x) − f(b)), positive for a map that attributes too much. Pass raw
    attributions: a ReLU, a rescaling or a resize destroys the sum. For a layer pass the
    head and the features of `layers.split_at`. For a whole data set, divide the sum of
    |gap| by the sum of |f(x) − f(b)|. Differentiable in everything.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      attributions: float [B, ...], summed over all axes but the first.
      baselines: float, broadcastable to the shape of `inputs`; those that the
        attributions were made with.
      score_fn: (logits, targets) -> [B]; that of the attributions.

    Returns:
      float [B], float32 or wider, in units of the score; 0 for a complete attribution.

    Raises:
      AssertionError: if the batch sizes differ.
      ValueError: if the baselines do not broadcast to the inputs.
    """
    change = _score_change(
        predict_fn, inputs, targets, baselines=baselines, score_fn=score_fn
    )
    return _total(attributions, change) - change


def completeness_error(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    attributions: Array,
    *,
    baselines: Array | float,
    score_fn: ScoreFn,
) -> Array:
    """The completeness gap as a fraction of the score's change.

    |Σ_i A_i − (f(x) − f(b))| / |f(x) − f(b)|. A small change makes it large with
    nothing wrong; for a data set prefer the ratio of sums given at `completeness_gap`.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      attributions: float [B, ...], summed over all axes but the first.
      baselines: float, broadcastable to the shape of `inputs`; those that the
        attributions were made with.
      score_fn: (logits, targets) -> [B]; that of the attributions.

    Returns:
      float [B], float32 or wider, at least 0; NaN where input and baseline have the
      same score, for then it is undefined.

    Raises:
      AssertionError: if the batch sizes differ.
      ValueError: if the baselines do not broadcast to the inputs.
    """
    change = _score_change(
        predict_fn, inputs, targets, baselines=baselines, score_fn=score_fn
    )
    defined = change != 0
    gap = _total(attributions, change) - change
    # A double `where`, as in `ops.safe_norm`: with one alone the gradient of a batch
    # that holds an undefined row would be NaN.
    ratio = jnp.abs(gap) / jnp.where(defined, jnp.abs(change), 1.0)
    return jnp.where(defined, ratio, jnp.nan)


def _score_change(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    baselines: Array | float,
    score_fn: ScoreFn,
) -> Array:
    """What is attributed, f(x) − f(b), [B], in float32 or wider."""
    chex.assert_equal_shape_prefix([inputs, targets], 1)
    baselines = integrated.broadcast_baselines(baselines, inputs)
    score = ops.at_least_float32(score_fn(predict_fn(inputs), targets))
    return score - ops.at_least_float32(score_fn(predict_fn(baselines), targets))


def _total(attributions: Array, change: Array) -> Array:
    """Each example's attributions added up, in the dtype of the change, [B]."""
    chex.assert_equal_shape_prefix([attributions, change], 1)
    values = attributions.reshape(attributions.shape[0], -1)
    return jnp.sum(values.astype(change.dtype), axis=-1)
