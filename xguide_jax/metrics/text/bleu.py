"""BLEU: how many n-grams of generated texts stand in their references."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xguide_jax.metrics.text import words as of_text
from xguide_jax.metrics.text.words import Text, Words

_SIZES = (1, 2, 3, 4)


class Bleu(NamedTuple):
    """BLEU of a corpus, and what it is made of.

    Attributes:
      scores: float64 [4] in [0, 1], BLEU-1 to BLEU-4.
      precisions: float64 [4] in [0, 1], of n-grams of one size each.
      brevity_penalty: in [0, 1], 1 where the candidates are no shorter than the
        references.
      num_examples: how many had a reference and so counted.
    """

    scores: np.ndarray
    precisions: np.ndarray
    brevity_penalty: float
    num_examples: int


def corpus_bleu(
    candidates: Sequence[Text], references: Sequence[Sequence[Text]]
) -> Bleu:
    """BLEU-1 to BLEU-4 of a corpus, with several references and a brevity penalty.

    BLEU-n = b exp(mean_{k <= n} log p_k). p_k is the share of the candidates' k-grams
    that stand in a reference of their own; each counts no more often than in the
    reference that has it most often. Counts are summed over the corpus before they are
    divided, so this is no mean over the examples. b = 1 if c >= r, else exp(1 − r / c),
    c the words of all candidates and r those of the references nearest to them in
    length, of two equally near ones the shorter.

    There is no smoothing: without any match of 4 words BLEU-4 is 0. Higher is better.

    Args:
      candidates: N texts, strings or their words, as `words_of` has them.
      references: N lists of texts; an example whose list is empty does not count.

    Returns:
      `Bleu`. p_k is 0 where the references have k-grams and the candidates none, and
      NaN, with BLEU-k and above, where neither has. All is NaN without a reference.

    Raises:
      ValueError: if `references` are not a list of texts for each candidate.

    Source: Papineni, Roukos, Ward, Zhu, "BLEU: a Method for Automatic Evaluation of
      Machine Translation", ACL 2002. Checked against sacrebleu 2.6.0 without smoothing,
      which multiplies by 100.
    """
    texts, sets = of_text.candidates_and_references(candidates, references)
    pairs = [pair for pair in zip(texts, sets, strict=True) if pair[1]]
    if not pairs:
        undefined = np.full(len(_SIZES), np.nan)
        return Bleu(undefined, undefined.copy(), float("nan"), 0)
    precisions = np.array([_precision(pairs, size) for size in _SIZES])
    length = sum(len(words) for words, _ in pairs)
    wanted = sum(_nearest_length(words, texts) for words, texts in pairs)
    penalty = _brevity_penalty(length, wanted)
    with np.errstate(divide="ignore"):  # log 0 is −inf, and its exponential 0
        means = np.cumsum(np.log(precisions)) / _SIZES
    return Bleu(penalty * np.exp(means), precisions, penalty, len(pairs))


def _precision(pairs: list[tuple[Words, list[Words]]], size: int) -> float:
    matched = found = 0
    possible = False
    for words, references in pairs:
        counts = of_text.ngrams(words, size)
        most: Counter[Words] = Counter()
        for reference in references:
            most |= of_text.ngrams(reference, size)
        matched += (counts & most).total()
        found += counts.total()
        possible |= bool(most)
    if found:
        return matched / found
    return 0.0 if possible else float("nan")


def _nearest_length(words: Words, references: list[Words]) -> int:
    lengths = [len(reference) for reference in references]
    return min(lengths, key=lambda length: (abs(length - len(words)), length))


def _brevity_penalty(length: int, wanted: int) -> float:
    return math.exp(min(0.0, 1 - wanted / length)) if length else 0.0
