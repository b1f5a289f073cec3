"""Replacement values for places of a sequence, by fills that are told which are kept.

A fill for images sees the values alone. Of a sequence some places are padding, whose
zeros are in no range, and a replacement may be a copy of a place that is kept. That a
fill is told of both is said, by `sequence_fill`, and never guessed from its signature.
"""

import functools
from collections.abc import Callable
from typing import Protocol

import chex
import jax
import jax.numpy as jnp

from xguide_jax.ops import filling
from xguide_jax.types import Array, PRNGKey


class FillWithPlaces(Protocol):
    """What `sequence_fill` lifts."""

    def __call__(
        self, key: PRNGKey, values: Array, *, counted: Array, kept: Array
    ) -> Array:
        """Replacement values, shaped and typed like the values [B, T, ...].

        `counted` and `kept` are bool, of the values' rank and broadcast to their shape:
        the places that may be replaced, and those of them that are not.
        """


class SequenceFill:
    """A fill that is told which places count and are kept, by `sequence_fill`.

    Attributes:
      copies: whether its values are places of the sequence itself.
      by_text: whether it is also told which text of its example a place is of.
    """

    def __init__(
        self, fill: FillWithPlaces, *, copies: bool, by_text: bool = False
    ) -> None:
        functools.update_wrapper(self, fill)
        self._fill: Callable[..., Array] = fill
        self.copies = copies
        self.by_text = by_text

    def __call__(
        self,
        key: PRNGKey,
        values: Array,
        *,
        counted: Array,
        kept: Array,
        texts: Array | None = None,
    ) -> Array:
        """Calls the fill, with `texts` if it is `by_text`."""
        told = {"texts": texts} if self.by_text else {}
        return self._fill(key, values, counted=counted, kept=kept, **told)


def sequence_fill(
    fill: FillWithPlaces, *, copies: bool = False, by_text: bool = False
) -> SequenceFill:
    """Says of a fill that it is told which places count and are kept; a decorator.

    Args:
      fill: (key or keys [B], values [B, T, ...], *, counted, kept) -> replacement
        values, shaped and typed like the values.
      copies: its values are places of the sequence itself, such as another token's
        embedding: terms let gradients flow into what was copied, and hold any other
        fill constant.
      by_text: it has a further keyword `texts`, int, shaped as `counted` is: which text
        of its example a place is of, such as the segments of a pair; None where all is
        one text.

    Returns:
      the same function, which terms call with all of these.
    """
    return SequenceFill(fill, copies=copies, by_text=by_text)


@functools.partial(sequence_fill, copies=True, by_text=True)
def previous_salient_token(
    key: PRNGKey,
    values: Array,
    *,
    counted: Array,
    kept: Array,
    texts: Array | None = None,
) -> Array:
    """At each place the value of the last kept place of its text up to it.

    Where none of its text comes before, that of the next one in it; where its text has
    none, that of the last one of the text before, or else of the next text's first; the
    value itself where nothing is kept. At the word embeddings it is the replacement of
    a token by the previous salient one. Gradients flow into the values copied.

    Args:
      key: not used, any key.
      values: [B, T, ...].
      counted: not used: only kept places are sources.
      kept: bool, of the values' rank, [B, T, 1, ...] for whole places or with further
        axes of the values' size, each of which is then looked at by itself.
      texts: int, shaped as `kept` or broadcast to it: places of one text have one
        number and lie together; None where all is one text.

    Returns:
      Shaped and typed like `values`.

    Raises:
      AssertionError: if the ranks or shapes differ from the above.

    Source: Ismail, Corrada Bravo, Feizi, NeurIPS 2021, at second hand: the code of
      their experiments on text was never published. What to do where nothing salient
      comes before is ours.
    """
    del key, counted
    chex.assert_type(kept, bool)
    chex.assert_equal_rank([values, kept])
    chex.assert_equal_shape_prefix([values, kept], 2)
    place = jax.lax.broadcasted_iota(jnp.int32, kept.shape, 1)
    previous = jax.lax.cummax(jnp.where(kept, place, -1), axis=1)
    following = jnp.where(kept, place, kept.shape[1])
    following = jax.lax.cummin(following, axis=1, reverse=True)
    sources = [previous, following]
    there = [previous >= 0, following < kept.shape[1]]
    if texts is not None:
        chex.assert_type(texts, int)
        chex.assert_equal_rank([kept, texts])
        chex.assert_equal_shape_prefix([kept, texts], 2)
        texts = jnp.broadcast_to(texts, kept.shape)
        # A source that is not there is out of range, and is read at the nearest place.
        of = [jnp.take_along_axis(texts, source, 1, mode="clip") for source in sources]
        own = [found & (text == texts) for found, text in zip(there, of, strict=True)]
        sources, there = [*sources, *sources], [*own, *there]
    source = jnp.select(there, sources, place)
    return jnp.take_along_axis(values, source, axis=1)


@sequence_fill
def uniform_example_range_fill(
    key: PRNGKey, values: Array, *, counted: Array, kept: Array
) -> Array:
    """Uniform noise in the range of each example, over all its steps and features.

    Args:
      key: typed key [] or keys [B].
      values: float [B, T, ...].
      counted: bool, broadcast to the values: only they are in the range.
      kept: not used: what is replaced is in the range as well.

    Returns:
      float, shaped and typed like `values`.

    Raises:
      AssertionError: if the values are not float.
      ValueError: as `example_keys`.

    Source: the only public code for series of several features, TimeX's baseline, at
      second hand; see `uniform_range_fill`.
    """
    del kept
    axes = tuple(range(1, values.ndim))
    return filling.uniform_range_fill(key, values, axes=axes, where=counted)


@sequence_fill
def uniform_feature_range_fill(
    key: PRNGKey, values: Array, *, counted: Array, kept: Array
) -> Array:
    """Uniform noise in the range of each feature of an example, over its steps.

    Args:
      key: typed key [] or keys [B].
      values: float [B, T, ...].
      counted: bool, broadcast to the values: only they are in the range.
      kept: not used: what is replaced is in the range as well.

    Returns:
      float, shaped and typed like `values`.

    Raises:
      AssertionError: if the values are not float.
      ValueError: as `example_keys`.

    Source: ours for series; the range of each channel is that of the published code for
      colour images, see `uniform_range_fill`.
    """
    del kept
    return filling.uniform_range_fill(key, values, axes=1, where=counted)
