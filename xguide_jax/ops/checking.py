"""Values of arguments: which are annotations or counts, and who refuses the others.

A region holds shares in [0, 1], signs are -1, 0 and 1. A mask stored as 0 and 255, a
map of class ids or a label for "unknown" gives every formula a number, and a wrong one.
Values that exist are refused; those inside `jit` can only be marked.
"""

import operator
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from xguide_jax.types import Array

# Resizing may round a share to just above 1.
_ROUNDING = 1e-6

_ADVICE = (
    "; `data.region_from_labels` converts masks of 0 and 255, class ids and void labels"
)


def is_share(values: Array) -> Array:
    """Which entries lie in [0, 1], up to a rounding of 1e-6; NaN does not.

    Args:
      values: float [...].

    Returns:
      bool [...].
    """
    return (values >= -_ROUNDING) & (values <= 1 + _ROUNDING)


def is_sign(values: Array) -> Array:
    """Which entries are -1, 0 or 1.

    Args:
      values: float [...].

    Returns:
      bool [...].
    """
    return (values == 0) | (abs(values) == 1)


def is_mark(values: Array) -> Array:
    """Which entries are finite and at least 0; NaN is not.

    Args:
      values: float [...].

    Returns:
      bool [...].
    """
    return (values >= 0) & (values < float("inf"))


def check_shares(name: str, values: Array, *, where: Array | None = None) -> None:
    """Refuses a region whose values are not shares in [0, 1], where there are values.

    Args:
      name: of the argument, for the message.
      values: float, int or bool [B, ...].
      where: bool [B], the examples looked at; all if None.

    Raises:
      ValueError: for a value outside [0, 1] or NaN. Nothing traced is looked at.
    """
    _check(name, values, where, is_share, "lie in [0, 1]")


def check_signs(name: str, values: Array, *, where: Array | None = None) -> None:
    """Refuses signs other than -1, 0 and 1, where there are values.

    Args:
      name: of the argument, for the message.
      values: float, int or bool [B, ...].
      where: bool [B], the examples looked at; all if None.

    Raises:
      ValueError: for another value, or NaN. Nothing traced is looked at.
    """
    _check(name, values, where, is_sign, "be -1, 0 or 1")


def check_marks(name: str, values: Array, *, where: Array | None = None) -> None:
    """Refuses marks that are negative or not finite, where there are values.

    Args:
      name: of the argument, for the message.
      values: float, int or bool [B, ...].
      where: bool [B], the examples looked at, or shaped like the values; all if None.

    Raises:
      ValueError: for such a value. Nothing traced is looked at.
    """
    _check(name, values, where, is_mark, "be finite and at least 0", advice="")


def checked_count(name: str, count: int) -> int:
    """How often an unrolled loop runs.

    Args:
      name: of the argument.
      count: at least 1, known when the function is traced.

    Returns:
      it, as an int.

    Raises:
      ValueError: if it is less than 1, no whole number, or traced.
    """
    try:
        checked = operator.index(count)
    except TypeError as error:
        raise ValueError(
            f"`{name}` (={count}) must be a whole number that is known when the "
            "function is traced, since the loop is unrolled."
        ) from error
    if checked < 1:
        raise ValueError(f"`{name}` (={count}) must be at least 1.")
    return checked


def _check(
    name: str,
    values: Array,
    where: Array | None,
    is_good: Callable[[Any], Any],
    rule: str,
    advice: str = _ADVICE,
) -> None:
    if isinstance(values, jax.core.Tracer) or isinstance(where, jax.core.Tracer):
        return
    numbers = np.asarray(values)
    bad = ~np.asarray(is_good(numbers.astype(np.float64)))
    if where is not None:
        looked_at = np.asarray(where, bool)
        bad &= looked_at.reshape(*looked_at.shape, *[1] * (bad.ndim - looked_at.ndim))
    if np.any(bad):
        place = tuple(np.argwhere(bad)[0].tolist())
        raise ValueError(
            f"`{name}`{list(place)} (={numbers[place]}) must {rule}{advice}."
        )
