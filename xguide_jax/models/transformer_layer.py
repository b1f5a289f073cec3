"""The post-norm layer of a transformer, of texts and of series."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax import ops
from xguide_jax.types import Array


def exact_gelu(inputs: Array) -> Array:
    """The activation of the published weights: x Φ(x), Φ of the normal distribution.

    Flax's default is the approximation by tanh. By erf, as in PyTorch, it takes half
    the time on CPU of `jax.nn.gelu`, whose erfc keeps the digits of −6e-9 at x = −6;
    this one is within 2e-7 of the largest value.
    """
    return 0.5 * inputs * (1.0 + jax.lax.erf(inputs * math.sqrt(0.5)))


# (keys, values) of the places given -> (keys, values) of those attended to.
Remember = Callable[[Array, Array], tuple[Array, Array]]


class TransformerLayer(nn.Module):
    """Self-attention and two dense layers, a residual connection and norm after each.

    y = norm(x + attention(x)), then norm(y + W₂ activation(W₁ y + b₁) + b₂). No place
    attends to one off the mask; one that may attend to none gives a finite state. Use
    it inside the `__call__` of a network.

    Attributes:
      num_heads: a divisor of the width of the states.
      hidden_width: of W₁.
      epsilon: of both norms.
      dropout: fraction in [0, 1) of what each half adds that is dropped in train mode.
      attention_dropout: the same of attention, after `expose` has seen it.
      activation: pointwise.
    """

    num_heads: int
    hidden_width: int
    epsilon: float
    dropout: float
    attention_dropout: float
    activation: Callable[[Array], Array]

    @nn.compact
    def __call__(
        self,
        hidden: Array,
        mask: Array,
        expose: Callable[[Array], Array],
        *,
        train: bool,
        remember: Remember | None = None,
    ) -> Array:
        """The next states [B, T, D]; `expose` sees the attention [B, heads, T, S].

        `mask` is bool [B, S], which places are attended to, or [B, T, S], which ones by
        which. S is T, unless `remember` turns keys and values [B, T, heads, d] into
        those [B, S, heads, d] that are attended to.
        """
        drop = lambda rate: nn.Dropout(rate, deterministic=not train)
        width = hidden.shape[-1]
        heads = (*hidden.shape[:2], self.num_heads, width // self.num_heads)
        query, key, value = (
            nn.Dense(width, name=name)(hidden).reshape(heads)
            for name in ("query", "key", "value")
        )
        if remember is not None:
            key, value = remember(key, value)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(heads[-1])
        scores = ops.at_least_float32(scores)
        # Finite, so that a place that may attend to none is uniform and not NaN.
        lowest = jnp.finfo(scores.dtype).min
        mask = mask[:, None] if mask.ndim == 3 else mask[:, None, None]
        scores = jnp.where(mask, scores, lowest)
        attention = expose(jax.nn.softmax(scores, axis=-1)).astype(value.dtype)
        attention = drop(self.attention_dropout)(attention)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", attention, value)
        mixed = nn.Dense(width, name="output")(mixed.reshape(hidden.shape))
        hidden = hidden + drop(self.dropout)(mixed)
        hidden = norm(self.epsilon, "attention_norm")(hidden)
        inner = self.activation(nn.Dense(self.hidden_width, name="expand")(hidden))
        inner = nn.Dense(width, name="contract")(inner)
        hidden = hidden + drop(self.dropout)(inner)
        return norm(self.epsilon, "output_norm")(hidden)


def norm(epsilon: float, name: str) -> nn.LayerNorm:
    """A layer norm over the last axis, for inside a network.

    Args:
      epsilon: added to the variance.
      name: of its parameters.

    Returns:
      The unbound module.
    """
    # The fast variance, E x² − (E x)², loses digits where the mean is large.
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, name=name)
