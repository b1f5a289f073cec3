"""BERT: a transformer encoder of texts with a classifier on top.

Small ones are trained from scratch, published ones read by `load_bert`. Places are
tokens, T of them; all that is exposed has the word embeddings before it.
"""

import functools
from collections.abc import Callable, Mapping

import chex
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax.models import overriding, pooling, transformer_layer
from xguide_jax.models.pooling import Pooling
from xguide_jax.types import Array, ModelOutput, PyTree


class Bert(nn.Module):
    """Embeddings, post-norm layers of self-attention, a pooled state, logits.

    x = norm(word + position + segment); in each layer y = norm(x + attention(x)) and
    x = norm(y + W₂ activation(W₁ y + b₁) + b₂). It takes a dict of 'tokens' int [B, T],
    'mask' bool [B, T], False on padding, and 'segments' int [B, T], 0 on a first text
    and 1 on a second, and exposes

    * 'embeddings' [B, T, D], the *word* embeddings, before position, segment and norm;
    * 'attention_<l>' [B, heads, T, T], softmax over the last axis, before dropout;
    * 'hidden_<l>' [B, T, D], what layer l puts out, l from 0;
    * 'attention_top' [B, T], the weights of `pooling='attention'`.

    A residual connection passes each attention by: replaced, it leaves the logits a
    function of the tokens. Padding has attention of exactly 0, so neither logits nor
    gradients depend on it. A row that is padding only (a batch filled up) gives finite
    logits. Weights start from Flax's initial ones, embeddings from N(0, 1 / D): from
    the published N(0, 0.02²) a small network learns at small steps alone.

    Attributes:
      vocabulary_size: token ids are 0 to this minus 1; any other, even on padding,
        makes the logits of its row NaN.
      num_layers: L.
      num_heads: a divisor of `width`.
      width: D.
      hidden_width: of W₁.
      num_positions: the longest T.
      num_classes: C.
      pooling: what the logits are linear in: 'class_token', the state of the first
        place; 'pooler', a tanh layer on it, as published; 'mean', over the mask;
        'attention', the sum by the weights of `models.AttentionPooling`.
      num_segments: as `vocabulary_size`, of the segments.
      epsilon: of every layer norm, as published.
      dropout: fraction in [0, 1) of embeddings, of what each half of a layer adds, and
        of the pooled state that is dropped in train mode, which then needs a key.
      attention_dropout: the same of attention, after it is exposed.
      activation: pointwise; GELU by the error function.

    Source: Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional
      Transformers for Language Understanding", NAACL 2019.
    """

    vocabulary_size: int
    num_layers: int
    num_heads: int
    width: int
    hidden_width: int
    num_positions: int
    num_classes: int
    pooling: Pooling
    num_segments: int = 2
    epsilon: float = 1e-12
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
        """Classifies {'tokens', 'mask', 'segments'}, each [B, T]."""
        tokens, mask, segments = self._checked(inputs)
        exposed: dict[str, Array] = {}

        def expose(name: str, activation: Array) -> Array:
            exposed[name] = overriding.override(name, activation, overrides)
            return exposed[name]

        drop = nn.Dropout(self.dropout, deterministic=not train)
        words = self._embed(self.vocabulary_size, "word_embeddings", tokens)
        words = expose("embeddings", words)
        positions = jnp.arange(tokens.shape[1])
        positions = self._embed(self.num_positions, "position_embeddings", positions)
        segments = self._embed(self.num_segments, "segment_embeddings", segments)
        hidden = words + positions + segments
        hidden = transformer_layer.norm(self.epsilon, "embeddings_norm")(hidden)
        hidden = drop(hidden)
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
            hidden = expose(f"hidden_{number}", hidden)
        pooled = pooling.pooled(self.pooling, hidden, mask, expose)
        logits = nn.Dense(self.num_classes, name="classifier")(drop(pooled))
        return ModelOutput(logits, exposed)

    def _embed(self, size: int, name: str, ids: Array) -> Array:
        # A negative id would count from the end; one too large is NaN already.
        ids = jnp.where(ids < 0, size, ids)
        return nn.Embed(size, self.width, name=name)(ids)

    def _checked(self, inputs: PyTree) -> tuple[Array, Array, Array]:
        if self.width % self.num_heads:
            raise ValueError(
                f"`width` (={self.width}) must be a multiple of `num_heads` "
                f"(={self.num_heads})."
            )
        names = ("tokens", "mask", "segments")
        if not isinstance(inputs, Mapping) or set(inputs) != set(names):
            present = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs)
            raise ValueError(f"`inputs` ({present}) must be a dict of {sorted(names)}.")
        tokens, mask, segments = (inputs[name] for name in names)
        chex.assert_rank(tokens, 2)
        chex.assert_equal_shape([tokens, mask, segments])
        chex.assert_type([tokens, mask, segments], [int, bool, int])
        if tokens.shape[1] > self.num_positions:
            raise ValueError(
                f"`inputs` has {tokens.shape[1]} tokens; `num_positions` "
                f"(={self.num_positions}) is the longest text."
            )
        return tokens, mask, segments
