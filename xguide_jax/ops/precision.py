"""The precision that losses, maps and metrics are computed in."""

import jax.numpy as jnp

from xguide_jax.types import Array


def at_least_float32(array: Array) -> Array:
    """The same numbers as float32, or as float64 if that is what they were.

    So that bfloat16 activations, bool masks and integer annotations meet in one dtype,
    under strict promotion too. Gradients flow and return in the dtype that came in.

    Args:
      array: float, int or bool [...].

    Returns:
      float32 or float64 [...].
    """
    array = jnp.asarray(array)
    wide = array.dtype == jnp.float64
    return array.astype(jnp.float64 if wide else jnp.float32)
