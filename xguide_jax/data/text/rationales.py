"""What of a text is evidence: the words a person marked, or said again in explaining.

A `MarkFn` finds them as spans of characters, so that it knows no tokenizer. The three
ways of Stacey, Belinkov, Rei, "Supervising Model Attention with Human Explanations for
Robust Natural Language Inference", AAAI 2022, are `rationale=(explained_words,)` ("full
explanations"), `(highlighted,)` ("annotated") and, for the main results, both together,
`(explained_words, highlighted_on_both_sides)` ("combined", of highlights that are
"reduced").
"""

from collections.abc import Callable
from typing import NamedTuple

from xguide_jax.data.text import examples, words


class Marks(NamedTuple):
    """Evidence in a text and in the second of a pair, as spans of characters.

    Attributes:
      text: spans of `TextExample.text`.
      text_b: spans of `TextExample.text_b`.
    """

    text: tuple[examples.Span, ...] = ()
    text_b: tuple[examples.Span, ...] = ()


# What of an example is marked; nothing where nobody said anything about it.
MarkFn = Callable[[examples.TextExample], Marks]


def explained_words(example: examples.TextExample, *, explanation: int = 0) -> Marks:
    """Every word of the texts that an explanation says as well.

    Two words are the same if their letters are, upper or lower case: "sleeping" is not
    "sleeps". The 35 stop words and 13 punctuation marks are never evidence. A word that
    occurs more than once is marked at each place, in both texts.

    Args:
      example: with explanations.
      explanation: which of them; the first is the only one of training sets, where the
        published code reads no other.

    Returns:
      Marks; none where there is no such explanation.

    Source: Stacey, Belinkov, Rei, AAAI 2022, by their public code.
    """
    if explanation >= len(example.explanations):
        return Marks()
    text = example.explanations[explanation]
    said = {text[a:b].lower() for a, b in words.word_spans(text)}
    said -= words.STOP_WORDS | words.PUNCTUATION
    return Marks(_spans(example.text, said), _spans(example.text_b, said))


def highlighted(example: examples.TextExample) -> Marks:
    """What a person marked, stop words included.

    Args:
      example: with evidence.

    Returns:
      Its evidence; none where nobody marked it.
    """
    return Marks(example.evidence or (), example.evidence_b or ())


def highlighted_on_both_sides(example: examples.TextExample) -> Marks:
    """What a person marked, if something of both texts is.

    The annotators of e-SNLI were to mark neutral pairs in the hypothesis alone, so that
    this leaves nearly no pair without a relation between the two.

    Args:
      example: a pair with evidence.

    Returns:
      Its evidence; none where one of the two texts has none.
    """
    marks = highlighted(example)
    return marks if marks.text and marks.text_b else Marks()


def _spans(text: str, said: set[str]) -> tuple[examples.Span, ...]:
    return tuple((a, b) for a, b in words.word_spans(text) if text[a:b].lower() in said)
