"""Thresholds chosen from data."""

import chex
import jax
import jax.numpy as jnp

from xguide_jax.ops import precision
from xguide_jax.types import Array

# Added to the values of negative cells, so that the threshold lies above them.
_MARGIN = 1e-4
_LOW_BITS = 10
_MAX_CELLS = 2**21


def balanced_threshold(
    maps: Array, annotations: Array, *, axis_name: str | None = None
) -> Array:
    """The threshold that best separates positive from negative cells, classes balanced.

    Maximises mean_{Y<0}[a > x] + mean_{Y>0}[a <= x] over the candidates a = x_i + 1e-4
    of the negative cells and a = x_i of the positive ones; x are the map values and Y
    the annotations of all cells of the batch. The best candidate that comes first wins,
    negative cells before positive ones, each in the order of the batch; scores are
    compared exactly. A class without a cell contributes 0 to the score; a batch without
    annotation gives 0. Found by sorting, O(n log n) in the number of cells.

    The result is piecewise equal to one map value (plus a constant), and so is its
    gradient: hold it constant where the threshold must not be trained.

    Args:
      maps: float [B, ...].
      annotations: int or float [B, ...], positive where the cell is evidence, negative
        where it must not be, 0 where nobody said.
      axis_name: the mapped axis the batch is sharded over; all devices then get the one
        threshold of the whole batch.

    Returns:
      float [], float32 or wider.

    Raises:
      ValueError: if the batch has more than 2^21 cells; reduce the maps first.

    Source: the public code of RES (Gao et al., KDD 2022), where a loop over all
      candidates finds it.
    """
    chex.assert_equal_shape([maps, annotations])
    maps = precision.at_least_float32(maps)
    annotations = precision.at_least_float32(annotations)
    if axis_name is not None:
        maps, annotations = jax.lax.all_gather(
            (maps, annotations), axis_name, tiled=True
        )
    if maps.size > _MAX_CELLS:
        raise ValueError(
            f"`maps` (={maps.size} cells) must have at most {_MAX_CELLS} cells in the "
            "whole batch; reduce them with `area_resize`."
        )
    values, annotations = maps.ravel(), annotations.ravel()
    negative, positive = annotations < 0, annotations > 0
    candidates = jnp.concatenate([values + _MARGIN, values])
    classes = jnp.stack([negative, positive])
    num_negative, num_positive = jnp.sum(classes, axis=1, dtype=jnp.uint32)
    negatives_below, positives_below = _num_below(candidates, values, where=classes)
    positives_above = num_positive - positives_below
    # Shares of the classes over one denominator: whole numbers, so that ties are ties.
    high, low = _sum_of_products(
        (negatives_below, jnp.maximum(num_positive, 1)),
        (positives_above, jnp.maximum(num_negative, 1)),
        where=jnp.concatenate([negative, positive]),
    )
    best = high == jnp.max(high)
    largest_low = jnp.max(jnp.where(best, low, 0))
    best &= low == largest_low
    found = (jnp.max(high) > 0) | (largest_low > 0)
    return jnp.where(found, candidates[jnp.argmax(best)], 0.0)


def _num_below(candidates: Array, values: Array, *, where: Array) -> Array:
    """How many values of each class, [2, n], lie strictly below each candidate."""
    ordered = jnp.sort(jnp.where(where, values, jnp.inf), axis=1)
    below = jax.vmap(jnp.searchsorted, in_axes=(0, None))(ordered, candidates)
    return below.astype(jnp.uint32)


def _sum_of_products(
    first: tuple[Array, Array], second: tuple[Array, Array], *, where: Array
) -> tuple[Array, Array]:
    """Whole numbers a b + c d as (high, low) digits to the base 2^10; 0 elsewhere.

    The sum may need more than 32 bits; the digits do not, up to 2^21 cells.
    """
    (a, b), (c, d) = first, second
    base = 2**_LOW_BITS
    low = a * (b % base) + c * (d % base)
    high = a * (b // base) + c * (d // base) + low // base
    return jnp.where(where, high, 0), jnp.where(where, low % base, 0)
