"""Scored texts for a terminal: coloured where that is asked for, else in brackets."""

import functools
import math
from collections.abc import Iterator, Sequence

from xguide_jax.tables import formatting, token_layout
from xguide_jax.tables.token_layout import MarkedText, Scale, Word

_LEVELS = 9  # what one digit holds
# Of the 256 colours of a terminal, light to full, each legible below black letters.
_FOR = (224, 217, 210, 203, 196)
_AGAINST = (189, 153, 117, 75, 33)
_UNDERLINED, _END = "\x1b[4m", "\x1b[0m"


def format_token_marks(
    texts: Sequence[MarkedText], scale: Scale, *, colour: bool, width: int
) -> str:
    """Every text once an arm, its words one below the other where the line ends.

    In colours a word has a red background where it speaks for, a blue one where it
    speaks against, and is underlined where a person marked it. Without, `_dog_[+9]` is
    a marked word of the highest score, `_dog_[9]` where no score is below 0, and a word
    of (nearly) 0 has no brackets.

    Args:
      texts: in the order shown.
      scale: of all of them.
      colour: whether escape sequences are written: not into a file, and not where the
        environment has `NO_COLOR`.
      width: of a line, in characters; a longer word stands alone.

    Returns:
      Lines, without a line break at the end.
    """
    draw = _coloured if colour else functools.partial(_bracketed, scale)
    lines = []
    for text in texts:
        lines.append(token_layout.one_line(text.title))
        for arm in text.scores:
            words = token_layout.words_of(text, arm, scale)
            notes = (text.notes.get(arm, ""), token_layout.note_of(words))
            said = ", ".join(token_layout.one_line(note) for note in notes if note)
            name = token_layout.one_line(arm)
            lines.append(f"  {name} ({said})" if said else f"  {name}")
            lines += _wrapped([(word, *draw(word)) for word in words], width - 4)
        lines.append("")
    return "\n".join([*lines, *_legend(texts, scale, colour=colour)])


def _wrapped(words: Sequence[tuple[Word, str, int]], width: int) -> Iterator[str]:
    """Lines of at most so many visible characters: (word, as drawn, its length)."""
    line, used = "", 0
    for word, drawn, length in words:
        blank = word.blank if line else ""
        if blank == "\n" or (line and blank and used + 1 + length > width):
            yield f"    {line}"
            line, used, blank = "", 0, ""
        line, used = line + blank + drawn, used + len(blank) + length
    yield f"    {line}"


def _coloured(word: Word) -> tuple[str, int]:
    before = _UNDERLINED if word.marked else ""
    if math.isnan(word.share):
        before += "\x1b[2m"  # faint
    else:
        shades = _FOR if word.share > 0 else _AGAINST
        level = round(len(shades) * abs(word.share))
        if level:
            before += f"\x1b[38;5;16;48;5;{shades[level - 1]}m"
    return (f"{before}{word.text}{_END}" if before else word.text), len(word.text)


def _bracketed(scale: Scale, word: Word) -> tuple[str, int]:
    text = f"_{word.text}_" if word.marked else word.text
    if math.isnan(word.share):
        text += "[?]"
    elif level := round(_LEVELS * word.share):
        text += f"[{level:+d}]" if scale.is_signed else f"[{level}]"
    return text, len(text)


def _legend(
    texts: Sequence[MarkedText], scale: Scale, *, colour: bool
) -> Iterator[str]:
    limit = formatting.format_value(scale.limit)
    full = f"{limit}{' or more' if scale.is_saturated else ''}"
    where = "on one scale for all texts and arms"
    if colour:
        sides = "Red for, blue against" if scale.is_signed else "Red"
        yield f"{sides}: full at {full}, {where}."
    else:
        sides = "[+9] for, [-9] against" if scale.is_signed else "[9]"
        yield f"{sides}: {full}, {where}; [?]: no score."
    if any(text.marked is not None for text in texts):
        yield (
            "Underlined: marked by a person."
            if colour
            else "_word_: marked by a person."
        )
