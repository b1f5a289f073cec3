"""Texts whose words carry scores, and what a person marked in them.

A text is scored by several arms, networks or explainers, and shown once for each, word
by word, on one scale, so that equal colours are equal numbers. The same record is shown
in a terminal, in a notebook and on the page of a run; nothing is needed beyond NumPy.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from xguide_jax.tables import token_html, token_text
from xguide_jax.tables.token_layout import MarkedText, Scale


class TokenMarks(NamedTuple):
    """Scored texts on one scale, made by `token_marks`.

    Attributes:
      texts: in the order shown.
      scale: of all of them.
    """

    texts: tuple[MarkedText, ...]
    scale: Scale

    def text(self, *, colour: bool, width: int = 88) -> str:
        """The texts for a terminal, as `format_token_marks` writes them."""
        return token_text.format_token_marks(
            self.texts, self.scale, colour=colour, width=width
        )

    def __str__(self) -> str:
        return self.text(colour=False)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return token_html.format_token_marks(self.texts, self.scale)


def token_marks(texts: Sequence[MarkedText], *, quantile: float = 1.0) -> TokenMarks:
    """Texts on one scale, symmetrical about 0: for the terminal, a notebook, the page.

    The limit of the scale is the `quantile` of |s| over all words, arms and texts.

    Args:
      texts: with at least one arm each.
      quantile: in (0, 1]; less than 1 saturates outliers, and the scale says so.

    Returns:
      `TokenMarks`: `print` it, leave it to a notebook, or hand it to
      `reporting.write_report`.

    Raises:
      ValueError: if a text has no arm, scores or marks of another number than words, or
        notes of an arm that it has not; or if `quantile` lies outside (0, 1].
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"`quantile` (={quantile}) must lie in (0, 1].")
    for place, text in enumerate(texts):
        _check(place, text)
    scores = [np.asarray(s, float) for text in texts for s in text.scores.values()]
    finite = np.concatenate([s[np.isfinite(s)] for s in scores] or [np.zeros(0)])
    sizes = np.abs(finite)
    largest = float(sizes.max(initial=0.0))
    # More words than the quantile leaves out may have nothing.
    limit = float(np.quantile(sizes, quantile)) if sizes.size else 0.0
    limit = limit or largest
    scale = Scale(limit, largest > limit, is_signed=bool((finite < 0).any()))
    return TokenMarks(tuple(texts), scale)


def _check(place: int, text: MarkedText) -> None:
    if not text.scores:
        raise ValueError(f"`texts`[{place}] must have the scores of at least one arm.")
    lengths: Mapping[str, int] = {
        **{f"scores[{arm!r}]": len(scores) for arm, scores in text.scores.items()},
        **({} if text.marked is None else {"marked": len(text.marked)}),
    }
    for name, length in lengths.items():
        if length != len(text.words):
            raise ValueError(
                f"`texts`[{place}].{name} must be one a word, {len(text.words)}; it "
                f"has {length}."
            )
    if others := sorted(text.notes.keys() - text.scores.keys()):
        raise ValueError(
            f"`texts`[{place}].notes names {others}; its arms are "
            f"{sorted(text.scores)}."
        )
