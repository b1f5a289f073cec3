"""Saliency as a text is told from it: shares of the peak, a distribution, a grid.

`R` is the map that `explain` gives, `F` the features [B, h, w, K] beneath it. Every map
is brought to a common range by itself: by the maximum of a batch, one bright map would
dim all others, and a batch with one constant map could lose them all.
"""

import chex
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.guidance import explaining, reading
from xguide_jax.types import Array, Explain, StepContext

# In shares of the peak. Without it a cell of 0 would have an infinite logarithm, and a
# map of zeros no distribution.
_FLOOR = 1e-3


def saliency_distribution(maps: Array) -> Array:
    """Each map as a distribution over its cells.

    P = (M + 0.001) / Σ (M + 0.001) with M = R⁺ / max R⁺, in float32 or wider: unchanged
    by a positive factor on the map, never 0, and uniform for a map without a positive
    entry. Gradients flow, through the maximum too.

    Args:
      maps: float [B, h, w], R.

    Returns:
      float [B, h, w], each row adding up to 1.

    Raises:
      AssertionError: if the maps are not float [B, h, w].

    Source: our design. The floor is one of the map in [0, 1], so that a network cannot
      sharpen P by larger logits.
    """
    chex.assert_rank(maps, 3)
    lifted = ops.normalise_by_max(maps) + _FLOOR
    return lifted / jnp.sum(lifted, axis=(1, 2), keepdims=True)


def pool(features: Array, distribution: Array) -> Array:
    """Features averaged by a distribution over their cells.

    Args:
      features: float [B, h, w, K].
      distribution: float [B, h, w].

    Returns:
      float [B, K], Σ_ij P_ij F_ij.
    """
    return jnp.einsum("bhwk,bhw->bk", features, distribution.astype(features.dtype))


def features_and_maps(
    context: StepContext, *, explain: Explain, layer: str
) -> tuple[Array, Array]:
    """The features of the clean pass and the maps of the same cells.

    Args:
      context: of the step.
      explain: (context) -> maps [B, h, w], or [B, h, w, K] of which the channels are
        summed.
      layer: an activation that the network exposes, [B, h, w, K]; or [B, T, K] of a
        transformer whose last h w tokens are the patches of the map, row after row.

    Returns:
      float [B, h, w, K], float [B, h, w]. A map that is finer than the features is
      averaged onto their cells.

    Raises:
      ValueError: for features without a grid, with fewer tokens than the map has cells
        or of another aspect than the map.
    """
    maps = explaining.without_channels(explain(context))
    chex.assert_rank(maps, 3)
    features = ops.at_least_float32(context.output.intermediates[layer])
    if features.ndim == 3:
        features = _patches(features, maps.shape[1:], layer)
    if features.ndim != 4:
        raise ValueError(
            f"`layer` (={layer!r}) gives features of shape {features.shape}; they must "
            "be [B, h, w, K], or [B, T, K] with the patches last."
        )
    _, h, w, _ = features.shape
    explaining.check_cells((len(features), h, w), layer=layer)
    if maps.shape[1:] != (h, w):
        maps = reading.on_cells(maps, shape=(h, w))
    return features, maps


def blank(maps: Array) -> Array:
    """1 for a map without a positive entry, which has no gradient; else 0.

    Args:
      maps: float [B, h, w].

    Returns:
      float [B].
    """
    return (~jnp.any(maps > 0, axis=(1, 2))).astype(maps.dtype)


def _patches(tokens: Array, cells: tuple[int, ...], layer: str) -> Array:
    """The last h w of [B, T, K] as a grid; class and register tokens come first."""
    size, count, width = tokens.shape
    height, breadth = cells
    others = count - height * breadth
    if others < 0:
        raise ValueError(
            f"`layer` (={layer!r}) gives {count} tokens; a map of {tuple(cells)} cells "
            f"needs {height * breadth}."
        )
    return tokens[:, others:].reshape(size, height, breadth, width)
