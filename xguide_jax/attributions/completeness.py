"""How far attributions are from adding up to what they explain.

For attributions `A` with baseline `b` the attribution target is `f(x) − f(b)`. The
measure is necessary and not sufficient: the target spread evenly over all features has
no error at all. A baseline travels with its map; judged against another one a perfect
map looks wrong. `Attribution` keeps the two together.
"""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.attributions import integrated
from xguide_jax.types import Array, PredictFn, ScoreFn


class Attribution(NamedTuple):
    """A map with what it should add up to, as reports and metrics read it.

    A pytree of arrays but for `layer`, a name, which cannot leave a `jit`.

    Attributes:
      values: float [B, ...], raw: signed, not rescaled, not resized.
      target: float [B], f(x) − f(b), what the values should add up to.
      residual: float [B], what they lack of it, target − Σ_i A_i; negative for a map
        that attributes too much.
      baseline: what the map is made against: like the inputs, or the features, or a
        background [N, ...] whose scores are averaged.
      layer: the activation that is explained; None for the input.
    """

    values: Array
    target: Array
    residual: Array
    baseline: Array
    layer: str | None = None


def attribution_of(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    attributions: Array,
    *,
    baselines: Array | float,
    score_fn: ScoreFn,
    layer: str | None = None,
) -> Attribution:
    """The attributions with their target, their residual and their baseline.

    For a method whose own baseline is implicit, such as the 0 of the class activation
    maps, it is made twice: with `baselines=0.0`, the method's own, and with the one
    that all methods are compared on.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      attributions: float [B, ...], raw; summed over all axes but the first.
      baselines: float, broadcastable to the shape of `inputs`; those that the
        attributions were made with.
      score_fn: (logits, targets) -> [B]; that of the attributions.
      layer: the name of the features that `inputs` are, None for the input.

    Returns:
      An `Attribution`; its baseline has the shape and the dtype of `inputs`.

    Raises:
      AssertionError: if the batch sizes differ.
      ValueError: if the baselines do not broadcast to the inputs.
    """
    target = attribution_target(
        predict_fn, inputs, targets, baselines=baselines, score_fn=score_fn
    )
    residual = target - _total(attributions, target)
    baseline = integrated.broadcast_baselines(baselines, inputs)
    return Attribution(attributions, target, residual, baseline, layer)


def attribution_target(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    baselines: Array | float,
    score_fn: ScoreFn,
) -> Array:
    """What attributions should add up to, the score's change f(x) − f(b).

    For a layer pass the head and the features of `layers.split_at`, and
    `layers.layer_baseline` for a target that is the same at every layer. The target of
    expected gradients is `expected_target`. Differentiable in everything.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      baselines: float, broadcastable to the shape of `inputs`.
      score_fn: (logits, targets) -> [B]; see `scores`.

    Returns:
      float [B], float32 or wider, in units of the score.

    Raises:
      AssertionError: if the batch sizes differ.
      ValueError: if the baselines do not broadcast to the inputs.
    """
    chex.assert_equal_shape_prefix([inputs, targets], 1)
    baselines = integrated.broadcast_baselines(baselines, inputs)
    score = ops.at_least_float32(score_fn(predict_fn(inputs), targets))
    return score - ops.at_least_float32(score_fn(predict_fn(baselines), targets))


def attribution_error(attributions: Array, target: Array) -> tuple[Array, Array]:
    """How far attributions are from their target, as it is and as a fraction of it.

    |Σ_i A_i − τ| and |Σ_i A_i − τ| / |τ|. A small target makes the second large with
    nothing wrong; for a whole data set report the ratio of sums, Σ_n |Σ_i A_ni − τ_n| /
    Σ_n |τ_n|, which `evaluation.completeness_of` computes. Pass raw attributions: a
    ReLU, a rescaling or a resize destroys the sum. Differentiable in both.

    Args:
      attributions: float [B, ...], summed over all axes but the first.
      target: float [B], of `attribution_target`.

    Returns:
      float [B], at least 0, in units of the score; float [B], at least 0, NaN where the
      target is 0, for then it is undefined. Both are float32 or wider.

    Raises:
      AssertionError: if the batch sizes differ.
    """
    target = ops.at_least_float32(target)
    absolute = jnp.abs(_total(attributions, target) - target)
    defined = target != 0
    # A double `where`, as in `ops.safe_norm`: with one alone the gradient of a batch
    # that holds an undefined row would be NaN.
    ratio = absolute / jnp.where(defined, jnp.abs(target), 1.0)
    return absolute, jnp.where(defined, ratio, jnp.nan)


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
    target = attribution_target(
        predict_fn, inputs, targets, baselines=baselines, score_fn=score_fn
    )
    return _total(attributions, target) - target


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
    target = attribution_target(
        predict_fn, inputs, targets, baselines=baselines, score_fn=score_fn
    )
    return attribution_error(attributions, target)[1]


def _total(attributions: Array, target: Array) -> Array:
    """Each example's attributions added up, in the dtype of the target, [B]."""
    chex.assert_equal_shape_prefix([attributions, target], 1)
    values = attributions.reshape(attributions.shape[0], -1)
    return jnp.sum(values.astype(target.dtype), axis=-1)
