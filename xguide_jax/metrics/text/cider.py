"""CIDEr-D: agreement in the n-grams that are rare among the examples."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from xguide_jax.metrics.text import words as of_text
from xguide_jax.metrics.text.words import Text, Words

_SIZES = (1, 2, 3, 4)
_SIGMA = 6.0

# For each size of n-gram: its weights.
_Vectors = list[dict[Words, float]]


def cider_d(
    candidates: Sequence[Text], references: Sequence[Sequence[Text]]
) -> np.ndarray:
    """Cosine of the candidates' weighted n-grams with those of the references.

    10 mean_n mean_j exp(−(l − l_j)² / (2 σ²)) Σ_w min(g_w, g_jw) g_jw / (|g| |g_j|), n
    of 1 to 4, j over the references, l the numbers of words, σ = 6. g_w is how often
    the n-gram w stands in the text times log(N / max(1, d_w)), d_w the number of the N
    examples of which a reference has it. The minimum keeps a word said again and again
    from counting each time. Higher is better.

    The value of an example depends on the references of all: compare models on the same
    examples only, and of a subset the values within the whole. An n-gram that every
    example has weighs nothing, so texts of few words have at most 10 times the share of
    sizes in which they hold something: three words 7.5.

    Args:
      candidates: N texts, strings or their words, as `words_of` has them.
      references: N lists of texts; an example whose list is empty is not among the N of
        the document frequencies.

    Returns:
      float64 [N] in [0, 10] up to rounding; 0 for a candidate without a word. NaN
      where there is no reference, or none holds a weight: all are NaN for a single
      example.

    Raises:
      ValueError: if `references` are not a list of texts for each candidate.

    Source: Vedantam, Zitnick, Parikh, "CIDEr: Consensus-based Image Description
      Evaluation", CVPR 2015 (unverified), with the counts of the released code; the
      paper divides them by their sum. Checked against pycocoevalcap 1.2, which has 0
      in place of NaN.
    """
    texts, sets = of_text.candidates_and_references(candidates, references)
    seen = Counter(ngram for each in sets for ngram in _all_ngrams(each))
    num_documents = sum(bool(each) for each in sets)
    rarity = {ngram: math.log(num_documents / count) for ngram, count in seen.items()}
    # What no reference has counts as if one did.
    unseen = math.log(max(num_documents, 1))

    def vectors(words: Words) -> _Vectors:
        return [
            {
                ngram: count * rarity.get(ngram, unseen)
                for ngram, count in of_text.ngrams(words, size).items()
            }
            for size in _SIZES
        ]

    return np.array(
        [
            _agreement(words, references_of_one, vectors)
            for words, references_of_one in zip(texts, sets, strict=True)
        ]
    )


def _agreement(
    words: Words, references: list[Words], vectors: Callable[[Words], _Vectors]
) -> float:
    weights = [vectors(reference) for reference in references]
    if not any(any(one.values()) for each in weights for one in each):
        return float("nan")
    of_candidate = vectors(words)
    similarities = [
        math.exp(-((len(words) - len(reference)) ** 2) / (2 * _SIGMA**2))
        * np.mean(list(map(_cosine, of_candidate, each)))
        for reference, each in zip(references, weights, strict=True)
    ]
    return 10 * float(np.mean(similarities))


def _cosine(
    of_candidate: dict[Words, float], of_reference: dict[Words, float]
) -> float:
    shared = of_candidate.keys() & of_reference.keys()
    # In one order, so that the sum is the same in every run to the last bit.
    product = sum(
        min(of_candidate[ngram], of_reference[ngram]) * of_reference[ngram]
        for ngram in sorted(shared)
    )
    norms = _norm(of_candidate) * _norm(of_reference)
    return product / norms if norms else 0.0


def _norm(weights: dict[Words, float]) -> float:
    return math.hypot(*weights.values())


def _all_ngrams(references: list[Words]) -> set[Words]:
    return {
        ngram
        for words in references
        for size in _SIZES
        for ngram in of_text.ngrams(words, size)
    }
