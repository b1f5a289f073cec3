"""A transformer encoder of series, of the layers of `Bert`."""

import functools
import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from xguide_jax.models import series_inputs, transformer_layer
from xguide_jax.types import Array, ModelOutput, PyTree


class SeriesTransformer(nn.Module):
    """A dense layer of each step, sines for its place, post-norm layers, logits.

    x_t = W series_t + b + p_t, with p_t the sines and cosines of t at frequencies from
    1 down to 1e-4, so that any length is taken; then the layers of `Bert`. Steps attend
    to later ones too. It takes a dict of 'series' float [B, T, F] and 'mask' bool
    [B, T], False on padding, which no step attends to, and exposes 'series',
    'attention_<l>' [B, heads, T, T], softmax over the last axis, before dropout, and
    'hidden' [B, T, D], what the last layer puts out.

    Attributes:
      num_layers: L.
      num_heads: a divisor of `width`.
      width: D, even.
      hidden_width: inside a layer.
      num_classes: C.
      pooling: what the logits are linear in: 'last', the state of the last step of the
        mask; 'mean', over the mask.
      epsilon: of every layer norm.
      dropout: fraction in [0, 1) of embedded steps, of what each half of a layer adds,
        and of the pooled state that is dropped in train mode, which then needs a key.
      attention_dropout: the same of attention, after it is exposed.
      activation: pointwise; GELU by the error function.

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017: the encoder.
    """

    num_layers: int
    num_heads: int
    width: int
    hidden_width: int
    num_classes: int
    pooling: series_inputs.SeriesPooling
    epsilon: float = 1e-5
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation: Callable[[Array], Array] = transformer_layer.exact_gelu

    @nn.compact
    def __call__(
        self,
        inputs: PyTree,
        *,
        train: bool = False,
        overrides: Mapping[str, Array] | None = None,
    ) -> ModelOutput:
        """Classifies {'series' [B, T, F], 'mask' [B, T]}."""
        if self.width % self.num_heads or self.width % 2:
            raise ValueError(
                f"`width` (={self.width}) must be even and a multiple of `num_heads` "
                f"(={self.num_heads})."
            )
        drop = nn.Dropout(self.dropout, deterministic=not train)

        def encode(series: Array, mask: Array, expose: series_inputs.Expose) -> Array:
            hidden = nn.Dense(self.width, name="embedding")(series)
            places = _places(mask.shape[1], self.width)
            hidden = drop(hidden + jnp.asarray(places, hidden.dtype))
            for number in range(self.num_layers):
                layer = transformer_layer.TransformerLayer(
                    num_heads=self.num_heads,
                    hidden_width=self.hidden_width,
                    epsilon=self.epsilon,
                    dropout=self.dropout,
                    attention_dropout=self.attention_dropout,
                    activation=self.activation,
                    name=f"layer_{number}",
                )
                expose_attention = functools.partial(expose, f"attention_{number}")
                hidden = layer(hidden, mask, expose_attention, train=train)
            return hidden

        return series_inputs.classify_series(
            inputs,
            overrides,
            encode=encode,
            pooling_=self.pooling,
            num_classes=self.num_classes,
            dropout=drop,
        )


def _places(length: int, width: int) -> np.ndarray:
    """Sines, then cosines, of each step: float64 [T, D]."""
    rates = np.exp(-math.log(1e4) * np.arange(width // 2) / max(width // 2 - 1, 1))
    angles = np.arange(length)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
