"""Metrics of generated texts, beside what people wrote.

Texts are strings or lists of words; everything here runs on the host. One value an
example, float64 [N], NaN without a reference, but for `corpus_bleu` and `distinct_n`,
which are of a whole set. A candidate without a word is no undefined case: it is 0, so
that a network that says nothing does not leave the mean.

All compare words alone. A text that is right in other words scores low, and one that
says the opposite with one word changed scores high.
"""

from xguide_jax.metrics.text.bleu import Bleu, corpus_bleu
from xguide_jax.metrics.text.cider import cider_d
from xguide_jax.metrics.text.diversity import distinct_n, label_mention
from xguide_jax.metrics.text.meteor import meteor_exact
from xguide_jax.metrics.text.rouge import rouge_l
from xguide_jax.metrics.text.words import words_of

__all__ = (
    "Bleu",
    "cider_d",
    "corpus_bleu",
    "distinct_n",
    "label_mention",
    "meteor_exact",
    "rouge_l",
    "words_of",
)
