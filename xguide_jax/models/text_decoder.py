"""A causal transformer that says texts after a prefix of any states.

Small ones are trained from scratch beside a network of images. Places are those of the
prefix, P of them, and then the tokens', L.
"""

import functools
from collections.abc import Callable, Mapping

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax.models import overriding, transformer_layer
from xguide_jax.types import Array, ModelOutput

# Of each layer, keys and values [B, P + L, heads, d].
Cache = tuple[tuple[Array, Array], ...]


class TextDecoder(nn.Module):
    """Embeddings, post-norm layers of causal self-attention, logits by the embeddings.

    x = norm([prefix, word] + position); then the layers of `Bert`, in which a place of
    the prefix attends to all of the prefix, and a token to all of the prefix and to the
    tokens up to itself; logits = x Wᵀ with W the word embeddings. P may be 0.

    Padding has attention of exactly 0, so neither logits nor gradients depend on it; a
    text that is padding only gives finite logits. Gradients of any order flow into the
    prefix. Weights start from Flax's initial ones, all embeddings from N(0, 1 / D): as
    in `Bert`. A prefix of norms near 1 leaves its positions their share.

    Attributes:
      vocabulary_size: V; a larger token id gives NaN.
      num_layers: of them.
      num_heads: a divisor of `width`.
      width: D, of prefix and embeddings.
      hidden_width: inside a layer.
      num_positions: the largest P + L.
      epsilon: of every layer norm.
      activation: pointwise; GELU by the error function.

    Source: the decoder of Vaswani et al., "Attention Is All You Need", NeurIPS 2017,
      without its attention to an encoder: a prefix that sees itself whole stands for
      it, as in Liu et al., "Generating Wikipedia by Summarizing Long Sequences", ICLR
      2018. Embeddings that are weights of the logits too: Press, Wolf, "Using the
      Output Embedding to Improve Language Models", EACL 2017.
    """

    vocabulary_size: int
    num_layers: int
    num_heads: int
    width: int
    hidden_width: int
    num_positions: int
    epsilon: float = 1e-5
    activation: Callable[[Array], Array] = transformer_layer.exact_gelu

    def setup(self) -> None:
        """The parameters, one set for whole texts and for single tokens."""
        if self.width % self.num_heads:
            raise ValueError(
                f"`width` (={self.width}) must be a multiple of `num_heads` "
                f"(={self.num_heads})."
            )
        self.word_embeddings = nn.Embed(self.vocabulary_size, self.width)
        self.position_embeddings = nn.Embed(self.num_positions, self.width)
        self.embeddings_norm = transformer_layer.norm(self.epsilon, "embeddings_norm")
        self.layer = [
            transformer_layer.TransformerLayer(
                num_heads=self.num_heads,
                hidden_width=self.hidden_width,
                epsilon=self.epsilon,
                dropout=0.0,
                attention_dropout=0.0,
                activation=self.activation,
            )
            for _ in range(self.num_layers)
        ]

    def __call__(self, prefix: Array, tokens: Array, mask: Array) -> Array:
        """Logits [B, L, V] of what comes behind each token, as `TextHead.apply`."""
        return self.output(prefix, tokens, mask).logits

    def output(
        self,
        prefix: Array,
        tokens: Array,
        mask: Array,
        *,
        overrides: Mapping[str, Array] | None = None,
    ) -> ModelOutput:
        """The logits and the activations, each of which can be replaced.

        Args:
          prefix: float [B, P, D].
          tokens: int [B, L].
          mask: bool [B, L], False on padding.
          overrides: {name: float [B, ...]} for any of those that are exposed.

        Returns:
          Logits [B, L, V], and

          * 'embeddings' [B, L, D], the word embeddings before position and norm;
          * 'attention_<l>' [B, heads, P + L, P + L], softmax over the last axis;
          * 'hidden_<l>' [B, P + L, D], what layer l puts out, l from 0.

        Raises:
          ValueError: if the places are more than `num_positions`, or `overrides` names
            what is not exposed.
          AssertionError: if the shapes or types do not fit.
        """
        self._check(prefix, tokens, mask)
        exposed: dict[str, Array] = {}

        def expose(name: str, activation: Array) -> Array:
            exposed[name] = overriding.override(name, activation, overrides)
            return exposed[name]

        num_places = prefix.shape[1] + tokens.shape[1]
        words = expose("embeddings", self.word_embeddings(tokens))
        hidden = jnp.concatenate([prefix.astype(words.dtype), words], axis=1)
        hidden = self._placed(hidden, jnp.arange(num_places))
        allowed = _allowed(prefix.shape[1], mask)
        for number, layer in enumerate(self.layer):
            expose_attention = functools.partial(expose, f"attention_{number}")
            hidden = layer(hidden, allowed, expose_attention, train=False)
            hidden = expose(f"hidden_{number}", hidden)
        unknown = set(overrides or ()) - set(exposed)
        if unknown:
            raise ValueError(
                f"`overrides` names {sorted(unknown)}; the decoder exposes "
                f"{sorted(exposed)}."
            )
        logits = self.word_embeddings.attend(hidden[:, prefix.shape[1] :])
        return ModelOutput(logits, exposed)

    def begin(self, prefix: Array, *, length: int) -> Cache:
        """The keys and values of a prefix, with room for a text.

        Args:
          prefix: float [B, P, D].
          length: L.

        Returns:
          The cache, for `step`.

        Raises:
          ValueError: if the places are more than `num_positions`.
          AssertionError: if the shape does not fit.
        """
        chex.assert_shape(prefix, (None, None, self.width))
        self._check_places(prefix.shape[1], length)
        batch_size, num_prefix, _ = prefix.shape
        prefix = prefix.astype(self.word_embeddings.embedding.dtype)
        heads = (self.num_heads, self.width // self.num_heads)
        room = jnp.zeros((batch_size, num_prefix + length, *heads), prefix.dtype)
        cache = ((room, room),) * self.num_layers
        hidden = self._placed(prefix, jnp.arange(num_prefix))
        return self._extended(cache, hidden, jnp.int32(0))[1]

    def step(self, cache: Cache, tokens: Array, place: Array) -> tuple[Array, Cache]:
        """One token further: the logits about the one behind it.

        Equal to `__call__` on the tokens so far, at the last of them.

        Args:
          cache: by `begin`, or by the step before.
          tokens: int [B].
          place: int32 scalar, P plus the token's place in its text.

        Returns:
          (logits [B, V], the cache with the token's keys and values).
        """
        words = self.word_embeddings(tokens)[:, None]
        hidden, cache = self._extended(cache, self._placed(words, place[None]), place)
        return self.word_embeddings.attend(hidden[:, 0]), cache

    def _extended(
        self, cache: Cache, hidden: Array, start: Array
    ) -> tuple[Array, Cache]:
        """States [B, T, D] of places from `start` on, that see all up to the last."""
        updated: list[tuple[Array, Array]] = []

        def write(
            kept: tuple[Array, Array], key: Array, value: Array
        ) -> tuple[Array, Array]:
            put = functools.partial(jax.lax.dynamic_update_slice_in_dim, axis=1)
            updated.append((put(kept[0], key, start), put(kept[1], value, start)))
            return updated[-1]

        num_places = cache[0][0].shape[1]
        seen = jnp.arange(num_places) < start + hidden.shape[1]
        seen = jnp.broadcast_to(seen, (hidden.shape[0], num_places))
        for layer, kept in zip(self.layer, cache, strict=True):
            remember = functools.partial(write, kept)
            hidden = layer(hidden, seen, _unseen, train=False, remember=remember)
        return hidden, tuple(updated)

    def _placed(self, states: Array, places: Array) -> Array:
        """States [B, T, D] with their positions, places [T], as the first layer is."""
        return self.embeddings_norm(states + self.position_embeddings(places))

    def _check(self, prefix: Array, tokens: Array, mask: Array) -> None:
        chex.assert_rank([prefix, tokens], [3, 2])
        chex.assert_equal_shape([tokens, mask])
        chex.assert_shape(prefix, (tokens.shape[0], None, self.width))
        chex.assert_type([prefix, tokens, mask], [float, int, bool])
        self._check_places(prefix.shape[1], tokens.shape[1])

    def _check_places(self, num_prefix: int, length: int) -> None:
        if num_prefix + length > self.num_positions:
            raise ValueError(
                f"`prefix` of {num_prefix} and a text of {length} are more places than "
                f"`num_positions` (={self.num_positions})."
            )


def _unseen(attention: Array) -> Array:
    """Attention that nobody reads or replaces."""
    return attention


def _allowed(num_prefix: int, mask: Array) -> Array:
    """Which place [B, P + L, 1] may attend to which [.., P + L]: the decoder's rule."""
    filled = jnp.pad(mask, ((0, 0), (num_prefix, 0)), constant_values=True)
    places = jnp.arange(filled.shape[1])
    last = jnp.maximum(places, num_prefix - 1)
    return filled[:, None, :] & (places <= last[:, None])
