"""What losses of cosines have in common: vectors of length 1, and a temperature."""

import chex
import jax

from xguide_jax import ops
from xguide_jax.types import Array


def directions(vectors: Array) -> Array:
    """Each vector over its norm; zero vectors stay zero and get no gradient.

    Args:
      vectors: float [B, K].

    Returns:
      float [B, K], float32 or wider.

    Raises:
      AssertionError: if the vectors are not float [B, K].
    """
    chex.assert_rank(vectors, 2)
    # A square of 1e20 is infinite in float32, and one of 1e-20 is 0.
    vectors = ops.rescale_extremes(vectors, axis=-1)
    return ops.safe_divide(vectors, ops.safe_norm(vectors, axis=-1)[:, None])


def check_temperature(temperature: float | Array) -> None:
    """Refuses a temperature that is not positive, where it is known.

    Args:
      temperature: a number, or float [] of a learned one.

    Raises:
      ValueError: if it is 0, negative or NaN. Nothing traced is looked at.
    """
    if isinstance(temperature, jax.core.Tracer):
        return
    if not float(temperature) > 0:
        raise ValueError(f"`temperature` (={temperature}) must be positive.")
