"""Pairs on which three heuristics of inference fail, made from templates.

Whoever takes every hypothesis for entailed whose words are in the premise, or stand
there in one row, or are a clause of it, is right on half of the pairs.
"""

from typing import NamedTuple

import numpy as np

from xguide_jax.data import seeds
from xguide_jax.data.text import entailment, examples, templates


class Probe(NamedTuple):
    """A premise for the hypothesis "the subject verb the object adverb".

    A star marks a word that decides whether the hypothesis follows.
    """

    heuristic: str
    gold: str
    subcase: str
    premise: str


_FOLLOWS, _NOT = entailment.TWO_CLASSES
_CLAUSE = "the {subject} {verb} the {object} {adverb}"
PROBES = (
    Probe(
        "lexical_overlap", _FOLLOWS, "passive",
        "the {object} *was {verb} *by the {subject} {adverb}",
    ),
    Probe(
        "lexical_overlap", _FOLLOWS, "object_of_relative_clause",
        "the {object} *that the {subject} {verb} {adverb} left",
    ),
    Probe(
        "lexical_overlap", _NOT, "passive",
        "the {subject} *was {verb} *by the {object} {adverb}",
    ),
    Probe(
        "lexical_overlap", _NOT, "swapped",
        "the *{object} {verb} the *{subject} {adverb}",
    ),
    Probe("subsequence", _FOLLOWS, "two_subjects", f"the {{somebody}} *and {_CLAUSE}"),
    Probe(
        "subsequence", _FOLLOWS, "place_of_object",
        f"{_CLAUSE} *near the {{somebody}}",
    ),
    Probe("subsequence", _NOT, "place_of_subject", f"the {{somebody}} *near {_CLAUSE}"),
    Probe(
        "subsequence", _NOT, "relative_clause",
        f"the {{somebody}} *that called {_CLAUSE}",
    ),
    Probe("constituent", _FOLLOWS, "reason", f"*since {_CLAUSE} the {{somebody}} left"),
    Probe("constituent", _FOLLOWS, "known", f"the {{somebody}} *knew that {_CLAUSE}"),
    Probe("constituent", _NOT, "condition", f"*if {_CLAUSE} the {{somebody}} left"),
    Probe("constituent", _NOT, "hoped", f"the {{somebody}} *hoped that {_CLAUSE}"),
)  # fmt: skip


def templated_probes(num_probes: int, *, seed: int) -> examples.Corpus:
    """Pairs whose hypothesis consists of words of the premise, and follows or does not.

    Four templates for each of three heuristics, two of which are entailed:

    * 'lexical_overlap': all words of the hypothesis are in the premise. "the doctor was
      praised by the lawyer early." entails "the lawyer praised the doctor early." and
      does not entail "the doctor praised the lawyer early.".
    * 'subsequence': they stand there in one row. "the judge near the lawyer praised the
      doctor early." / "the lawyer praised the doctor early."
    * 'constituent': they are a clause of it. "if the lawyer praised the doctor early
      the judge left." / "the lawyer praised the doctor early."

    The evidence are the words of the premise that decide, as 'was' and 'by', 'near',
    'if'. A model of three classes is scored by `entailment_or_not` of its logits.

    Args:
      num_probes: N; templates come in turn, so a multiple of 12 has each as often.
      seed: decides everything.

    Returns:
      N examples of the classes 'entailment' and 'non-entailment', with `evidence`;
      nobody marked hypotheses. `attributes` hold 'heuristic', 'gold', the name of the
      class, and 'subcase'.

    Raises:
      ValueError: if `num_probes` < 1.

    Source: after McCoy, Pavlick, Linzen, "Right for the Wrong Reasons: Diagnosing
      Syntactic Heuristics in Natural Language Inference", ACL 2019; the templates are
      others.
    """
    if num_probes < 1:
        raise ValueError(f"`num_probes` (={num_probes}) must be at least 1.")
    pairs = []
    for n in range(num_probes):
        probe = PROBES[n % len(PROBES)]
        generator = seeds.generator(seeds.Stream.PROBES, seed, n)
        premise, hypothesis = (
            templates.sentence(p) for p in probe_sentences(generator, probe)
        )
        pairs.append(
            examples.TextExample(
                id=f"probe-{seed}-{n}",
                text=premise[0],
                label=entailment.TWO_CLASSES.index(probe.gold),
                text_b=hypothesis[0],
                evidence=premise[1],
                attributes={
                    "heuristic": probe.heuristic,
                    "gold": probe.gold,
                    "subcase": probe.subcase,
                },
            )
        )
    return examples.Corpus(tuple(pairs), entailment.TWO_CLASSES)


def probe_sentences(
    generator: np.random.Generator, probe: Probe
) -> tuple[list[templates.Word], list[templates.Word]]:
    """Premise and hypothesis of a probe."""
    adverbs = [q.words for q in templates.QUALITIES if q.slot == "adverb"]
    adverb = templates.pick(generator, [word for pair in adverbs for word in pair])
    words = templates.event(generator) | {"adverb": templates.Word(adverb)}
    return templates.filled(probe.premise, words), templates.filled(_CLAUSE, words)
