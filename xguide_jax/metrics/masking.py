"""Which cells of a map count: all but those that only fill a batch up.

A sequence that is shorter than its batch has padded places. What a map holds there, a
NaN too, is not part of the map.
"""

import chex
import jax.numpy as jnp

from xguide_jax.types import Array


def valid_cells(maps: Array, where: Array | None) -> Array:
    """The cells that count, in the shape of the maps.

    Args:
      maps: float [B, ...].
      where: bool, of the maps' rank and broadcast to their shape; all if None.

    Returns:
      bool, shaped like `maps`.

    Raises:
      AssertionError: if `where` is not bool, of another rank or does not broadcast.
    """
    if where is None:
        return jnp.ones(maps.shape, bool)
    chex.assert_type(where, bool)
    chex.assert_equal_rank([maps, where])
    chex.assert_is_broadcastable(where.shape, maps.shape)
    return jnp.broadcast_to(where, maps.shape)


def varies(maps: Array, valid: Array) -> Array:
    """Whether the cells of each map that count are not all equal, and none is NaN.

    Args:
      maps: float [B, ...].
      valid: bool, shaped like `maps`.

    Returns:
      bool [B]; False for a map of which no cell counts.
    """
    axes = tuple(range(1, maps.ndim))
    highest = jnp.max(jnp.where(valid, maps, -jnp.inf), axis=axes)
    lowest = jnp.min(jnp.where(valid, maps, jnp.inf), axis=axes)
    # Over 4096 numbers XLA's maximum and minimum on a CPU overlook a NaN.
    return (highest > lowest) & ~jnp.any(jnp.isnan(maps) & valid, axis=axes)
