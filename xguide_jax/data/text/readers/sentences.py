"""Documents of sentences with marks, and which of them a short text keeps."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from xguide_jax.data.text import examples


class Sentence(NamedTuple):
    """A sentence of a document, and the spans of it that are evidence."""

    text: str
    marked: tuple[examples.Span, ...] = ()


# (query, sentences of a document) -> the numbers of those that are kept, in order.
SelectFn = Callable[[str, Sequence[Sentence]], Sequence[int]]


def count_words(text: str) -> int:
    """How many words stand between blanks."""
    return len(text.split())


def sentences_within(
    max_length: int,
    *,
    evidence_first: bool,
    length_fn: Callable[[str], int] = count_words,
) -> SelectFn:
    """A rule that keeps the sentences of a document nearest to the query.

    Sentences come in the order of what they share with the query, Σ log(1 + S / S_w)
    over its words w that are in the sentence, each counted once, where S_w of the S
    sentences of the document hold w; of equals the earlier one. Each is kept if it fits
    into what is left. Where none fits, the first in that order is kept, for the
    tokenizer to cut.

    Args:
      max_length: of the query and the kept sentences together, special tokens not
        counted.
      evidence_first: whether sentences with evidence come before all others: so a text
        to train on holds its evidence wherever it fits. False where a model is tested,
        since there nobody knows the evidence.
      length_fn: how long a text is: `count_words`, or what a tokenizer makes of it,
        `lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)`.

    Returns:
      (query, sentences) -> the numbers of the kept ones, in the document's order.

    Raises:
      ValueError: if `max_length` < 1.
    """
    if max_length < 1:
        raise ValueError(f"`max_length` (={max_length}) must be at least 1.")

    def select(query: str, sentences: Sequence[Sentence]) -> list[int]:
        scores = _shared(query, [sentence.text for sentence in sentences])
        first = [evidence_first and bool(one.marked) for one in sentences]
        order = sorted(
            range(len(sentences)), key=lambda i: (not first[i], -scores[i], i)
        )
        room = max_length - length_fn(query)
        kept: list[int] = []
        for i in order:
            length = length_fn(sentences[i].text)
            if length <= room:
                kept.append(i)
                room -= length
        return sorted(kept or order[:1])

    return select


def joined(
    query: str, sentences: Sequence[Sentence], select: SelectFn | None
) -> tuple[str, tuple[examples.Span, ...], str]:
    """The kept sentences with blanks between, their marks, and how many marks are left.

    Returns:
      (text, spans of it, 'all', 'part' or 'none' of the evidence, in sentences).
    """
    every = range(len(sentences))
    kept = every if select is None else select(query, sentences)
    text, spans = "", []
    for i in kept:
        text += " " if text else ""
        spans += [(len(text) + a, len(text) + b) for a, b in sentences[i].marked]
        text += sentences[i].text
    before = sum(bool(one.marked) for one in sentences)
    after = sum(bool(sentences[i].marked) for i in kept)
    left = "all" if after == before else "part" if after else "none"
    return text, tuple(spans), left


def _shared(query: str, sentences: Sequence[str]) -> list[float]:
    """What each sentence shares with the query, rare words for more."""
    wanted = _words(query)
    found = [wanted & _words(sentence) for sentence in sentences]
    holders = Counter(word for words in found for word in words)
    worth = {word: math.log1p(len(sentences) / n) for word, n in holders.items()}
    # Summed in one order: a set has none, and ties would turn on rounding.
    return [sum(worth[word] for word in sorted(words)) for words in found]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
