"""One state for a text, out of the states of its tokens."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax import ops
from xguide_jax.types import Array

Pooling = Literal["class_token", "pooler", "mean", "attention"]
_POOLINGS = ("class_token", "pooler", "mean", "attention")


class AttentionPooling(nn.Module):
    """The weights of an extra attention layer, by a normalised sigmoid.

    s_t = m_t sigmoid(w₂ · tanh(W₁ h_t + b₁) + b₂), a_t = s_t / Σ_u s_u, with m the
    mask. Gradients flow into states and parameters.

    Source: Stacey, Belinkov, Rei, "Supervising Model Attention with Human Explanations
      for Robust Natural Language Inference", AAAI 2022, the variant with an additional
      layer, after the authors' released code. W₁ is D x D here; the width of theirs
      could not be checked.
    """

    @nn.compact
    def __call__(self, hidden: Array, mask: Array) -> Array:
        """Weights [B, T] of states [B, T, D]: at least 0, of sum 1, 0 off the mask.

        All are 0 where the mask is empty.
        """
        inner = jnp.tanh(nn.Dense(hidden.shape[-1], name="hidden")(hidden))
        scores = jax.nn.sigmoid(nn.Dense(1, name="score")(inner)[..., 0])
        scores = jnp.where(mask, ops.at_least_float32(scores), 0.0)
        total = jnp.sum(scores, axis=-1, keepdims=True)
        return ops.safe_divide(scores, total)


def pooled(
    how: Pooling, hidden: Array, mask: Array, expose: Callable[[str, Array], Array]
) -> Array:
    """The pooled state, inside the `__call__` of a network.

    Args:
      how: 'class_token', the first state; 'pooler', tanh(W h₀ + b) of it; 'mean', over
        the mask, 0 where it is empty; 'attention', Σ_t a_t h_t by `AttentionPooling`.
      hidden: float [B, T, D].
      mask: bool [B, T].
      expose: `(name, activation)` -> the activation or what replaces it; it sees
        'attention_top' [B, T].

    Returns:
      float [B, D].

    Raises:
      ValueError: for another `how`.
    """
    if how not in _POOLINGS:
        raise ValueError(f"`pooling` (={how!r}) must be one of {_POOLINGS}.")
    first = hidden[:, 0]
    if how == "class_token":
        return first
    if how == "pooler":
        return jnp.tanh(nn.Dense(hidden.shape[-1], name="pooler")(first))
    if how == "mean":
        counted = mask.astype(hidden.dtype)
        count = jnp.sum(counted, axis=-1, keepdims=True)
        weights = counted / jnp.maximum(count, 1)
    else:
        weights = AttentionPooling(name="attention_top")(hidden, mask)
        weights = expose("attention_top", weights).astype(hidden.dtype)
    return jnp.einsum("bt,btd->bd", weights, hidden)
