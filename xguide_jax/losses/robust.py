"""Losses for annotations that are inexact: rough borders, parts, binary labels.

`M` is a map in [0, 1], all axes but `B`, mostly on a coarse grid; `Y` its annotation: 1
where the cell is evidence, -1 where it must not be, 0 where nobody said.
"""

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.ops import pairing
from xguide_jax.types import Array


def robust_explanation(
    maps: Array, annotations: Array, *, threshold: Array | float, slack: float
) -> Array:
    """How far a map is from its signed annotation, up to a slack.

    relu(R − slack), R the mean over annotated cells of |tanh(5 (M − threshold)) − Y|,
    in float32 or wider. Gradients flow into the map and the threshold, and are 0 within
    the slack. The tanh is a surrogate: a cell just on the right side of the threshold
    still costs about 1.

    Args:
      maps: float [B, ...] in [0, 1].
      annotations: int or float [B, ...] of -1, 0 and 1.
      threshold: float [], in the unit of the map; `ops.balanced_threshold` of the batch
        in the published loss.
      slack: at least 0, the mean error that is free.

    Returns:
      float [B] in [0, 2]; 0, with zero gradient, without annotated cells.

    Raises:
      ValueError: if `slack` is negative, or `annotations` are not -1, 0 or 1, where
        they are known.
      AssertionError: if the shapes differ or have no axis but B, or the threshold is
        not a scalar.

    Source: RES (Gao et al., KDD 2022) as its public code has it, but by example: there
      R is one mean over the annotated cells of the whole batch, which `robust_error`
      gives the parts of. The paper's own equations were not available to check.
    """
    if not float(slack) >= 0:
        raise ValueError(f"`slack` (={slack}) must not be negative.")
    error_sum, count = robust_error(maps, annotations, threshold=threshold)
    return jax.nn.relu(ops.safe_divide(error_sum, count) - slack)


def robust_error(
    maps: Array, annotations: Array, *, threshold: Array | float
) -> tuple[Array, Array]:
    """Sum and number of the cell errors that `robust_explanation` is the mean of.

    e = |tanh(5 (M − threshold)) − Y| on cells with Y ≠ 0. Summed over a batch and over
    devices, relu(Σ e / Σ count − slack) is the published loss. Gradients flow into the
    map and the threshold.

    Args:
      maps: float [B, ...] in [0, 1].
      annotations: int or float [B, ...] of -1, 0 and 1.
      threshold: float [], in the unit of the map.

    Returns:
      float [B], the sum of the errors, up to 2 a cell; float [B], the annotated cells.

    Raises:
      ValueError: if `annotations` are not -1, 0 or 1, where they are known.
      AssertionError: if the shapes differ or have no axis but B, or the threshold is
        not a scalar.

    Source: as `robust_explanation`.
    """
    maps, targets, axes = pairing.with_signs(maps, annotations)
    threshold = jnp.asarray(threshold, maps.dtype)
    chex.assert_rank(threshold, 0)
    annotated = (targets != 0).astype(maps.dtype)
    errors = jnp.abs(jnp.tanh(5 * (maps - threshold)) - targets)
    return jnp.sum(annotated * errors, axis=axes), jnp.sum(annotated, axis=axes)
