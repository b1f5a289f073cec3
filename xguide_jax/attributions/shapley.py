"""Shapley values of the segments of an input, exact and by permutations.

The game: v(z) is the score of the input whose segments outside the coalition z have
the values of the baseline. The values φ_j of the S segments add up to v(all) − v(none),
which is f(x) − f(b) where every feature belongs to a segment.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.attributions import perturbing
from xguide_jax.attributions import segments as segmenting
from xguide_jax.ops import checking
from xguide_jax.types import Array, PredictFn, PRNGKey, ScoreFn

_MOST_SEGMENTS = 16


def shapley_values(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    segments: Array,
    num_segments: int,
    baselines: Array | float,
    score_fn: ScoreFn,
    chunk_size: int | None = None,
) -> Array:
    """Exact Shapley values, from all coalitions.

    φ_j = Σ_z |z|! (S − |z| − 1)! / S! · (v(z + j) − v(z)) over the coalitions z without
    j. A segment's value is shared out evenly over its features; the map adds up to
    f(x) − f(b), up to rounding, where every feature belongs to a segment.

    2^S forwards of the batch and no gradient of the network, in the memory of
    `chunk_size` of them. On a CPU compile time grows with the number of chunks; that
    and two exceptions are told at `ops.barriered_sum`. Differentiable in the inputs,
    the baselines and the parameters.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float or integer (token ids) [B, ...].
      targets: integer [B], the classes explained.
      segments: integer, broadcastable to the shape of `inputs`, in [-1, S); −1 is never
        perturbed. See `grid_segments`.
      num_segments: S, at least 1 and at most 16; static.
      baselines: broadcastable to the shape of `inputs`, in the same units.
      score_fn: (logits, targets) -> [B]; see `scores`.
      chunk_size: coalitions evaluated at once, at least 1; None is 1.

    Returns:
      Shaped like `inputs`, float32 or wider, signed, in units of the score; 0 where the
      segment is −1, NaN where a traced one is out of range.

    Raises:
      AssertionError: if the batch sizes differ or the score is not one number an
        example.
      ValueError: if `segments` or `num_segments` are not as above, or the baselines do
        not broadcast to the inputs.

    Source: Shapley, "A Value for n-Person Games", 1953.
    """
    baselines = perturbing.checked_baselines(inputs, targets, baselines)
    regions, num_segments = segmenting.checked_segments(
        segments, num_segments, inputs.shape
    )
    if num_segments > _MOST_SEGMENTS:
        raise ValueError(
            f"`num_segments` (={num_segments}) must be at most {_MOST_SEGMENTS}, for "
            "2 to the power of it are the forwards; `shapley_sampling` takes more."
        )
    coalitions = all_coalitions(num_segments)

    def switch_to(values: Array, number: Array) -> Array:
        coalition = jnp.asarray(coalitions)[number][None]
        return segmenting.switch(values, baselines, regions, coalition)

    scores = perturbing.perturbed_scores(
        predict_fn, inputs, targets, switch_to,
        count=len(coalitions), chunk_size=chunk_size, score_fn=score_fn,
    )  # fmt: skip
    weights = jnp.asarray(_shapley_weights(coalitions), scores.dtype)
    values = jnp.einsum("nb,ns->bs", scores, weights, precision="highest")
    return segmenting.share_out(values, regions, inputs.shape)


def shapley_sampling(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    key: PRNGKey,
    segments: Array,
    num_segments: int,
    num_samples: int,
    baselines: Array | float,
    score_fn: ScoreFn,
    chunk_size: int | None = None,
) -> Array:
    """Shapley values estimated from permutations of the segments.

    φ_j = 1/P Σ_π v(π up to and with j) − v(π before j): what a segment adds when the
    segments are switched on one after the other. Every second permutation is the one
    before it in reverse, which makes interactions of two segments exact. The estimate
    is unbiased, and each permutation adds up to v(all) − v(none), hence so does the
    map: f(x) − f(b) where every feature belongs to a segment. A segment's value is
    shared out evenly over its features.

    Permutation p of example i depends on the key, i and p alone: more samples extend
    the sequence, and a key array [B] makes an example independent of its batch.

    2 + P (S − 1) forwards of the batch and no gradient of the network, in the memory of
    `chunk_size` of them beside all permutations. On a CPU compile time grows with the
    number of chunks; that and two exceptions are told at `ops.barriered_sum`.
    Differentiable in the inputs, the baselines and the parameters.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float or integer (token ids) [B, ...].
      targets: integer [B], the classes explained.
      key: one typed key, or one for each example, [B].
      segments: integer, broadcastable to the shape of `inputs`, in [-1, S); −1 is never
        perturbed. See `grid_segments`.
      num_segments: S, at least 1; static.
      num_samples: P, how many permutations, at least 1; static. Even numbers profit
        from the reversed ones.
      baselines: broadcastable to the shape of `inputs`, in the same units.
      score_fn: (logits, targets) -> [B]; see `scores`.
      chunk_size: coalitions evaluated at once, at least 1; None is 1.

    Returns:
      Shaped like `inputs`, float32 or wider, signed, in units of the score; 0 where the
      segment is −1, NaN where a traced one is out of range.

    Raises:
      AssertionError: if the batch sizes differ or the score is not one number an
        example.
      ValueError: if `segments`, `num_segments` or `num_samples` are not as above, the
        key is not as `ops.example_keys` takes it, or the baselines do not broadcast.

    Source: Castro, Gómez, Tejada, "Polynomial calculation of the Shapley value based on
      sampling", 2009; Strumbelj, Kononenko, JMLR 2010. Reversed permutations: Mitchell,
      Cooper, Frank, Holmes, "Sampling Permutations for Shapley Value Estimation", JMLR
      2022.
    """
    baselines = perturbing.checked_baselines(inputs, targets, baselines)
    regions, num_segments = segmenting.checked_segments(
        segments, num_segments, inputs.shape
    )
    num_samples = checking.checked_count("num_samples", num_samples)
    keys = ops.example_keys(key, inputs.shape[0])
    ranks = _ranks(keys, num_segments, num_samples)
    steps = num_segments - 1

    def switch_to(values: Array, number: Array) -> Array:
        coalition = ranks[number // steps] <= number % steps
        return segmenting.switch(values, baselines, regions, coalition)

    none, full = end_scores(
        predict_fn, inputs, targets, baselines, regions, num_segments, score_fn
    )
    ends = [jnp.broadcast_to(v, (num_samples, 1, len(targets))) for v in (none, full)]
    between = jnp.zeros((num_samples, 0, len(targets)), none.dtype)
    if steps:
        between = perturbing.perturbed_scores(
            predict_fn, inputs, targets, switch_to,
            count=num_samples * steps, chunk_size=chunk_size, score_fn=score_fn,
        ).reshape(num_samples, steps, -1)  # fmt: skip
    # [P, S, B]: what the segment that is switched on at each step adds.
    added = jnp.diff(jnp.concatenate([ends[0], between, ends[1]], axis=1), axis=1)
    values = jnp.take_along_axis(jnp.swapaxes(added, 1, 2), ranks, axis=-1)
    return segmenting.share_out(jnp.mean(values, axis=0), regions, inputs.shape)


def all_coalitions(num_segments: int) -> np.ndarray:
    """Every coalition, the empty one first and the whole one last.

    Args:
      num_segments: S.

    Returns:
      bool [2^S, S]; the bits of the row's number, the lowest first.
    """
    bits = np.arange(2**num_segments)[:, None] >> np.arange(num_segments)
    return (bits & 1).astype(bool)


def end_scores(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    baselines: Array,
    regions: Array,
    num_segments: int,
    score_fn: ScoreFn,
) -> tuple[Array, Array]:
    """The scores with no segment on and with all of them on.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: [B, ...].
      targets: integer [B].
      baselines: like `inputs`.
      regions: the segments, by `checked_segments`.
      num_segments: S.
      score_fn: (logits, targets) -> [B].

    Returns:
      v(none) and v(all), float [B].
    """
    off = jnp.zeros((1, num_segments), bool)
    empty = segmenting.switch(inputs, baselines, regions, off)
    none = perturbing.score_at(predict_fn, empty, targets, score_fn)
    return none, perturbing.score_at(predict_fn, inputs, targets, score_fn)


def _shapley_weights(coalitions: np.ndarray) -> np.ndarray:
    """The weight of each coalition's score in each segment's value, [2^S, S]."""
    num_segments = coalitions.shape[1]
    sizes = range(num_segments)
    # By the number of the other segments that are on.
    by_size = [1 / (num_segments * math.comb(num_segments - 1, s)) for s in sizes]
    others = np.sum(coalitions, axis=1, keepdims=True) - coalitions
    return np.where(coalitions, 1, -1) * np.asarray(by_size)[others]


def _ranks(keys: PRNGKey, num_segments: int, num_samples: int) -> Array:
    """The place of each segment in each permutation, int32 [P, B, S]."""

    def draw(key: PRNGKey, number: Array) -> Array:
        # The place of a segment in a random order is itself a random order.
        key = jax.random.fold_in(key, number // 2)
        ranks = jax.random.permutation(key, np.arange(num_segments, dtype=np.int32))
        return jnp.where(number % 2 == 1, num_segments - 1 - ranks, ranks)

    by_example = jax.vmap(draw, (0, None))
    return jax.vmap(by_example, (None, 0))(keys, jnp.arange(num_samples))
