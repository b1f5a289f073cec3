"""From tokens back to words, to show a text and to say what kind of word each is.

A data set of `tokenise` knows of each token which word of its text it is a piece of.
The words themselves are read in the corpus, so that they are what the author wrote and
not what a vocabulary made of it.
"""

import itertools
from typing import NamedTuple

import numpy as np

from xguide_jax.data import datasets
from xguide_jax.data.text import examples, words


class TextWords(NamedTuple):
    """The words of an example, and which of them each token is a piece of.

    Attributes:
      words: in reading order, each with the blanks that stand before it; the second
        text of a pair begins with a line break.
      places: int [T], a token's word among them, -1 on special tokens and padding.
    """

    words: tuple[str, ...]
    places: np.ndarray

    def sums(self, values: np.ndarray) -> np.ndarray:
        """The sum of the pieces of each word: what it has of a map or an attention.

        Args:
          values: float or bool [T], one a token.

        Returns:
          float64, one a word; NaN for a word without a piece, which was cut away.
        """
        inside = self.places >= 0
        places, size = self.places[inside], len(self.words)
        values = np.asarray(values, np.float64)[inside]
        totals = np.bincount(places, values, minlength=size)
        return np.where(np.bincount(places, minlength=size) > 0, totals, np.nan)


def text_words(
    texts: datasets.Dataset, corpus: examples.Corpus, *, index: int
) -> TextWords:
    """The words of one example with the tokens of each.

    Args:
      texts: of `tokenise`, or a part of it.
      corpus: the one that it was made of.
      index: of the example in the data set.

    Returns:
      `TextWords`.

    Raises:
      ValueError: if a token is of a word that the text does not have, naming the
        example.
    """
    example = corpus.examples[texts.annotations["row"][index]]
    of_tokens = texts.annotations["words"][index]
    is_second = texts.inputs["segments"][index] == 1
    first, second = (_with_blanks(text) for text in (example.text, example.text_b))
    if np.any(of_tokens >= np.where(is_second, len(second), len(first))):
        raise ValueError(
            f"the tokens of example {example.id!r} are not of this corpus: they are of "
            f"{of_tokens.max() + 1} words, and its texts have {len(first)} and "
            f"{len(second)}."
        )
    places = np.where(of_tokens >= 0, of_tokens + len(first) * is_second, -1)
    if second:
        second[0] = "\n" + second[0].lstrip()
    return TextWords((*first, *second), places)


def token_classes(
    texts: datasets.Dataset, corpus: examples.Corpus
) -> dict[str, np.ndarray]:
    """Which tokens are special, of which text, and of which kind of word.

    'class token' is [CLS] and 'separator' [SEP]; 'first text' and 'second text' are
    pieces of each, e.g. of premise and hypothesis; 'punctuation' is one of the marks
    `PUNCTUATION`, 'stop words' are pieces of words among `STOP_WORDS`, upper or lower
    case, and 'content' pieces of all others. The specials with the two texts divide the
    tokens, and so do the specials with the three kinds of words.

    Args:
      texts: of `tokenise`, or a part of it.
      corpus: the one that it was made of.

    Returns:
      {class: bool [N, T]}, all of them False on padding.

    Raises:
      ValueError: as `text_words`.

    Source: the classes of Stacey, Belinkov, Rei, "Supervising Model Attention with
      Human Explanations for Robust Natural Language Inference", AAAI 2022, by the lists
      of their public code; that they counted attention by these is unverified.
    """
    mask, segments = texts.inputs["mask"], texts.inputs["segments"]
    special = texts.annotations["special"]
    first = np.arange(mask.shape[1]) == 0
    kinds = np.full(mask.shape, _NONE)
    for index in range(len(mask)):
        found = text_words(texts, corpus, index=index)
        # The last one is for the place -1.
        kinds[index] = np.array([*map(_kind, found.words), _NONE])[found.places]
    inside = mask & ~special
    return {
        "class token": special & first,
        "separator": special & ~first,
        "first text": inside & (segments == 0),
        "second text": inside & (segments == 1),
        "punctuation": inside & (kinds == _PUNCTUATION),
        "stop words": inside & (kinds == _STOP_WORD),
        "content": inside & (kinds == _CONTENT),
    }


_NONE, _PUNCTUATION, _STOP_WORD, _CONTENT = range(4)


def _kind(word: str) -> int:
    plain = word.strip().lower()
    if plain in words.PUNCTUATION:
        return _PUNCTUATION
    return _STOP_WORD if plain in words.STOP_WORDS else _CONTENT


def _with_blanks(text: str) -> list[str]:
    ends = [0, *(end for _, end in words.word_spans(text))]
    return [text[before:end] for before, end in itertools.pairwise(ends)]
