"""A network of series by dilated causal convolutions."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax.models import series_inputs
from xguide_jax.types import Array, ModelOutput, PyTree


class TemporalConvolutionNetwork(nn.Module):
    """Residual blocks of two causal convolutions, the dilation doubled by each block.

    (conv x)_t = b + Σ_{j < K} W_j x_{t − j d}, d = 2^l in block l, with 0 before the
    start; a block is a(x' + drop a(conv drop a(conv x))), x' = x, or a dense layer
    of it where the widths differ. A state sees 1 + 2 (K − 1)(2^L − 1) steps. It takes a
    dict of 'series' float [B, T, F] and 'mask' bool [B, T], False on padding, whose
    states are 0 in every block, and exposes 'series' and 'hidden' [B, T, H], what the
    last block puts out. No weight norm.

    A convolution is one dense layer of K delayed copies side by side: K times the
    memory of its input, but matrix products in every order of derivative, forward mode
    too, none of which a CPU runs slowly.

    Attributes:
      widths: of the blocks; the last one is H, the count is L.
      kernel_size: K.
      num_classes: C.
      pooling: what the logits are linear in: 'last', the state of the last step of the
        mask; 'mean', over the mask.
      dropout: fraction in [0, 1) of each convolution's states and of the pooled state
        that is dropped in train mode, which then needs a key.
      activation: a, pointwise, of 0 at 0.

    Source: Bai, Kolter, Koltun, "An Empirical Evaluation of Generic Convolutional and
      Recurrent Networks for Sequence Modeling", 2018.
    """

    widths: Sequence[int]
    kernel_size: int
    num_classes: int
    pooling: series_inputs.SeriesPooling
    dropout: float = 0.0
    activation: Callable[[Array], Array] = jax.nn.relu

    @nn.compact
    def __call__(
        self,
        inputs: PyTree,
        *,
        train: bool = False,
        overrides: Mapping[str, Array] | None = None,
    ) -> ModelOutput:
        """Classifies {'series' [B, T, F], 'mask' [B, T]}."""
        drop = nn.Dropout(self.dropout, deterministic=not train)

        def encode(series: Array, mask: Array, expose: series_inputs.Expose) -> Array:
            del expose
            hidden, valid = series, mask[..., None]
            for block, width in enumerate(self.widths):
                inner = hidden
                for number in range(2):
                    delayed = _delayed(inner, self.kernel_size, 2**block)
                    inner = nn.Dense(width, name=f"block_{block}_{number}")(delayed)
                    # A bias would make padding speak to the steps after it.
                    inner = jnp.where(valid, drop(self.activation(inner)), 0.0)
                if hidden.shape[-1] != width:
                    hidden = nn.Dense(width, name=f"block_{block}_past")(hidden)
                hidden = jnp.where(valid, self.activation(hidden + inner), 0.0)
            return hidden

        return series_inputs.classify_series(
            inputs,
            overrides,
            encode=encode,
            pooling_=self.pooling,
            num_classes=self.num_classes,
            dropout=drop,
        )


def _delayed(values: Array, count: int, dilation: int) -> Array:
    """Copies late by 0, d, …, (K − 1) d steps: [B, T, F] -> [B, T, K F]."""
    length = values.shape[1]
    copies = []
    for number in range(count):
        delay = min(number * dilation, length)
        kept = values[:, : length - delay]
        copies.append(jnp.pad(kept, ((0, 0), (delay, 0), (0, 0))))
    return jnp.concatenate(copies, axis=-1)
