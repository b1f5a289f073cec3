"""METEOR with exact matches only: which words are shared, and in how many pieces."""

from collections.abc import Sequence

import numpy as np

from xguide_jax.metrics.text import words as of_text
from xguide_jax.metrics.text.words import Text, Words

_ALPHA, _BETA, _GAMMA = 0.9, 3.0, 0.5


def meteor_exact(
    candidates: Sequence[Text], references: Sequence[Sequence[Text]]
) -> np.ndarray:
    """METEOR of exactly equal words: no stems, no synonyms, no paraphrases.

    F (1 − γ (c / m)^β), F = P R / (α P + (1 − α) R), P = m / |candidate| and R = m /
    |reference|, α = 0.9, β = 3, γ = 0.5: the parameters of the first METEOR, 10 P R /
    (R + 9 P) there. m is the number of words that both have, each as often as the text
    that has it less often, and c the number of chunks, runs of matched words that stand
    in one order in both. The best of several references counts. Higher is better.

    Where words are repeated, which of them match is settled by the longest run in
    common first, then the longest of what is left, the first of equally long ones. That
    gives the fewest chunks nearly always; METEOR searches for them. A text equal to its
    reference has 1 − 0.5 / m³, less than 1.

    Not to be compared with values of METEOR 1.5, which has other parameters, weighs
    function words less and matches stems and synonyms.

    Args:
      candidates: N texts, strings or their words, as `words_of` has them.
      references: N lists of texts.

    Returns:
      float64 [N] in [0, 1); 0 without a word in common, NaN without a reference.

    Raises:
      ValueError: if `references` are not a list of texts for each candidate.

    Source: Banerjee, Lavie, "METEOR: An Automatic Metric for MT Evaluation with
      Improved Correlation with Human Judgments", ACL workshop 2005 (unverified), its
      module of exact matches. Checked against NLTK 3.10.4 without stems and synonyms,
      on texts that repeat no word.
    """
    texts, sets = of_text.candidates_and_references(candidates, references)
    return np.array(
        [
            max((_score(words, each) for each in own), default=float("nan"))
            for words, own in zip(texts, sets, strict=True)
        ]
    )


def _score(words: Words, reference: Words) -> float:
    chunks = _chunks(words, reference)
    matches = sum(chunks)
    if not matches:
        return 0.0
    precision, recall = matches / len(words), matches / len(reference)
    mean = precision * recall / (_ALPHA * precision + (1 - _ALPHA) * recall)
    return mean * (1 - _GAMMA * (len(chunks) / matches) ** _BETA)


def _chunks(words: Words, reference: Words) -> list[int]:
    """The lengths of the runs in common, the longest first; no word is in two."""
    free, free_reference = [True] * len(words), [True] * len(reference)
    chunks: list[int] = []
    while True:
        best = (0, 0, 0)
        lengths = [0] * (len(reference) + 1)
        for i, word in enumerate(words):
            before = lengths
            lengths = [0] * (len(reference) + 1)
            for j, other in enumerate(reference):
                if word == other and free[i] and free_reference[j]:
                    lengths[j + 1] = before[j] + 1
                    if lengths[j + 1] > best[0]:
                        best = (lengths[j + 1], i + 1, j + 1)
        length, end, end_reference = best
        if not length:
            return chunks
        chunks.append(length)
        free[end - length : end] = [False] * length
        free_reference[end_reference - length : end_reference] = [False] * length
