"""What a corpus is here: texts, alone or in pairs, with what a person marked in them.

Readers return a `Corpus`; a tokenizer makes a data set of it. Marks are kept as spans
of characters, so that they are about the text and not about anybody's tokens.
"""

from collections.abc import Mapping
from typing import NamedTuple

# Half-open, of characters: text[start:end].
Span = tuple[int, int]


class TextExample(NamedTuple):
    """A text or a pair of texts, its label, and why.

    Attributes:
      id: unique in its corpus; everything about an example is found by it, never by
        its text, which another example may share.
      text: the text, or the first of a pair (the premise, the claim).
      label: an index into the corpus' `class_names`.
      text_b: the second of a pair (the hypothesis, the document); '' where there is
        one text.
      evidence: spans of `text` that a person marked; () where nothing of it was
        marked, None where nobody marked it.
      evidence_b: the same of `text_b`.
      explanations: what people wrote in their own words; () where nobody did.
      attributes: anything else that is known, for groups and tables: {'heuristic':
        'lexical_overlap'}.
    """

    id: str
    text: str
    label: int
    text_b: str = ""
    evidence: tuple[Span, ...] | None = None
    evidence_b: tuple[Span, ...] | None = None
    explanations: tuple[str, ...] = ()
    attributes: Mapping[str, str] = {}


class Corpus(NamedTuple):
    """Examples, what their labels stand for, and what a reader left out.

    Attributes:
      examples: with ids that differ.
      class_names: what the labels stand for.
      skipped: {reason: how many rows of the source are no example}.
    """

    examples: tuple[TextExample, ...]
    class_names: tuple[str, ...]
    skipped: Mapping[str, int] = {}
