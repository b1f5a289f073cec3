"""Whether maps keep what their definition promises of any network.

What has no effect is given none, and a shift that the network undoes changes nothing.
That a map adds up to the score's change is `attributions.completeness_gap`.
"""

from collections.abc import Callable

import chex
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.metrics import robustness
from xguide_jax.types import Array, PredictFn, ScoreFn


def non_sensitivity(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    attributions: Array,
    *,
    baselines: Array | float,
    score_fn: ScoreFn,
    map_tolerance: float,
    score_tolerance: float,
    chunk_size: int | None = None,
) -> Array:
    """How many features a map names without an effect, or leaves out in spite of one.

    Σ_i [ |A_i| <= t_A max_j |A_j| ≠ |f(x) − f(x with b_i)| <= t_f ], the size of the
    symmetric difference of the features without attribution and those that change
    nothing on their own. Two features of which either is enough have no effect alone,
    and a map that names them is counted here. Unchanged by a factor on the map. Not
    differentiable. n + 1 forwards of the batch for n features, in the memory of
    `chunk_size` of them.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float or integer (token ids) [B, ...].
      targets: integer [B], the classes explained.
      attributions: float, of the inputs' rank and broadcastable to them; with a last
        axis of 1, [B, H, W, 1], all channels of a position are one feature.
      baselines: b, broadcastable to the inputs, in their units and dtype.
      score_fn: (logits, targets) -> [B]; that of the attributions.
      map_tolerance: t_A, in [0, 1), a share of the largest magnitude of the map.
      score_tolerance: t_f, at least 0, in units of the score; 0 counts its rounding.
      chunk_size: features replaced at once, at least 1; None is 1.

    Returns:
      float [B], float32 or wider, a whole number from 0 to n, lower is better; n less
      the features without effect for a map of zeros; NaN where the map or a score holds
      a NaN.

    Raises:
      ValueError: if a tolerance is out of its range, `chunk_size` less than 1 or
        traced, or the baselines do not broadcast to the inputs.
      AssertionError: if the shapes or dtypes are not those above, or the score is not
        one number an example.

    Source: Nguyen, Martínez, "On Quantitative Aspects of Model Interpretability", 2020,
      where the effect is an expectation over replacement values; here, as in Quantus,
      one value. Quantus has one tolerance of 1e-5 for map and score, and with
      `abs=False` counts a negative attribution as none.
    """
    if not 0 <= map_tolerance < 1:
        raise ValueError(f"`map_tolerance` (={map_tolerance}) must be in [0, 1).")
    if not score_tolerance >= 0:
        raise ValueError(f"`score_tolerance` (={score_tolerance}) must not be below 0.")
    chex.assert_type(attributions, float)
    chex.assert_rank(targets, 1)
    chex.assert_equal_shape_prefix([inputs, targets, attributions], 1)
    chex.assert_equal_rank([inputs, attributions])
    chex.assert_is_broadcastable(attributions.shape, inputs.shape)
    features = attributions.shape[1:]
    values = jnp.broadcast_to(jnp.asarray(baselines, inputs.dtype), inputs.shape)

    def score(copies: Array) -> Array:
        found = score_fn(predict_fn(copies), targets)
        chex.assert_equal_shape([found, targets])
        return ops.at_least_float32(found)

    def without(inputs: Array, number: Array) -> Array:
        gone = (jnp.arange(attributions[0].size) == number).reshape(1, *features)
        return score(ops.replace(inputs, gone, values))

    scores = ops.measure_copies(
        without, inputs, count=attributions[0].size, chunk_size=chunk_size
    )
    effects = jnp.abs(scores - score(inputs)).T
    maps = jnp.abs(ops.at_least_float32(attributions)).reshape(len(inputs), -1)
    largest = jnp.max(maps, axis=-1, keepdims=True)
    differ = (maps <= map_tolerance * largest) != (effects <= score_tolerance)
    # No comparison says that a number is NaN, and neither does a maximum of many.
    unclear = jnp.any(jnp.isnan(maps) | jnp.isnan(effects), axis=-1)
    return jnp.where(unclear, jnp.nan, jnp.sum(differ, axis=-1, dtype=effects.dtype))


def input_invariance(
    explain: Callable[[PredictFn, Array], Array],
    predict_fn: PredictFn,
    inputs: Array,
    *,
    shift: Array | float,
) -> Array:
    """How far a map moves with a shift of the inputs that the network undoes.

    ‖Φ(g, x + m) − Φ(f, x)‖₂ / ‖Φ(f, x)‖₂ of g(y) = f(y − m), which predicts of x + m
    what f does of x. A gradient does not move; gradient x input does, by w ⊙ m of a
    linear score, and so does a map against a baseline that is not shifted along.
    Unchanged by a factor on the maps.

    Args:
      explain: (predict_fn, inputs [B, ...]) -> maps [B, ...], the class that is
        explained closed over. It sees the network as a function: what is read of inner
        layers would be the same by construction.
      predict_fn: f, inputs [B, ...] -> logits [B, C].
      inputs: x, float [B, ...].
      shift: m, float, broadcastable to the inputs, in their units. Rounding of x + m is
        part of the result: a shift much larger than the inputs costs their digits.

    Returns:
      float [B], float32 or wider, at least 0, lower is better, 0 up to rounding for an
      invariant map; NaN where the map of the intact inputs is 0 everywhere, or a map
      holds a NaN.

    Raises:
      AssertionError: if the inputs are not float, or the maps of the two differ in
        shape.
      ValueError: if the shift does not broadcast to the inputs.

    Source: Kindermans et al., "The (Un)reliability of Saliency Methods", 2017, who
      shift the bias of the first layer and look at the maps. Quantus says whether all
      cells are equal within 1e-4, needs a convolution as the first layer, and leaves
      the first cell of each input unshifted.
    """
    chex.assert_type(inputs, float)
    moved = jnp.broadcast_to(jnp.asarray(shift, inputs.dtype), inputs.shape)
    original = ops.at_least_float32(explain(predict_fn, inputs))
    undone = lambda shifted: predict_fn(shifted - moved)
    shifted = ops.at_least_float32(explain(undone, inputs + moved))
    chex.assert_equal_shape([original, shifted])
    chex.assert_equal_shape_prefix([inputs, original], 1)
    norm = robustness.norm_of(original)
    distance = ops.safe_divide(robustness.norm_of(shifted - original), norm)
    return jnp.where(norm > 0, distance, jnp.nan)
