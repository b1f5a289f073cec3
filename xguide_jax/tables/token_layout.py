"""What is to be drawn of scored texts, before it is a terminal's or a page's."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from xguide_jax.tables import formatting

_BLANKS = re.compile(r"\s*")


class MarkedText(NamedTuple):
    """One text as several arms score it.

    Attributes:
      title: above it, e.g. its label.
      words: in reading order, each with the blanks that stand before it; a line break
        among them begins a new line, e.g. for the second text of a pair. A word that a
        tokenizer cuts into pieces is one word here, with the sum of their scores.
      scores: {arm: one number a word}, signed; NaN where there is none, e.g. for a word
        that was cut away.
      marked: one bool a word, what a person marked; None where nobody looked.
      notes: {arm: a few words below its name}, e.g. what it predicts.
    """

    title: str
    words: Sequence[str]
    scores: Mapping[str, Sequence[float]]
    marked: Sequence[bool] | None = None
    notes: Mapping[str, str] = {}


class Scale(NamedTuple):
    """From scores to shades.

    Attributes:
      limit: the |score| of the full shade; 0 if there is no score but 0.
      is_saturated: whether words lie beyond it.
      is_signed: whether there are scores below 0, as of an attribution, or none, as of
        an attention.
    """

    limit: float
    is_saturated: bool
    is_signed: bool

    def share(self, score: float) -> float:
        """The score as a share of the limit, in [-1, 1]; NaN where there is none."""
        if math.isnan(score) or not self.limit:
            return score if math.isnan(score) else 0.0
        return max(-1.0, min(1.0, score / self.limit))


class Word(NamedTuple):
    """A word as it is drawn, its text printable and on one line.

    Attributes:
      blank: what stands before it: nothing, a space, or a line break.
      text: the word; empty for one of blanks only.
      score: its number.
      share: of the scale, in [-1, 1], NaN where there is no number.
      marked: whether a person marked it.
    """

    blank: str
    text: str
    score: float
    share: float
    marked: bool


def words_of(text: MarkedText, arm: str, scale: Scale) -> list[Word]:
    """The words of a text as one arm scores them.

    Args:
      text: any.
      arm: of its scores.
      scale: of everything that is shown together.

    Returns:
      One a word.
    """
    marked = [False] * len(text.words) if text.marked is None else text.marked
    return [
        Word(*_split(word), float(score), scale.share(float(score)), bool(is_marked))
        for word, score, is_marked in zip(
            text.words, text.scores[arm], marked, strict=True
        )
    ]


def note_of(words: Sequence[Word]) -> str:
    """What a reader must know of an arm without colours.

    Args:
      words: of one arm.

    Returns:
      'undefined' where no word has a score, 'blank' where all have 0, else ''.
    """
    shares = [word.share for word in words if not math.isnan(word.share)]
    return "" if any(shares) else "blank" if shares else "undefined"


def one_line(text: str) -> str:
    """A text without line breaks and control characters.

    Args:
      text: any.

    Returns:
      Printable text, its blanks single spaces.
    """
    return " ".join(formatting.printable(text).split())


def _split(word: str) -> tuple[str, str]:
    found = _BLANKS.match(word)
    blank = found.group() if found else ""
    return "\n" if "\n" in blank else " " if blank else "", one_line(word)
