"""Which tokens stand for which characters, by the offsets of the tokenizer."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from xguide_jax.data.text import examples, vocabulary, words

# Encodings are large and only needed until their arrays are made.
_AT_ONCE = 1024


class Pieces(NamedTuple):
    """The tokens of one text, without special ones.

    Attributes:
      ids: int32 [n], their numbers in the vocabulary.
      offsets: int [n, 2], the characters that each stands for.
      words: int32 [n], the place of its word among the `word_spans` of the text.
    """

    ids: np.ndarray
    offsets: np.ndarray
    words: np.ndarray


def encode(
    rows: Sequence[examples.TextExample],
    tokenizer: vocabulary.Tokenizer,
    *,
    pairs: bool,
) -> Iterator[tuple[Pieces, ...]]:
    """The pieces of each example.

    Args:
      rows: the examples.
      tokenizer: that neither cuts nor pads.
      pairs: whether the second text counts.

    Yields:
      The pieces of `text`, and of `text_b` where it counts.
    """
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        texts = [(e.text, e.text_b) if pairs else (e.text,) for e in part]
        flat = [text for of_one in texts for text in of_one]
        encodings = iter(
            tokenizer.encode_batch(
                [vocabulary.encodable(text) for text in flat], add_special_tokens=False
            )
        )
        for of_one in texts:
            yield tuple(_pieces(text, next(encodings)) for text in of_one)


def marked(pieces: Pieces, spans: Sequence[examples.Span]) -> np.ndarray:
    """Which tokens stand for a character of one of the spans.

    Args:
      pieces: n tokens.
      spans: of characters of their text.

    Returns:
      bool [n].
    """
    starts, ends = pieces.offsets.T
    found = np.zeros(len(starts), bool)
    for start, end in spans:
        found |= (starts < end) & (ends > start)
    return found


def _pieces(text: str, encoding: Any) -> Pieces:
    offsets = np.array(encoding.offsets, int).reshape(-1, 2)
    spans = np.array(words.word_spans(text), int).reshape(-1, 2)
    place = np.searchsorted(spans[:, 1], offsets[:, 0], side="right")
    # Some tokenizers give a word the blank before it, or the last blanks a token.
    place = np.minimum(place, max(len(spans) - 1, 0))
    return Pieces(np.array(encoding.ids, np.int32), offsets, place.astype(np.int32))
