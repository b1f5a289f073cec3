"""What human maps of a data set are like, in a few numbers: the prior of other maps.

`M` is a map over its maximum and `P` its `saliency_distribution`, both on a grid of h w
cells. A prior is built once, from the maps of the training split only: with those of
another split, what is measured there was trained on.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.guidance import reading, saliency
from xguide_jax.ops import checking
from xguide_jax.types import Array

MAP_STATISTICS = ("coverage", "entropy", "peak", "centroid_x", "centroid_y", "spread")


class MapPrior(NamedTuple):
    """The pattern of human maps, made by `map_prior`.

    Attributes:
      distribution: float [h, w], the mean of P, adding up to 1.
      means: float [6], of the `map_statistics`.
      deviations: float [6], their standard deviations, by n − 1; 0 for one map.
    """

    distribution: Array
    means: Array
    deviations: Array


def map_prior(
    maps: Array, valid: Array | None = None, *, shape: tuple[int, int]
) -> MapPrior:
    """The mean map of a data set and how its maps vary, outside of `jit`.

    Args:
      maps: float, int or bool [N, H, W] in [0, 1], human maps of the training split.
      valid: bool [N], which images have one; all if None. A map of zeros is none.
      shape: (h, w) of the maps that will be compared with it, those of a layer.

    Returns:
      A `MapPrior` of the maps, each averaged onto the cells.

    Raises:
      ValueError: if there is no map, for values outside [0, 1], or for cells of another
        aspect than the image.
      AssertionError: if `maps` are not [N, H, W] or `valid` is not [N].

    Source: that maps follow a pattern of the data set is the idea of Zhang, Jiang et
      al., arXiv 2411.13053; this prior is our design.
    """
    chex.assert_rank(maps, 3)
    human: Any = np.asarray(maps)
    drawn: Any = np.any(human != 0, axis=(1, 2))
    if valid is not None:
        chex.assert_shape(valid, (len(maps),))
        drawn &= np.asarray(valid, bool)
    checking.check_shares("maps", human, where=drawn)
    if not np.any(drawn):
        raise ValueError(
            f"`maps` (of shape {human.shape}) must hold one map at least that is valid "
            "and not empty: a prior is made of human maps."
        )
    cells = reading.on_cells(ops.at_least_float32(human[drawn]), shape=shape)
    statistics = map_statistics(cells)
    spread = jnp.std(statistics, axis=0, ddof=min(1, len(cells) - 1))
    return MapPrior(
        jnp.mean(saliency.saliency_distribution(cells), axis=0),
        jnp.mean(statistics, axis=0),
        spread,
    )


def map_statistics(maps: Array) -> Array:
    """How much, how sharply and where a map shows, in six numbers.

    Coverage mean M; entropy of P over log(h w); peak max P; centroid x and y, Σ P of
    the middles of the cells in shares of width and height; spread, the root of Σ P
    |place − centroid|² in the same unit. In float32 or wider; gradients flow.

    Args:
      maps: float [B, h, w], of any scale; what is negative counts as 0.

    Returns:
      float [B, 6], all in [0, 1], in the order of `MAP_STATISTICS`. Of a map without a
      positive entry coverage is 0, and the others are those of a uniform one.

    Raises:
      AssertionError: if the maps are not float [B, h, w].

    Source: our design.
    """
    distribution = saliency.saliency_distribution(maps)
    _, height, width = distribution.shape
    dtype = distribution.dtype
    rows = (jnp.arange(height, dtype=dtype) + 0.5) / height
    columns = (jnp.arange(width, dtype=dtype) + 0.5) / width
    entropy = jnp.sum(jax.scipy.special.entr(distribution), axis=(1, 2))
    x = jnp.einsum("bhw,w->b", distribution, columns)
    y = jnp.einsum("bhw,h->b", distribution, rows)
    squares = (rows - y[:, None])[:, :, None] ** 2 + (columns - x[:, None])[
        :, None
    ] ** 2
    values = {
        "coverage": jnp.mean(ops.normalise_by_max(maps), axis=(1, 2)),
        "entropy": entropy / np.log(height * width),
        "peak": jnp.max(distribution, axis=(1, 2)),
        "centroid_x": x,
        "centroid_y": y,
        # No cell is 0, so that neither is the sum under the root.
        "spread": jnp.sqrt(jnp.sum(distribution * squares, axis=(1, 2))),
    }
    return jnp.stack([values[name] for name in MAP_STATISTICS], axis=1)
