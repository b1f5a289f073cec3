"""Recurrent networks of series: an LSTM, and one that sees all steps so far at once.

The loop over time is `jax.lax.scan`, of dense layers only, which keeps its speed on
every device; what does not depend on the state is computed outside of it.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax import ops
from xguide_jax.models import series_inputs
from xguide_jax.types import Array, ModelOutput, PyTree


class LSTM(nn.Module):
    """Long short-term memory and a linear classifier on its states.

    (i, f, g, o) = W x_t + U h_{t−1} + b; c_t = σ(f) c_{t−1} + σ(i) tanh(g);
    h_t = σ(o) tanh(c_t), from h = c = 0. It takes a dict of 'series' float [B, T, F]
    and 'mask' bool [B, T], False on padding, where the state stays what it was, and
    exposes 'series' and 'hidden' [B, T, H], the states h_t. W starts from Flax's
    initial weights, U orthogonal, b from 0 but for 1 at the gate f.

    Attributes:
      width: H.
      num_classes: C.
      pooling: what the logits are linear in: 'last', the state of the last step of the
        mask; 'mean', over the mask.
      dropout: fraction in [0, 1) of the pooled state that is dropped in train mode,
        which then needs a key.
      unroll: steps of the loop that are compiled as one, at least 1: a larger program,
        at times a faster one.

    Source: Hochreiter, Schmidhuber, "Long Short-Term Memory", Neural Computation 1997;
      the gate f by Gers, Schmidhuber, Cummins, "Learning to Forget", 2000.
    """

    width: int
    num_classes: int
    pooling: series_inputs.SeriesPooling
    dropout: float = 0.0
    unroll: int = 1

    @nn.compact
    def __call__(
        self,
        inputs: PyTree,
        *,
        train: bool = False,
        overrides: Mapping[str, Array] | None = None,
    ) -> ModelOutput:
        """Classifies {'series' [B, T, F], 'mask' [B, T]}."""
        cell = _Cell(self.width, self.unroll, name="cell")
        return series_inputs.classify_series(
            inputs,
            overrides,
            encode=lambda series, mask, expose: cell(series, mask),
            pooling_=self.pooling,
            num_classes=self.num_classes,
            dropout=nn.Dropout(self.dropout, deterministic=not train),
        )


class InputCellAttentionLSTM(nn.Module):
    """An LSTM whose cell attends to every step up to its own.

    A_t = softmax(W₂ tanh(W₁ X_tᵀ)) with X_t = (x_1, …, x_t), r rows of weights over the
    steps so far; the cell is given A_t X_t, r mixtures of features, in place of x_t.
    The score of a step does not depend on t, so all A_t are one masked softmax, of
    memory O(B r T²), and nothing of it is inside the loop. Otherwise as `LSTM`; it also
    exposes 'attention' [B, r, T, T], rows over the last axis, 0 on padding and on what
    is yet to come.

    Attributes:
      width: H.
      num_classes: C.
      attention_width: rows of W₁.
      num_mixtures: r, rows of W₂.
      pooling: as `LSTM`.
      dropout: as `LSTM`.
      unroll: as `LSTM`.

    Source: Ismail, Gunady, Pessoa, Corrada Bravo, Feizi, "Input-Cell Attention Reduces
      Vanishing Saliency of Recurrent Neural Networks", NeurIPS 2019.
    """

    width: int
    num_classes: int
    attention_width: int
    num_mixtures: int
    pooling: series_inputs.SeriesPooling
    dropout: float = 0.0
    unroll: int = 1

    @nn.compact
    def __call__(
        self,
        inputs: PyTree,
        *,
        train: bool = False,
        overrides: Mapping[str, Array] | None = None,
    ) -> ModelOutput:
        """Classifies {'series' [B, T, F], 'mask' [B, T]}."""
        cell = _Cell(self.width, self.unroll, name="cell")

        def encode(series: Array, mask: Array, expose: series_inputs.Expose) -> Array:
            dense = lambda width, name: nn.Dense(width, use_bias=False, name=name)
            inner = jnp.tanh(dense(self.attention_width, "attention_hidden")(series))
            scores = dense(self.num_mixtures, "attention_score")(inner)
            scores = ops.at_least_float32(jnp.swapaxes(scores, 1, 2))[:, :, None, :]
            past = jnp.tri(mask.shape[1], dtype=bool) & mask[:, None, None, :]
            # Finite, so that no row is NaN before the first step of the mask.
            lowest = jnp.finfo(scores.dtype).min
            weights = jax.nn.softmax(jnp.where(past, scores, lowest), axis=-1)
            weights = expose("attention", jnp.where(past, weights, 0.0))
            mixed = jnp.einsum("brts,bsf->btrf", weights.astype(series.dtype), series)
            return cell(mixed.reshape(*mask.shape, -1), mask)

        return series_inputs.classify_series(
            inputs,
            overrides,
            encode=encode,
            pooling_=self.pooling,
            num_classes=self.num_classes,
            dropout=nn.Dropout(self.dropout, deterministic=not train),
        )


class _Cell(nn.Module):
    """The states [B, T, H] of an LSTM; its attributes are those of `LSTM`."""

    width: int
    unroll: int

    @nn.compact
    def __call__(self, series: Array, mask: Array) -> Array:
        gates = nn.Dense(4 * self.width, bias_init=_open_gate, name="input")(series)
        kernel = self.param(
            "recurrent",
            nn.initializers.orthogonal(),
            (self.width, 4 * self.width),
        ).astype(gates.dtype)

        def step(
            state: tuple[Array, Array], at: tuple[Array, Array]
        ) -> tuple[tuple[Array, Array], Array]:
            (hidden, memory), (given, valid) = state, at
            gates = jnp.split(given + hidden @ kernel, 4, axis=-1)
            add, keep, show = (jax.nn.sigmoid(gates[n]) for n in (0, 1, 3))
            next_memory = keep * memory + add * jnp.tanh(gates[2])
            next_hidden = show * jnp.tanh(next_memory)
            hidden = jnp.where(valid, next_hidden, hidden)
            return (hidden, jnp.where(valid, next_memory, memory)), hidden

        start = jnp.zeros((len(series), self.width), gates.dtype)
        over_time = (jnp.swapaxes(gates, 0, 1), jnp.swapaxes(mask, 0, 1)[..., None])
        _, hidden = jax.lax.scan(step, (start, start), over_time, unroll=self.unroll)
        return jnp.swapaxes(hidden, 0, 1)


def _open_gate(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Biases of 0, but of 1 where memory is kept: at first it forgets slowly."""
    del key
    quarter = shape[0] // 4
    return jnp.zeros(shape, dtype).at[quarter : 2 * quarter].set(1.0)
