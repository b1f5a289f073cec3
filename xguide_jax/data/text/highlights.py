"""Highlights written into a text with stars, as the e-SNLI corpus has them."""

from xguide_jax.data.text import examples, words


def parse_stars(text: str) -> tuple[str, tuple[examples.Span, ...]]:
    """A text without its stars, and the spans that stood between them.

    The first star opens, the second closes, and so on. Punctuation at the edge of what
    is marked is not marked: `*lunch.*` is the span of "lunch", and `*.*` none. Words
    were marked one by one, so there is no blank between an opening and a closing star;
    where there is one, or nothing at all, a star was a character of the text itself,
    and every later pair would be off by one.

    Args:
      text: with pairs of stars; blanks around it are left out, as the corpus has one in
        front of marked sentences and none in front of the sentences themselves.

    Returns:
      (text without stars, spans of it in order).

    Raises:
      ValueError: if the stars are odd in number, or two that belong together have a
        blank or nothing between them.

    Source: Camburu et al., "e-SNLI: Natural Language Inference with Natural Language
      Explanations", NeurIPS 2018, the columns `Sentence1_marked_1` and the like, and
      the notes on them in its repository; that punctuation is left out is of Stacey,
      Belinkov, Rei, AAAI 2022.
    """
    pieces = text.strip().split("*")
    if len(pieces) % 2 == 0:
        raise ValueError(f"`text` (={text!r}) must have an even number of stars.")
    plain, spans = "", []
    for i, piece in enumerate(pieces):
        if i % 2:
            if not piece or any(map(str.isspace, piece)):
                raise ValueError(
                    f"`text` (={text!r}) has {'*' + piece + '*'!r}: between two stars "
                    "must stand a word."
                )
            start, end = _without_punctuation(piece)
            if start < end:
                spans.append((len(plain) + start, len(plain) + end))
        plain += piece
    return plain, tuple(spans)


def _without_punctuation(word: str) -> examples.Span:
    """A word's span between the marks at its edges, empty where it is all marks."""
    kept = [i for i, char in enumerate(word) if char not in words.PUNCTUATION]
    return (kept[0], kept[-1] + 1) if kept else (0, 0)
