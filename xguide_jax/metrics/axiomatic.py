"""Axioms of attribution that a map may break, each as a number an example."""

from collections.abc import Callable

import chex
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.metrics import removing
from xguide_jax.types import Array, FillFn, PredictFn, PRNGKey

# inputs [B, ...] -> maps [B, ...], the class that is explained already closed over
ExplainInputs = Callable[[Array], Array]


def non_sensitivity(
    predict_fn: PredictFn,
    inputs: Array,
    labels: Array,
    attributions: Array,
    *,
    fill: FillFn,
    key: PRNGKey,
    value: removing.ValueFn,
    tolerance: float,
) -> Array:
    """How many features have an attribution but no effect, or an effect but none.

    |{i : |a_i| < t} △ {i : |f(x) − f(x without i)| < t}|, of features replaced one at a
    time. Lower is better; 0 where exactly the features with an effect have a share in
    the map. The network is called n + 1 times, so compile it. Not unchanged by a factor
    on the map, since t is one number for both.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: [B, ...].
      labels: integer [B].
      attributions: float, shaped like the inputs.
      fill: (key, inputs) -> replacement values like `inputs`, drawn once.
      key: for the fill; one key or [B].
      value: (logits, labels) -> [B], the score f.
      tolerance: t, above 0.

    Returns:
      float [B] in [0, n], whole numbers; NaN for an example whose map holds a NaN or
      whose score is NaN.

    Raises:
      ValueError: if `tolerance` is not above 0, or `value` returns other than one value
        an example.
      AssertionError: if the shapes differ or the attributions are not float.

    Source: Nguyen, Martinez, "On quantitative aspects of model interpretability", 2020
      (unverified), as Quantus has it with `abs`; without, each negative attribution
      counts there as none.
    """
    if not tolerance > 0:
        raise ValueError(f"`tolerance` (={tolerance}) must be above 0.")
    removing.check(inputs, labels, attributions)
    chex.assert_equal_shape([inputs, attributions])
    filled = fill(key, inputs)
    clean = removing.read(value, predict_fn(inputs), labels)
    maps = ops.at_least_float32(attributions).reshape(len(inputs), -1)
    count = jnp.where(jnp.any(jnp.isnan(maps), axis=1), jnp.nan, 0.0)
    for place in range(maps.shape[1]):
        which = np.zeros((1, maps.shape[1]), bool)
        which[:, place] = True
        mask = jnp.broadcast_to(which.reshape(1, *inputs.shape[1:]), inputs.shape)
        without = predict_fn(ops.replace(inputs, mask, filled))
        effect = jnp.abs(clean - removing.read(value, without, labels))
        differs = (effect < tolerance) ^ (jnp.abs(maps[:, place]) < tolerance)
        count += jnp.where(jnp.isnan(effect), jnp.nan, differs.astype(count.dtype))
    return count


def input_invariance(
    explain: ExplainInputs,
    explain_shifted: ExplainInputs,
    inputs: Array,
    *,
    shift: Array,
) -> Array:
    """How much a map changes with a shift of the inputs that the network undoes.

    max_i |Φ'(x + s)_i − Φ(x)_i| / max_i |Φ(x)_i|, where Φ' explains a network whose
    first bias takes the shift back: f'(x + s) = f(x). 0 is best: the map is about the
    function and not about the origin. Gradients have 0, gradient x input has not, nor
    has a path method whose baseline does not move along. Unchanged by a positive factor
    on the maps.

    Args:
      explain: inputs -> maps of the network.
      explain_shifted: inputs -> maps of the network that takes shifted inputs.
      inputs: float [B, ...].
      shift: s, broadcastable to the inputs.

    Returns:
      float [B], at least 0; NaN where the map of the input is 0 throughout, or either
      holds a NaN.

    Raises:
      AssertionError: if the maps differ in shape or are not B.

    Source: Kindermans et al., "The (Un)reliability of Saliency Methods", 2017. Quantus
      says only whether all cells are within 1e-4 of each other.
    """
    clean, moved = explain(inputs), explain_shifted(inputs + shift)
    chex.assert_equal_shape([clean, moved])
    chex.assert_equal_shape_prefix([clean, inputs], 1)
    clean, moved = (ops.at_least_float32(m).reshape(len(m), -1) for m in (clean, moved))
    difference, size = (
        jnp.max(jnp.abs(values), axis=1) for values in (moved - clean, clean)
    )
    # The maximum of many numbers overlooks a NaN on some devices.
    bad = jnp.any(jnp.isnan(moved - clean), axis=1) | ~(size > 0)
    return jnp.where(bad, jnp.nan, ops.safe_divide(difference, size))
