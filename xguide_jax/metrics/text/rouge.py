"""ROUGE-L: the longest run of words in common, gaps allowed."""

from collections.abc import Sequence

import numpy as np

from xguide_jax.metrics.text import words as of_text
from xguide_jax.metrics.text.words import Text, Words


def rouge_l(
    candidates: Sequence[Text],
    references: Sequence[Sequence[Text]],
    *,
    beta: float = 1.2,
) -> np.ndarray:
    """F-measure of the longest common subsequence with the references.

    (1 + β²) P R / (R + β² P), P and R the length of the longest common subsequence over
    that of the candidate and of the reference. Of several references the highest P and
    the highest R are taken, which may be of two, as the COCO captions' evaluation has
    it; the F of one and the same reference is at most that. Higher is better.

    Args:
      candidates: N texts, strings or their words, as `words_of` has them.
      references: N lists of texts.
      beta: β, positive: recall weighs β times as much as precision. 1.2 is that of the
        COCO captions; the package rouge-score has 1.

    Returns:
      float64 [N] in [0, 1]; 0 for a candidate without a word, NaN without a reference.

    Raises:
      ValueError: if `beta` is not positive and finite, or `references` are not a list
        of texts for each candidate.

    Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", ACL workshop
      2004, of sentences (unverified). Checked against pycocoevalcap 1.2 and, of one
      reference with β = 1, rouge-score 0.1.2.
    """
    if not 0 < beta < float("inf"):
        raise ValueError(f"`beta` (={beta}) must be positive and finite.")
    texts, sets = of_text.candidates_and_references(candidates, references)
    return np.array([_f_measure(*pair, beta) for pair in zip(texts, sets, strict=True)])


def _f_measure(words: Words, references: list[Words], beta: float) -> float:
    if not references:
        return float("nan")
    common = [_longest_common_subsequence(words, each) for each in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(words)
    recall = max(n / len(each) for n, each in zip(common, references, strict=True))
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


def _longest_common_subsequence(first: Words, second: Words) -> int:
    """Its length, by the lengths for the beginnings of `second`, word after word."""
    lengths = [0] * (len(second) + 1)
    for word in first:
        before = lengths
        lengths = [0]
        for place, other in enumerate(second):
            longer = before[place] + 1 if word == other else 0
            lengths.append(max(longer, before[place + 1], lengths[place]))
    return lengths[-1]
