"""Sensitivity-n: whether the map of a set of features adds up to their effect."""

import functools

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.ops import checking
from xguide_jax.types import Array, PredictFn, PRNGKey, ScoreFn

# How many roundings of the largest value a spread must exceed to be one.
_ROUNDINGS = 8


def sensitivity_n(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    attributions: Array,
    *,
    key: PRNGKey,
    num_features: int,
    num_subsets: int,
    baselines: Array | float,
    score_fn: ScoreFn,
    chunk_size: int | None = None,
) -> Array:
    """Correlation of a subset's summed attributions with the fall of the score.

    Pearson's correlation over random subsets S of n features of
    Σ_{i in S} A_i and f(x) − f(x with b in S). A map is of the effects themselves, not
    of slopes: gradient x input, integrated gradients, occlusion or Shapley values of
    the same baselines b. Unchanged by a positive factor on the map, and not a measure
    of its scale.

    A single n says little: publish the curve over n. Large subsets leave inputs unlike
    any that the network was trained on. Subset s of example i depends on the key, i and
    s alone; more subsets extend the sequence. `num_subsets` + 1 forwards of the batch,
    in the memory of `chunk_size` of them beside a bool of all subsets.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float or integer (token ids) [B, ...].
      targets: integer [B], the classes explained.
      attributions: float, of the inputs' rank and broadcastable to them; with a last
        axis of 1, [B, H, W, 1], all channels of a position are one feature.
      key: one typed key, or one for each example, [B].
      num_features: n, from 1 to one less than an example has; static.
      num_subsets: how many subsets, at least 2; static. The error of a correlation is
        about 1 / sqrt(num_subsets).
      baselines: broadcastable to the inputs, in their units and dtype; those of the
        attributions.
      score_fn: (logits, targets) -> [B]; that of the attributions.
      chunk_size: subsets evaluated at once, at least 1; None is 1.

    Returns:
      float [B], float32 or wider, in [−1, 1], higher is better: 1 for the exact map of
      an affine score; NaN if either side has no spread beyond its rounding, a constant
      map or a score that does not move, or one of them holds a NaN.

    Raises:
      ValueError: if a number is not as above or traced, the key not as
        `ops.example_keys` takes it, or the baselines do not broadcast to the inputs.
      AssertionError: if the shapes or dtypes are not those above, or the score is not
        one number an example.

    Source: Ancona, Ceolini, Öztireli, Gross, "Towards Better Understanding of
      Gradient-based Attribution Methods for Deep Neural Networks", ICLR 2018, with 100
      subsets of each n and b = 0. Quantus' `SensitivityN` draws no subsets: it removes
      the highest features one step after another and correlates over examples.
    """
    chex.assert_type(attributions, float)
    chex.assert_rank(targets, 1)
    chex.assert_equal_shape_prefix([inputs, targets, attributions], 1)
    chex.assert_equal_rank([inputs, attributions])
    chex.assert_is_broadcastable(attributions.shape, inputs.shape)
    num_cells = attributions[0].size
    num_features = checking.checked_count("num_features", num_features)
    if num_features >= num_cells:
        raise ValueError(
            f"`num_features` (={num_features}) must be below the {num_cells} features "
            "of an example: all of them make one subset, and one has no correlation."
        )
    num_subsets = checking.checked_count("num_subsets", num_subsets)
    if num_subsets < 2:
        raise ValueError(f"`num_subsets` (={num_subsets}) must be at least 2.")
    keys = ops.example_keys(key, len(inputs))
    values = ops.constant_fill(key, inputs, value=baselines)
    subsets = _draw(keys, num_subsets, num_cells, num_features)

    def score(copies: Array) -> Array:
        found = score_fn(predict_fn(copies), targets)
        chex.assert_equal_shape([found, targets])
        return ops.at_least_float32(found)

    def without(inputs: Array, number: Array) -> Array:
        subset = subsets[number].reshape(attributions.shape)
        return score(ops.replace(inputs, subset, values))

    scores = ops.measure_copies(
        without, inputs, count=num_subsets, chunk_size=chunk_size
    )
    maps = ops.at_least_float32(attributions).reshape(len(inputs), -1)
    parts = jnp.where(subsets, maps, 0.0)
    sums = jnp.sum(parts, axis=-1)
    intact = score(inputs)
    # Both sides are known no better than to the rounding of what they are made of.
    sizes = jnp.max(jnp.sum(jnp.abs(parts), axis=-1), axis=0)
    heights = jnp.maximum(jnp.max(jnp.abs(scores), axis=0), jnp.abs(intact))
    defined = _spread(sums, sizes) & _spread(scores, heights)
    # The fall is the intact score minus these: the correlation has the other sign.
    return jnp.where(defined, _correlation(sums, -scores), jnp.nan)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))  # or a loop compiled every call
def _draw(keys: PRNGKey, num_subsets: int, num_cells: int, size: int) -> Array:
    """Random subsets of `size` cells, bool [subsets, B, cells]."""

    def subset(key: PRNGKey, number: Array) -> Array:
        places = jax.random.permutation(jax.random.fold_in(key, number), num_cells)
        return places < size

    by_example = jax.vmap(subset, (0, None))
    # One subset after another: the sorts of all at once take many times their memory.
    return jax.lax.map(lambda n: by_example(keys, n), jnp.arange(num_subsets))


def _spread(values: Array, sizes: Array) -> Array:
    """Whether [N, B] differ by more than roundings of numbers of these sizes, [B]."""
    spread = jnp.max(values, axis=0) - jnp.min(values, axis=0)
    return spread > _ROUNDINGS * jnp.finfo(values.dtype).eps * sizes


def _correlation(first: Array, second: Array) -> Array:
    """Pearson's, over the first of [N, B]."""
    # Less its first value before its mean, which keeps the digits of a small spread.
    first, second = (
        ops.rescale_extremes(centred - jnp.mean(centred, axis=0), axis=0)
        for centred in (first - first[0], second - second[0])
    )
    norms = ops.safe_norm(first, axis=0) * ops.safe_norm(second, axis=0)
    # Rounding may pass 1.
    return jnp.clip(ops.safe_divide(jnp.sum(first * second, axis=0), norms), -1, 1)
