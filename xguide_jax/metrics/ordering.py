"""Places of cells in the order of their map, with ties that nobody breaks.

Sparse maps are mostly ties. An order by index would give the cells in the first corner
away as if the map had chosen them, and two blank maps would agree.
"""

import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.types import Array


def average_ranks(maps: Array, valid: Array) -> Array:
    """The place of each cell from the lowest, 1, to the highest, n; ties share theirs.

    Equal cells all have the mean of the places that they take together. One sort and
    two binary searches a map, O(n log n).

    Args:
      maps: float [B, ...].
      valid: bool, shaped like `maps`: the n cells that are ranked.

    Returns:
      float, shaped like `maps`; without meaning in a map that holds a NaN, and where
      `valid` is False.
    """
    below, up_to = count_below(maps, maps, valid)
    return ((below + up_to + 1) / 2).astype(maps.dtype)


def count_below(cells: Array, maps: Array, valid: Array) -> tuple[Array, Array]:
    """How many valid cells of its map lie below each cell, and how many not above it.

    Args:
      cells: float [B, ...].
      maps: float, shaped like `cells`: what they are compared with.
      valid: bool, shaped like `maps`.

    Returns:
      int32, shaped like `cells`, each.
    """
    size = len(maps)
    flat = jnp.where(valid, maps, jnp.inf).reshape(size, -1)
    ordered, cells_flat = jnp.sort(flat, axis=-1), cells.reshape(size, -1)
    num_valid = jnp.sum(
        valid.reshape(size, -1), axis=-1, keepdims=True, dtype=jnp.int32
    )
    counts = []
    for side in ("left", "right"):
        search = jax.vmap(lambda row, at, side=side: jnp.searchsorted(row, at, side))
        # The cells that do not count stand at the end, as infinity.
        found = search(ordered, cells_flat).astype(jnp.int32)
        found = jnp.minimum(found, num_valid)
        counts.append(found.reshape(cells.shape))
    return counts[0], counts[1]


def top_k_shares(maps: Array, k: int | Array, valid: Array) -> Array:
    """The share of each cell in the k highest of its map, on average over all orders.

    1 above the k-th highest value, 0 below, and for the m cells equal to it the share
    j / m of the j places that are left to them: what breaking the ties at random gives
    on average. Selected by a threshold, without a sort.

    Args:
      maps: float [B, ...].
      k: an int in [0, n] or an int array [B], clipped to the number of valid cells.
      valid: bool, shaped like `maps`.

    Returns:
      float in [0, 1], shaped like `maps`, k in sum; without meaning in a map that holds
      a NaN.

    Raises:
      ValueError: if k is negative, or an int above n.
    """
    axes = tuple(range(1, maps.ndim))
    count = lambda cells: jnp.sum(cells, axis=axes, keepdims=True, dtype=maps.dtype)
    # `top_k_mask` refuses a NaN, and one row must not stop the others.
    maps = jnp.where(jnp.isnan(maps), 0.0, maps)
    chosen = ops.top_k_mask(maps, k, where=valid)
    last = jnp.min(jnp.where(chosen, maps, jnp.inf), axis=axes, keepdims=True)
    above, tied = valid & (maps > last), valid & (maps == last)
    share = ops.safe_divide(count(chosen) - count(above), count(tied))
    return jnp.where(above, 1.0, jnp.where(tied, share, 0.0))
