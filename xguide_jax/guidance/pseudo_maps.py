"""Maps that a text points at, for images whose map nobody drew."""

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.types import Array


def pseudo_maps(cells: Array, texts: Array, *, temperature: float) -> Array:
    """Where in an image its text is, by the likeness of each cell to the text.

    S = softmax_ij(cos(v_ij, t) / τ), in float32 or wider. Gradients flow into both;
    a teacher is held constant by who uses it. A zero vector is alike to everything.

    Before image and text are aligned S is noise: use it after a warm-up.

    Args:
      cells: float [B, h, w, D], v, features in the space of the texts.
      texts: float [B, D], t.
      temperature: τ, positive; small ones single out the best cell.

    Returns:
      float [B, h, w], each row adding up to 1.

    Raises:
      ValueError: if `temperature` is not positive.
      AssertionError: if the shapes do not fit.

    Source: our design.
    """
    check_temperature(temperature)
    chex.assert_rank([cells, texts], [4, 2])
    chex.assert_shape(texts, (cells.shape[0], cells.shape[-1]))
    cells = _directions(ops.at_least_float32(cells))
    texts = _directions(ops.at_least_float32(texts)).astype(cells.dtype)
    cosines = jnp.einsum(
        "bhwd,bd->bhw", cells, texts, precision=jax.lax.Precision.HIGHEST
    )
    return jax.nn.softmax(cosines / temperature, axis=(1, 2))


def check_temperature(temperature: float) -> None:
    """Refuses a temperature that is not positive.

    Args:
      temperature: τ.

    Raises:
      ValueError: naming it.
    """
    if not temperature > 0:
        raise ValueError(f"`temperature` (={temperature}) must be positive.")


def _directions(vectors: Array) -> Array:
    return ops.safe_divide(vectors, ops.safe_norm(vectors, axis=-1)[..., None])
