"""Attribution maps brought to a common range, each example by itself.

All axes but `B` are one map. The extreme a map is divided by is part of the function:
gradients flow through it, and hold it constant only where the caller does. The cell it
comes from is 1 exactly, with a gradient of zeros, in whatever program. A map with
nothing to divide by becomes zeros, with a gradient of zeros.
"""

import chex
import jax
import jax.numpy as jnp

from xguide_jax.ops import precision, reducing
from xguide_jax.types import Array


def normalise_by_max(maps: Array) -> Array:
    """Positive part of each map over its maximum.

    A⁺ / max A⁺ with A⁺ = max(A, 0), in float32 or wider. Unchanged by a positive factor
    on the map; zeros, with zero gradient, for a map without a positive entry.

    Args:
      maps: float [B, ...], e.g. [B, H, W].

    Returns:
      float, shaped like `maps`, in [0, 1].

    Raises:
      AssertionError: if `maps` is not float or has the batch axis only.
    """
    maps, axes = _wide(maps)
    positive = jax.nn.relu(maps)
    return _over_largest(positive, jnp.max(positive, axis=axes, keepdims=True))


def normalise_by_max_magnitude(maps: Array) -> Array:
    """Each map over its largest magnitude, signs kept.

    A / max |A|, in float32 or wider. Unchanged by a positive factor on the map; zeros,
    with zero gradient, for a map of zeros.

    Args:
      maps: float [B, ...], e.g. [B, H, W].

    Returns:
      float, shaped like `maps`, in [−1, 1].

    Raises:
      AssertionError: if `maps` is not float or has the batch axis only.
    """
    maps, axes = _wide(maps)
    return _over_largest(maps, jnp.max(jnp.abs(maps), axis=axes, keepdims=True))


def min_max_normalise(maps: Array, *, epsilon: float = 0.0) -> Array:
    """Each map shifted and scaled to the range [0, 1].

    (A − min A) / (max A − min A + ε), in float32 or wider. Unchanged by a shift and,
    with ε = 0, by a positive factor; zeros, with zero gradient, for a constant map. The
    maximum is 1 exactly with ε = 0 only.

    Args:
      maps: float [B, ...], e.g. [B, H, W].
      epsilon: ε, at least 0, in the maps' unit; for formulas of the literature that add
        one. It guards nothing here.

    Returns:
      float, shaped like `maps`, in [0, 1].

    Raises:
      ValueError: if `epsilon` is negative.
      AssertionError: if `maps` is not float or has the batch axis only.
    """
    if not float(epsilon) >= 0:
        raise ValueError(f"`epsilon` (={epsilon}) must not be negative.")
    maps, axes = _wide(maps)
    low = jnp.min(maps, axis=axes, keepdims=True)
    high = jnp.max(maps, axis=axes, keepdims=True)
    span = high - low
    divisor = jnp.where(span > 0, span + epsilon, 0.0)  # a constant map has no gradient
    quotient = reducing.safe_divide(maps - low, divisor)
    if float(epsilon) > 0:
        return quotient
    return jnp.where((maps == high) & (span > 0), 1.0, quotient)


def rescale_extremes(values: Array, *, axis: int | tuple[int, ...]) -> Array:
    """Values brought to a scale at which sums and squares neither overflow nor vanish.

    Where the largest magnitude along the axes lies outside of 1e-9 to 1e9, all values
    are multiplied by the power of two that brings it to about 1, which keeps their
    ratios exact; others keep every bit. Without it the squares of a map of 1e-30 would
    all be 0, and the map would look empty. For functions whose result does not depend
    on the scale; gradients flow, the factor is a constant.

    Args:
      values: float [...].
      axis: the axes that share a factor.

    Returns:
      float, shaped like `values`, float32 or wider. What is not finite stays so.

    Raises:
      AssertionError: if the values are not float.
    """
    chex.assert_type(values, float)
    values = precision.at_least_float32(values)
    limits = jnp.finfo(values.dtype)
    largest = jnp.max(jnp.abs(values), axis=axis, keepdims=True)
    _, exponent = jnp.frexp(largest)  # an integer, so that no gradient flows
    ordinary = (jnp.abs(exponent) <= 30) | ~jnp.isfinite(largest)
    # 2 ** -127 would be subnormal, which devices take for 0.
    exponent = jnp.clip(-exponent, limits.minexp, limits.maxexp - 1)
    one = jnp.ones_like(largest)
    return values * jnp.where(ordinary, one, jnp.ldexp(one, exponent))


def _over_largest(maps: Array, largest: Array) -> Array:
    """Maps / largest; 1 or -1 exactly at the largest cell, 0 where nothing is above 0.

    A compiler may multiply by 1 / largest instead, and x (1 / x) need not be 1. Then
    the distance to a target of 1 has a slope in one program and none in another.
    """
    quotient = reducing.safe_divide(maps, largest)
    at_largest = (jnp.abs(maps) == largest) & (largest > 0)
    # The largest cell's quotient has no slope, so a constant in its place is right.
    return jnp.where(at_largest, jnp.sign(maps), quotient)


def _wide(maps: Array) -> tuple[Array, tuple[int, ...]]:
    chex.assert_type(maps, float)
    chex.assert_axis_dimension_gt(maps, 1, 0)
    return precision.at_least_float32(maps), tuple(range(1, maps.ndim))
