"""Who carries an annotation, and what becomes of one that is refused inside `jit`.

Shared by the readers of images and of sequences, of any rank [B, ...].
"""

from collections.abc import Sequence

import chex
import jax.numpy as jnp

from xguide_jax.types import Array, Batch


def spoilt(maps: Array, good: Array) -> Array:
    """The annotations, NaN in the rows that are refused.

    Args:
      maps: float [B, ...].
      good: bool [B].

    Returns:
      float [B, ...].
    """
    return jnp.where(_over(good, maps), maps, jnp.nan)


def with_validity(
    maps: Array, batch: Batch, *, name: str = "region_valid"
) -> tuple[Array, Array]:
    """The annotations, zeros where there is none, and where there is one.

    Args:
      maps: float [B, ...].
      batch: with or without the entry called `name`, [B].
      name: of that entry, which says who carries an annotation.

    Returns:
      float [B, ...]; bool [B].

    Raises:
      AssertionError: if the entry is not [B].
    """
    valid = jnp.any(maps != 0, axis=tuple(range(1, maps.ndim)))
    if name in batch:
        chex.assert_shape(batch[name], valid.shape)
        valid &= batch[name].astype(bool)
    return jnp.where(_over(valid, maps), maps, 0.0), valid


def missing(needed: Sequence[str], batch: Batch) -> ValueError:
    """The error of a batch that lacks an annotation.

    Args:
      needed: what would do, each as it is printed.
      batch: whose entries are named.

    Returns:
      the error, to be raised.
    """
    return ValueError(
        f"a batch needs {' or '.join(needed)} here; it has {sorted(batch)}."
    )


def _over(rows: Array, maps: Array) -> Array:
    """[B] as [B, 1, ...], of the rank of the maps."""
    return rows.reshape(-1, *[1] * (maps.ndim - 1))
