"""Texts as vectors: what an image is matched with."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.guidance import parameters
from xguide_jax.types import Array, PRNGKey, PyTree


class TextEncoder(NamedTuple):
    """A vector for each text, as a pair of pure functions.

    Attributes:
      init: key -> params.
      apply: (params, tokens int [B, L], mask bool [B, L]) -> float [B, D]. `mask` is
        False on padding, and throughout where there is no text: finite then, with
        finite gradients.
      width: D.
    """

    init: Callable[[PRNGKey], PyTree]
    apply: Callable[[PyTree, Array, Array], Array]
    width: int


def mean_embedding(*, vocabulary_size: int, width: int) -> TextEncoder:
    """The mean of a learned vector for each token: words without their order.

    Args:
      vocabulary_size: V; ids are in [0, V).
      width: D.

    Returns:
      A `TextEncoder` with params {'embedding': [V, D]}, normal with variance 1 / D; a
      text without tokens is the zero vector.

    Raises:
      ValueError: for a size or width below 1.
    """
    parameters.check_width("vocabulary_size", vocabulary_size)
    parameters.check_width("width", width)

    def init(key: PRNGKey) -> PyTree:
        return {"embedding": parameters.matrix(key, width, vocabulary_size).T}

    def apply(params: PyTree, tokens: Array, mask: Array) -> Array:
        vectors = ops.at_least_float32(params["embedding"])[tokens]
        counted = mask.astype(vectors.dtype)
        total = jnp.einsum("bld,bl->bd", vectors, counted)
        return ops.safe_divide(total, jnp.sum(counted, axis=1, keepdims=True))

    return TextEncoder(init, apply, width)
