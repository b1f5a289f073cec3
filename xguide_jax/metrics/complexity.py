"""How few features a map names: easier to read, and no more faithful for it.

All are of the shares p_i = |A_i| / Σ_j |A_j| of the n cells of a map, so the sign and a
positive factor do not matter, nor where the cells lie. All axes but `B` are one map.
They say nothing of the network: a map of one arbitrary cell is the simplest there is.
"""

import chex
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.metrics import masking, ordering
from xguide_jax.types import Array


def entropy(maps: Array, *, where: Array | None = None) -> Array:
    """Entropy of a map's shares, in nats.

    −Σ p_i log p_i, 0 log 0 = 0. Divide by log n for a number in [0, 1] where maps of
    different sizes are compared. Differentiable where no cell is 0; the slope at a cell
    of 0, infinite, is taken as 0.

    Args:
      maps: float [B, ...].
      where: bool [B, ...], False where a cell does not count, such as padding.

    Returns:
      float [B] in [0, log n], lower is simpler: 0 for a single cell, log n for a map
      equal in magnitude everywhere; NaN if a map is 0 everywhere or holds a NaN.

    Raises:
      AssertionError: if the maps are not float or have no axis but B.

    Source: Bhatt, Weller, Moura, "Evaluating and Aggregating Feature-based Model
      Explanations", IJCAI 2020, where it is called complexity.
    """
    shares, _, defined = _shares(maps, where)
    positive = shares > 0
    # A double `where`: 0 log 0 would be NaN, and so would its gradient with one alone.
    logs = jnp.log(jnp.where(positive, shares, 1.0))
    total = -jnp.sum(shares * logs, axis=tuple(range(1, shares.ndim)))
    # Rounding may pass 0, and −0 prints badly.
    return jnp.where(defined, jnp.maximum(total, 0.0), jnp.nan)


def effective_number_of_features(maps: Array, *, where: Array | None = None) -> Array:
    """How many equal features would have the entropy of a map.

    exp(−Σ p_i log p_i), the perplexity of its shares.

    Args:
      maps: float [B, ...].
      where: bool [B, ...], False where a cell does not count, such as padding.

    Returns:
      float [B] in [1, n], lower is simpler: k for a map of k cells equal in magnitude
      and 0 elsewhere; NaN if a map is 0 everywhere or holds a NaN.

    Raises:
      AssertionError: if the maps are not float or have no axis but B.

    Source: the exponential of `entropy`; in ecology the Hill number of order 1.
    """
    return jnp.exp(entropy(maps, where=where))


def gini(maps: Array, *, where: Array | None = None) -> Array:
    """Gini index of a map's magnitudes: how unequal they are.

    Σ_k (2 k − n − 1) |A|_(k) / (n Σ |A|), |A|_(k) the k-th lowest of n magnitudes; the
    same as 1 − 2 Σ_k p_(k) (n − k + ½) / n. One sort, O(n log n) a map.

    Args:
      maps: float [B, ...].
      where: bool [B, ...], False where a cell does not count, such as padding.

    Returns:
      float [B] in [0, 1 − 1/n], higher is sparser: 0 for a map equal in magnitude
      everywhere, 1 − 1/n for a single cell; NaN if a map is 0 everywhere or holds a
      NaN.

    Raises:
      AssertionError: if the maps are not float or have no axis but B.

    Source: Chalasani et al., "Concise Explanations of Neural Networks using Adversarial
      Training", ICML 2020, as sparseness. Quantus adds 1e-7 to each magnitude, so that
      a map of zeros scores 0, as if it were spread out, and one of 1e-8 nearly so.
    """
    shares, valid, defined = _shares(maps, where)
    axes = tuple(range(1, shares.ndim))
    size = jnp.sum(valid, axis=axes, keepdims=True, dtype=shares.dtype)
    # Equal cells share their mean rank, which leaves the sum as it is.
    centred = ordering.average_ranks(shares, valid) - (size + 1) / 2
    weights = jnp.where(valid, centred, 0.0) / jnp.maximum(size, 1)
    index = 2 * jnp.sum(weights * shares, axis=axes)
    return jnp.where(defined, jnp.maximum(index, 0.0), jnp.nan)


def _shares(maps: Array, where: Array | None) -> tuple[Array, Array, Array]:
    """|A| / Σ |A|, 0 where a cell does not count; those that do; maps of some mass."""
    chex.assert_type(maps, float)
    chex.assert_axis_dimension_gt(maps, 1, 0)
    maps, axes = ops.at_least_float32(maps), tuple(range(1, maps.ndim))
    valid = masking.valid_cells(maps, where)
    magnitudes = jnp.where(valid, jnp.abs(maps), 0.0)
    # The largest is about 1 then, and the sum neither overflows nor vanishes.
    magnitudes = ops.rescale_extremes(magnitudes, axis=axes)
    total = jnp.sum(magnitudes, axis=axes, keepdims=True)
    defined = (total > 0).reshape(-1)  # no comparison with NaN holds
    return ops.safe_divide(magnitudes, total), valid, defined
