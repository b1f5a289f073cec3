"""Losses that ask for small attributions where the evidence is not.

The sign of an attribution does not matter to them, only its square. They take raw
attributions: nothing has to be clipped or normalised before.
"""

import chex
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.ops import checking
from xguide_jax.types import Array


def right_for_right_reasons(attributions: Array, irrelevant: Array) -> Array:
    """Energy of the attributions on inputs that should not matter.

    Σ (irrelevant · attributions)² over all features of an example, in float32 or wider.
    Gradients flow into both arguments; zero attributions have zero gradient.

    Args:
      attributions: float [B, ...], for the published loss the gradient of the sum of
        all classes' log-probabilities with respect to the inputs.
      irrelevant: float or bool [B, ...], 1 on irrelevant features, 0 elsewhere; axes of
        size 1, such as one channel for all, are broadcast.

    Returns:
      float [B], at least 0, not normalised; 0 where nothing is marked irrelevant.

    Raises:
      ValueError: if `irrelevant` is not in [0, 1], where its values are known.
      AssertionError: if the shapes do not fit.

    Source: Ross, Hughes, Doshi-Velez, "Right for the Right Reasons", IJCAI 2017, the
      term beside the cross-entropy, as in the public code: without division by the
      number of examples or of marked features.
    """
    chex.assert_equal_rank([attributions, irrelevant])
    chex.assert_is_broadcastable(irrelevant.shape, attributions.shape)
    checking.check_shares("irrelevant", irrelevant)
    attributions = ops.at_least_float32(attributions)
    marked = irrelevant.astype(attributions.dtype) * attributions
    return jnp.sum(jnp.square(marked), axis=tuple(range(1, marked.ndim)))
