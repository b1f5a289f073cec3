"""A map and what was annotated of it, as losses and metrics take the two.

Both are [B, ...] and of one shape: [B, H, W] for images, [B, T] for tokens and series.
All axes but `B` are one map.
"""

import chex

from xguide_jax.ops import checking, precision
from xguide_jax.types import Array


def with_region(maps: Array, region: Array) -> tuple[Array, Array, tuple[int, ...]]:
    """Maps and their regions, in one dtype of float32 or wider.

    Args:
      maps: float [B, ...].
      region: float or bool, shaped like `maps`, shares in [0, 1].

    Returns:
      the maps; the regions; the axes of a map, (1, 2) of [B, H, W].

    Raises:
      ValueError: if `region` is not in [0, 1], where its values are known.
      AssertionError: if the shapes differ or have the batch axis only.
    """
    paired = _paired(maps, region)
    checking.check_shares("region", region)
    return paired


def with_signs(maps: Array, annotations: Array) -> tuple[Array, Array, tuple[int, ...]]:
    """Maps and their signed annotations, in one dtype of float32 or wider.

    Args:
      maps: float [B, ...].
      annotations: int or float, shaped like `maps`, of -1, 0 and 1.

    Returns:
      the maps; the annotations; the axes of a map.

    Raises:
      ValueError: if `annotations` are not -1, 0 or 1, where they are known.
      AssertionError: if the shapes differ or have the batch axis only.
    """
    paired = _paired(maps, annotations)
    checking.check_signs("annotations", annotations)
    return paired


def _paired(maps: Array, other: Array) -> tuple[Array, Array, tuple[int, ...]]:
    chex.assert_rank([maps, other], set(range(2, 2 + maps.ndim)))
    chex.assert_equal_shape([maps, other])
    maps = precision.at_least_float32(maps)
    return maps, other.astype(maps.dtype), tuple(range(1, maps.ndim))
