"""Texts that a `TextHead` says after a prefix: the next likeliest token, or a beam.

log p(text) = Σ_t log p(token_t | prefix, tokens before t), over the n tokens behind the
first: words, and the one that ends the text. Padding and the token that begins a text
are never said. What the head keeps between two tokens is used, where it keeps anything;
`head._replace(begin=None)` says the same without. No row depends on another. Texts are
integers: no gradient flows.
"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from xguide_jax.models import text_head
from xguide_jax.models.text_head import TextHead, TextStep, TokenIds
from xguide_jax.types import Array, PyTree


class DecodedTexts(NamedTuple):
    """Texts of at most L tokens.

    Attributes:
      tokens: int32 [B, L]: the token that begins, words, the token that ends, padding.
        One that found no end within L is cut there and has none.
      mask: bool [B, L], False on padding.
      log_probability: float [B], log p(text), in nats.
    """

    tokens: Array
    mask: Array
    log_probability: Array


class _Greedy(NamedTuple):
    """One text a row."""

    place: Array
    tokens: Array  # int32 [B, L]
    ended: Array  # bool [B]
    log_probability: Array  # float [B]
    cache: PyTree


class _Beam(NamedTuple):
    """K texts a row; leaves of `cache` are [B * K, ...], those of a row together."""

    place: Array
    tokens: Array  # int32 [B, K, L]
    ended: Array  # bool [B, K]
    counts: Array  # float [B, K], n
    log_probability: Array  # float [B, K], -inf where there is no text yet
    cache: PyTree


def greedy_decode(
    head: TextHead,
    params: PyTree,
    prefix: Array,
    *,
    length: int,
    ids: TokenIds = text_head.IDS,
) -> DecodedTexts:
    """The text whose every token is the likeliest after those before it.

    token_t = argmax_v p(v | prefix, tokens before t), the lowest id of a tie. It stops
    where every row has ended, and is compiled once for each head, shape and length. A
    text that ends does not depend on L.

    Args:
      head: what says the texts.
      params: its parameters.
      prefix: float [B, P, D].
      length: L, at least 2.
      ids: of the tokens that are no words.

    Returns:
      The texts.

    Raises:
      ValueError: if `length` is below 2.
      AssertionError: if the shape of `prefix` does not fit.
    """
    _check(head, prefix, length)
    return _greedy(head, params, prefix, length, ids)


def beam_decode(
    head: TextHead,
    params: PyTree,
    prefix: Array,
    *,
    length: int,
    num_beams: int,
    length_penalty: float,
    ids: TokenIds = text_head.IDS,
) -> DecodedTexts:
    """The best of K texts that are followed together.

    Texts are ranked by log p(text) / n^α: by their probability at α = 0, by their mean
    log-probability a token at α = 1, and the larger α, the longer they get. In each
    step every text that has not ended is continued by every token, those that have
    ended stay as they are, and the K best of them all are kept; so an ended text that
    falls behind is lost, and K = 1 is `greedy_decode`. It stops where all K of every
    row have ended.

    Args:
      head: what says the texts.
      params: its parameters.
      prefix: float [B, P, D].
      length: L, at least 2; texts that reach it without an end compete as they are.
      num_beams: K, at least 1.
      length_penalty: α, at least 0.
      ids: of the tokens that are no words.

    Returns:
      The best text of each row.

    Raises:
      ValueError: if `length` is below 2, `num_beams` below 1 or `length_penalty` below
        0.
      AssertionError: if the shape of `prefix` does not fit.
    """
    _check(head, prefix, length)
    if num_beams < 1:
        raise ValueError(f"`num_beams` (={num_beams}) must be at least 1.")
    if not length_penalty >= 0:
        raise ValueError(f"`length_penalty` (={length_penalty}) must be at least 0.")
    penalty = float(length_penalty)
    return _beam(head, params, prefix, length, ids, num_beams, penalty)


def _check(head: TextHead, prefix: Array, length: int) -> None:
    chex.assert_shape(prefix, (None, None, head.width))
    if length < 2:
        raise ValueError(f"`length` (={length}) must be at least 2.")


# Called outside of a program, the loop would otherwise be compiled at every call.
@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _greedy(
    head: TextHead, params: PyTree, prefix: Array, length: int, ids: TokenIds
) -> DecodedTexts:
    """`greedy_decode` of checked arguments."""
    cache, step = _begin(head)(params, prefix, length)

    def say(texts: _Greedy) -> _Greedy:
        last = _at(texts.tokens, texts.place)
        logits, cache = step(texts.cache, last, texts.place)
        log_p = _log_probabilities(logits, ids)
        said = jnp.where(texts.ended, ids.pad, jnp.argmax(log_p, axis=-1))
        gain = jnp.where(texts.ended, 0.0, jnp.max(log_p, axis=-1))
        return _Greedy(
            place=texts.place + 1,
            tokens=_put(texts.tokens, said, texts.place + 1),
            ended=texts.ended | (said == ids.end),
            log_probability=texts.log_probability + gain,
            cache=cache,
        )

    tokens = jnp.full((prefix.shape[0], length), ids.pad, jnp.int32)
    start = _Greedy(
        place=jnp.int32(0),
        tokens=tokens.at[:, 0].set(ids.begin),
        ended=jnp.zeros(prefix.shape[0], bool),
        log_probability=jnp.zeros(prefix.shape[0], jnp.float32),
        cache=cache,
    )
    going = lambda texts: (texts.place < length - 1) & ~jnp.all(texts.ended)
    texts = jax.lax.while_loop(going, say, start)
    return _texts(texts.tokens, texts.log_probability, ids)


@functools.partial(jax.jit, static_argnums=(0, 3, 4, 5))
def _beam(
    head: TextHead,
    params: PyTree,
    prefix: Array,
    length: int,
    ids: TokenIds,
    num_beams: int,
    length_penalty: float | Array,
) -> DecodedTexts:
    """`beam_decode` of checked arguments."""
    batch_size = prefix.shape[0]
    cache, step = _begin(head)(params, prefix, length)
    rank = lambda log_p, counts: log_p / jnp.maximum(counts, 1) ** length_penalty

    def say(beam: _Beam) -> _Beam:
        last = _at(beam.tokens.reshape(-1, length), beam.place)
        logits, cache = step(beam.cache, last, beam.place)
        log_p = _log_probabilities(logits, ids).reshape(*beam.ended.shape, -1)
        # An ended text goes on in one way, by padding, and that costs nothing.
        silent = jnp.where(jnp.arange(log_p.shape[-1]) == ids.pad, 0.0, -jnp.inf)
        log_p = jnp.where(beam.ended[..., None], silent, log_p)
        log_p = log_p + beam.log_probability[..., None]
        counts = jnp.where(beam.ended, beam.counts, beam.counts + 1)
        ranks = rank(log_p, counts[..., None]).reshape(batch_size, -1)
        _, chosen = jax.lax.top_k(ranks, num_beams)
        parents, said = jnp.divmod(chosen, log_p.shape[-1])
        of_parents = lambda values: jnp.take_along_axis(values, parents, axis=1)
        log_p = jnp.take_along_axis(log_p.reshape(batch_size, -1), chosen, axis=1)
        tokens = jnp.take_along_axis(beam.tokens, parents[..., None], axis=1)
        rows = (jnp.arange(batch_size)[:, None] * num_beams + parents).reshape(-1)
        return _Beam(
            place=beam.place + 1,
            tokens=_put(tokens, said, beam.place + 1),
            ended=of_parents(beam.ended) | (said == ids.end),
            counts=of_parents(counts),
            log_probability=log_p,
            cache=jax.tree.map(lambda leaf: leaf[rows], cache),
        )

    def going(beam: _Beam) -> Array:
        over = beam.ended | jnp.isneginf(beam.log_probability)
        return (beam.place < length - 1) & ~jnp.all(over)

    tokens = jnp.full((batch_size, num_beams, length), ids.pad, jnp.int32)
    first = jnp.full((batch_size, num_beams), -jnp.inf, jnp.float32)
    first = first.at[:, 0].set(0.0)
    start = _Beam(
        place=jnp.int32(0),
        tokens=tokens.at[..., 0].set(ids.begin),
        ended=jnp.zeros(first.shape, bool),
        counts=jnp.zeros_like(first),
        log_probability=first,
        cache=jax.tree.map(lambda leaf: jnp.repeat(leaf, num_beams, axis=0), cache),
    )
    beam = jax.lax.while_loop(going, say, start)
    best = jnp.argmax(rank(beam.log_probability, beam.counts), axis=-1)
    rows = jnp.arange(batch_size)
    return _texts(beam.tokens[rows, best], beam.log_probability[rows, best], ids)


def _begin(head: TextHead) -> text_head.BeginText:
    """The head's own, or `apply` on the whole text at every token."""
    if head.begin is not None:
        return head.begin

    def begin(
        params: PyTree, prefix: Array, length: int
    ) -> tuple[tuple[Array, Array], TextStep]:
        def step(
            cache: tuple[Array, Array], tokens: Array, place: Array
        ) -> tuple[Array, tuple[Array, Array]]:
            prefix, said = cache
            said = _put(said, tokens, place)
            mask = jnp.broadcast_to(jnp.arange(length) <= place, said.shape)
            return _at(head.apply(params, prefix, said, mask), place), (prefix, said)

        return (prefix, jnp.zeros((prefix.shape[0], length), jnp.int32)), step

    return begin


def _log_probabilities(logits: Array, ids: TokenIds) -> Array:
    """Of each token behind [B, V]; -inf for those that are never said."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    return log_p.at[:, jnp.array([ids.pad, ids.begin])].set(-jnp.inf)


def _at(values: Array, place: Array) -> Array:
    """What [B, L, ...] holds at a place."""
    return jax.lax.dynamic_index_in_dim(values, place, axis=1, keepdims=False)


def _put(tokens: Array, said: Array, place: Array) -> Array:
    """Tokens [..., L] with the one at a place replaced."""
    said = said.astype(tokens.dtype)
    return jax.lax.dynamic_update_index_in_dim(tokens, said, place, axis=-1)


def _texts(tokens: Array, log_probability: Array, ids: TokenIds) -> DecodedTexts:
    return DecodedTexts(tokens, tokens != ids.pad, log_probability)
