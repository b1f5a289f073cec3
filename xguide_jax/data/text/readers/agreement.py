"""What several people marked in one text, as the marks of so many of them."""

from collections.abc import Sequence

import numpy as np

from xguide_jax.data.text import examples


def agreed_spans(
    length: int, marked: Sequence[Sequence[examples.Span]], *, at_least: int
) -> tuple[examples.Span, ...]:
    """Maximal runs of characters that at least so many people marked.

    Spans that one person marked side by side, with no blank between, become one.

    Args:
      length: characters of the text.
      marked: spans by person.
      at_least: 1 for the union of all marks, `len(marked)` for the intersection.

    Returns:
      Spans in order.
    """
    votes = np.zeros(length + 1, int)
    for spans in marked:
        own = np.zeros(length + 1, bool)
        for start, end in spans:
            own[start:end] = True
        votes += own
    inside = np.concatenate([[False], votes >= at_least])
    starts = np.flatnonzero(~inside[:-1] & inside[1:])
    ends = np.flatnonzero(inside[:-1] & ~inside[1:])
    return tuple(zip(starts.tolist(), ends.tolist(), strict=True))


def check_at_least(at_least: int, num_people: int) -> None:
    """Refuses a number that so many people cannot reach, or that is reached by none.

    Raises:
      ValueError: if `at_least` is outside 1 .. `num_people`.
    """
    if not 1 <= at_least <= num_people:
        raise ValueError(
            f"`at_least` (={at_least}) must lie in 1 .. {num_people}, the people who "
            "marked each text."
        )
