"""Values as text that is safe to print, paste and publish."""

import unicodedata
from typing import Any

import numpy as np

# Joiners that some scripts and emoji cannot be written without.
_HARMLESS = frozenset("\n\t\u200c\u200d")


def printable(text: str) -> str:
    r"""Text with every control character written out, e.g. an escape as `\x1b`.

    Control characters drive terminals, invisible ones reverse the direction of what
    follows, and lone surrogates cannot be encoded. Line breaks and tabs stay.

    Args:
      text: anything.

    Returns:
      Text without control, formatting or surrogate characters.
    """
    if text.isprintable():  # quick, as the megabytes of an embedded figure need it
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in ("Cc", "Cf", "Cs")
        and character not in _HARMLESS
        else character
        for character in text
    )


def format_value(value: object) -> str:
    """One value for a reader: four significant digits, and NaN as 'undefined'.

    Args:
      value: a number or an array without axes, of any type, text, None (shown as a
        dash), or anything with a `str`.

    Returns:
      Printable text.
    """
    value = plain(value)
    if value is None:
        return "\u2013"  # a dash
    if isinstance(value, float):
        return "undefined" if np.isnan(value) else f"{value:.4g}"
    return printable(str(value))


def fixed(value: float, *, digits: int = 3, signed: bool = False) -> str:
    """A number with a fixed count of decimals, and NaN as 'undefined'.

    Args:
      value: the number.
      digits: behind the point.
      signed: whether numbers above 0 carry a plus.

    Returns:
      Text.
    """
    if np.isnan(value):
        return "undefined"
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def estimate_text(estimate: Any, *, digits: int = 3, signed: bool = True) -> str:
    """An estimate with its interval, and how many seeds it rests on where some lack.

    Args:
      estimate: with `value`, `low`, `high`, `num_seeds` and `num_given`, as
        `paired_difference` returns it.
      digits: behind the point.
      signed: whether values above 0 carry a plus, as differences do.

    Returns:
      '+0.012 [+0.003, +0.021]', '+0.012 (one seed, no interval)', or the like.
    """
    value = fixed(estimate.value, digits=digits, signed=signed)
    if np.isnan(estimate.value):
        return value
    bounds = [estimate.low, estimate.high]
    notes = []
    if estimate.num_seeds == estimate.num_given == 1:
        notes.append("one seed")
    elif estimate.num_seeds < estimate.num_given:
        notes.append(f"{estimate.num_seeds} of {estimate.num_given} seeds")
    if np.isnan(bounds).any():
        notes.append("no interval")
    elif np.isinf(bounds).all():
        value += " [unbounded]"
    else:
        low, high = (fixed(bound, digits=digits, signed=signed) for bound in bounds)
        value += f" [{low}, {high}]"
    return f"{value} ({', '.join(notes)})" if notes else value


def plain(value: object) -> object:
    """A number of NumPy or JAX as Python's; anything else as it is.

    Args:
      value: anything.

    Returns:
      A Python number for an array without axes.
    """
    if getattr(value, "ndim", None) == 0 and hasattr(value, "dtype"):
        return np.asarray(value).item()
    return value
