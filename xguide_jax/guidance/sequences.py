"""Sequences as guidance terms read them out of a batch: tokens, or steps of a series.

Where 'inputs' are a dict with a 'mask' there is padding, which is never evidence and
never counted. Nor are the tokens that 'special' marks, such as [CLS] and [SEP], which
nobody wrote.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.guidance import validity
from xguide_jax.ops import checking
from xguide_jax.types import Array, Batch


class _Rule(NamedTuple):
    """What values an annotation may have."""

    is_good: Callable[[Array], Array]
    check: Callable[..., None]


_SHARES = _Rule(checking.is_share, checking.check_shares)
_MARKS = _Rule(checking.is_mark, checking.check_marks)


def mask_of(batch: Batch) -> Array | None:
    """Which places of a sequence are no padding.

    Args:
      batch: with 'inputs', of which a dict may hold 'mask', bool [B, T].

    Returns:
      bool [B, T], or None where there is no mask and so no padding.

    Raises:
      AssertionError: if the mask is of another rank or dtype.
    """
    return _bool_of(batch["inputs"], "mask")


def counted_of(batch: Batch) -> Array | None:
    """Which places of a sequence a term may touch: neither padding nor special.

    Args:
      batch: with 'inputs', of which a dict may hold 'mask', bool [B, T], False on the
        padding; and with or without 'special', bool [B, T], True on the tokens that are
        not part of a text.

    Returns:
      bool [B, T], or None where the batch has neither and every place counts.

    Raises:
      AssertionError: if the shapes differ, or are of another rank or dtype.
    """
    mask, special = mask_of(batch), _bool_of(batch, "special")
    if special is None:
        return mask
    if mask is None:
        return ~special
    chex.assert_equal_shape([mask, special])
    return mask & ~special


def texts_of(batch: Batch, shape: tuple[int, ...]) -> Array:
    """Which text of an example each place belongs to.

    Args:
      batch: with 'inputs', of which a dict may hold 'segments', int [B, T], and what
        `counted_of` reads.
      shape: (B, T).

    Returns:
      int [B, T], −1 where nothing counts; 0 elsewhere if there are no segments.

    Raises:
      AssertionError: if the shapes differ.
    """
    inputs, counted = batch["inputs"], counted_of(batch)
    texts = jnp.zeros(shape, jnp.int32)
    if isinstance(inputs, Mapping) and "segments" in inputs:
        texts = inputs["segments"]
    chex.assert_shape(texts, shape)
    return texts if counted is None else jnp.where(counted, texts, -1)


def evidence_of(batch: Batch, name: str) -> tuple[Array, Array]:
    """Where the evidence of each sequence lies: by token, by step, or by cell.

    Args:
      batch: with an entry `name`, bool or float [B, T] or [B, T, F] in [0, 1], and what
        `counted_of` reads. '<name>_valid', bool [B], is optional.
      name: of the entry, 'rationale' or 'region'.

    Returns:
      float, of the same shape, 0 where nothing counts; bool [B], True where the example
      is annotated: valid, and a place that counts is marked.

    Raises:
      ValueError: if the batch lacks the entry, naming what it has; if the entry is not
        of the length of the mask, naming both shapes; for values that are refused.
      AssertionError: if the rank differs from the above.
    """
    return _read(name, batch, ranks={2, 3}, rule=_SHARES)


def marks_of(batch: Batch, name: str) -> tuple[Array, Array]:
    """The marks of each text, of any size, with 0 where nothing counts.

    Args:
      batch: with an entry `name`, bool or float [B, T], finite and at least 0, and what
        `counted_of` reads. '<name>_valid', bool [B], is optional.
      name: of the entry, 'rationale'.

    Returns:
      float [B, T]; bool [B], as `evidence_of`.

    Raises:
      ValueError: as `evidence_of`.
      AssertionError: if the rank differs from the above.
    """
    return _read(name, batch, ranks={2}, rule=_MARKS)


def spread(counted: Array, maps: Array) -> Array:
    """What is said of places, [B, T], of the rank of maps [B, T, ...].

    Args:
      counted: [B, T].
      maps: [B, T, ...].

    Returns:
      [B, T, 1, ...], of the rank of the maps.
    """
    return counted.reshape(*counted.shape, *[1] * (maps.ndim - counted.ndim))


def fitted(marks: Array, maps: Array, name: str) -> Array:
    """Marks of places, [B, T] or [B, T, F], of the rank of maps [B, T, ...].

    Args:
      marks: of the evidence.
      maps: [B, T], [B, T, F] or, with a last axis that is no part of a place, such as
        the dimensions of an embedding, one rank more than the marks.
      name: of the evidence, for the message.

    Returns:
      the marks, or [B, T, 1] of them.

    Raises:
      ValueError: if the maps are of another shape or rank.
    """
    fits = maps.shape[: marks.ndim] == marks.shape
    if not fits or maps.ndim > marks.ndim + 1:
        raise ValueError(
            f"batch[{name!r}] of shape {marks.shape} does not fit maps of shape "
            f"{maps.shape}: they must be of the same shape, or the maps have one axis "
            "more."
        )
    return spread(marks, maps)


def _read(
    name: str, batch: Batch, *, ranks: set[int], rule: _Rule
) -> tuple[Array, Array]:
    if name not in batch:
        raise validity.missing((f"'{name}'",), batch)
    marks, counted = batch[name], counted_of(batch)
    chex.assert_rank(marks, ranks)
    if counted is not None:
        if marks.shape[:2] != counted.shape:
            raise ValueError(
                f"batch[{name!r}] of shape {marks.shape} does not fit the mask of the "
                f"inputs, [B, T] = {counted.shape}: it must be [B, T] or [B, T, ...]."
            )
        marks = jnp.where(spread(counted, marks), marks, jnp.zeros_like(marks))
    valid_name = f"{name}_valid"
    rule.check(f"batch['{name}']", marks, where=batch.get(valid_name))
    marks = ops.at_least_float32(marks)
    good = jnp.all(rule.is_good(marks), axis=tuple(range(1, marks.ndim)))
    return validity.with_validity(validity.spoilt(marks, good), batch, name=valid_name)


def _bool_of(entries: Any, name: str) -> Array | None:
    if not isinstance(entries, Mapping) or name not in entries:
        return None
    chex.assert_rank(entries[name], 2)
    chex.assert_type(entries[name], bool)
    return entries[name]
