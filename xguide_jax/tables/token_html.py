"""Scored texts as HTML, for a notebook and for the page of a run.

Styles come with the fragment and nothing is loaded from elsewhere. Every text on it is
escaped, and only numbers are ever written into an attribute without.
"""

import functools
import html
import importlib.resources
import math
from collections.abc import Iterator, Sequence

from xguide_jax.tables import formatting, token_layout
from xguide_jax.tables.token_layout import MarkedText, Scale, Word

# The full shade leaves dark letters on it a contrast of 5, light ones on a dark page
# as well.
_FULL = 0.8


def format_token_marks(texts: Sequence[MarkedText], scale: Scale) -> str:
    """Every text with its arms side by side, above them one legend.

    A word's background is red where it speaks for and blue where it speaks against, as
    opaque as its score is large; what a person marked is underlined. The number is
    shown where the pointer rests.

    Args:
      texts: in the order shown.
      scale: of all of them.

    Returns:
      A `<div>` with a `<style>` of its own.
    """
    parts = [f'<div class="token-marks"><style>{_style()}</style>']
    parts += _legend(texts, scale)
    for text in texts:
        parts.append(f"<section>{_element('h3', text.title)}")
        parts.append('<div class="arms">')
        for arm in text.scores:
            words = token_layout.words_of(text, arm, scale)
            notes = (text.notes.get(arm, ""), token_layout.note_of(words))
            said = ", ".join(note for note in notes if note)
            small = f" {_element('small', said)}" if said else ""
            name = _escaped(arm)
            parts.append(f"<div><h4>{name}{small}</h4>{''.join(_lines(words))}</div>")
        parts.append("</div></section>")
    return "\n".join([*parts, "</div>"])


def _lines(words: Sequence[Word]) -> Iterator[str]:
    yield "<p>"
    for place, word in enumerate(words):
        yield "</p>\n<p>" if word.blank == "\n" and place else word.blank
        yield _word(word)
    yield "</p>"


def _word(word: Word) -> str:
    shown = _escaped(word.text)
    if word.marked:
        shown = f"<u>{shown}</u>"
    if math.isnan(word.share):
        return f'<b class="none" title="no score">{shown}</b>'
    return _shaded(shown, word.share, f"{word.score:+.4g}")


def _shaded(shown: str, share: float, number: str) -> str:
    shade = f"{_FULL * abs(share):.3f}"
    side = "for" if share > 0 else "against"
    if float(shade) == 0:
        return f'<b title="{number}">{shown}</b>'
    return f'<b class="{side}" style="--shade:{shade}" title="{number}">{shown}</b>'


def _legend(texts: Sequence[MarkedText], scale: Scale) -> Iterator[str]:
    limit = formatting.format_value(scale.limit)
    limit += " or more" * scale.is_saturated
    first = -4 if scale.is_signed else 0
    swatches = "".join(
        _shaded("&nbsp;", quarters / 4, f"{scale.limit * quarters / 4:+.4g}")
        for quarters in range(first, 5)
    )
    low, high = (
        (f"against: \u2212{limit}", f"+{limit}: for")
        if scale.is_signed
        else ("0", limit)
    )
    text = f"{low} {swatches} {high}. One scale for all texts and arms here"
    if any(each.marked is not None for each in texts):
        text += "; <u>underlined</u>: marked by a person"
    yield f'<p class="legend">{text}</p>'


def _element(tag: str, text: str) -> str:
    return f"<{tag}>{_escaped(text)}</{tag}>"


def _escaped(text: str) -> str:
    return html.escape(token_layout.one_line(text))


@functools.cache
def _style() -> str:
    source = importlib.resources.files(__package__).joinpath("token_marks.css")
    return source.read_text(encoding="utf-8")
