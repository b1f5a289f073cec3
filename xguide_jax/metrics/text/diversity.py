"""Whether generated texts differ, and whether they name what they explain."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from xguide_jax.metrics.text import words as of_text
from xguide_jax.metrics.text.words import Text, Words


def distinct_n(candidates: Sequence[Text], *, n: int) -> float:
    """Share of the n-grams of a set of texts that are different ones.

    The number of different n-grams over that of all n-grams, of all texts together. One
    text said of every example is near 0. It falls with the number of texts: compare
    sets of one size.

    Args:
      candidates: texts, strings or their words, as `words_of` has them.
      n: at least 1.

    Returns:
      a number in (0, 1]; NaN without an n-gram.

    Raises:
      ValueError: if `n` is no whole number of at least 1, or `candidates` is one text.

    Source: Li, Galley, Brockett, Gao, Dolan, "A Diversity-Promoting Objective Function
      for Neural Conversation Models", NAACL 2016 (unverified), who divide by the number
      of words for every n.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"`n` (={n}) must be a whole number of at least 1.")
    if isinstance(candidates, str):
        raise ValueError(f"`candidates` must be a list; got the text {candidates!r}.")
    counts: Counter[Words] = Counter()
    for text in candidates:
        counts += of_text.ngrams(of_text.words_of(text), n)
    return len(counts) / counts.total() if counts else float("nan")


def label_mention(candidates: Sequence[Text], labels: Sequence[Text]) -> np.ndarray:
    """Whether each text names its label, word for word.

    1 where the words of the label stand in the text, one after the other; a plural or
    another form of a word is another word. Of the labels that a network predicts it
    says whether text and prediction agree. Neither high nor low is better by itself: a
    rationale that only names its class gives no evidence.

    Args:
      candidates: N texts, strings or their words, as `words_of` has them.
      labels: N names of classes, likewise.

    Returns:
      float64 [N] of 0 and 1; NaN for a label without a word.

    Raises:
      ValueError: if there are not as many labels as candidates, or either is one text.
    """
    for name, value in (("candidates", candidates), ("labels", labels)):
        if isinstance(value, str):
            raise ValueError(f"`{name}` must be a list; got the text {value!r}.")
    if len(candidates) != len(labels):
        raise ValueError(
            f"`labels` (of length {len(labels)}) must hold one for each of the "
            f"{len(candidates)} `candidates`."
        )
    found = np.full(len(candidates), np.nan)
    for number, (text, label) in enumerate(zip(candidates, labels, strict=True)):
        wanted, words = of_text.words_of(label), of_text.words_of(text)
        if wanted:
            found[number] = wanted in of_text.ngrams(words, len(wanted))
    return found
