"""Pairs of sentences made from templates, with known evidence and an artefact."""

from typing import Literal, NamedTuple

import numpy as np

from xguide_jax.data import seeds
from xguide_jax.data.text import (
    entailment,
    examples,
    templated_probes,
    templates,
)

CLASS_NAMES = ("entailment", "neutral", "contradiction")
_ENTAILMENT, _NEUTRAL, _CONTRADICTION = range(3)

# Words of the hypothesis that say nothing about the scene.
_CUES = (("indeed", "plainly"), ("reportedly", "supposedly"), ("actually", "instead"))

_CLAUSE = "the {adjective} {subject} {verb} the {object} {adverb}"
# Whatever the class, a premise has one of these forms, with each of which the subject
# did it.
_PREMISES = (
    _CLAUSE,
    "the {adjective} {subject} near the {somebody} {verb} the {object} {adverb}",
    "the {adjective} {subject} and the {somebody} {verb} the {object} {adverb}",
    "the {adjective} {subject} that called the {somebody} {verb} the {object} {adverb}",
    f"the {{somebody}} knew that {_CLAUSE}",
    f"since the {{somebody}} left {_CLAUSE}",
    "the {object} was {verb} by the {adjective} {subject} {adverb}",
)


def templated_pairs(
    num_pairs: int,
    *,
    seed: int,
    artefact: Literal["agrees", "flipped", "none"],
    artefact_rate: float = 0.9,
    counterexample_rate: float = 0.0,
) -> examples.Corpus:
    """Premises and hypotheses in three classes that one word on each side decides.

    "the judge knew that the tall lawyer praised the doctor." / "indeed the tall lawyer
    praised the doctor." Both tell the same event, each with one adjective or adverb.
    Entailment: it is the same word; contradiction: the opposite one; neutral: one about
    something else. Classes come in turn, and each word is as likely in every class:
    neither sentence alone tells the class, the two words do, always. They are the
    evidence, and which words are marked does not tell the class.

    The artefact is a cue, one word before the hypothesis that a class prefers and that
    says nothing about the event. It is easier to learn than the comparison of two
    words, so a network that is not guided takes it. There is another one, as in the
    sets that people wrote: a hypothesis of words of the premise is always entailed; see
    `templated_probes`.

    Args:
      num_pairs: N; the first n of N pairs are the pairs of a call with n.
      seed: decides everything; two calls that differ in `artefact` alone have the same
        pairs but for the cue.
      artefact: 'agrees': the cue of the own class with probability `artefact_rate`,
        else one of another class or none, each as likely; 'flipped': always that of
        another class; 'none': no cue.
      artefact_rate: in [0, 1], for 'agrees' only.
      counterexample_rate: in [0, 1], how often an entailed or neutral pair is of the
        templates of `templated_probes` instead: entailed there, or else neutral. Its
        words are the same whatever the class; the evidence are those of the premise
        that decide. At 0 nothing contradicts that words of the premise are entailed.

    Returns:
      N examples; `attributes` hold 'tested', the place of the word ('adjective',
      'adverb') or, of a counterexample, its heuristic, and 'cue', that of the 'own'
      class, of 'another' or 'none'.

    Raises:
      ValueError: if `num_pairs` < 1, a rate is outside [0, 1], or there is no such
        artefact.
    """
    if num_pairs < 1:
        raise ValueError(f"`num_pairs` (={num_pairs}) must be at least 1.")
    rates = {"artefact": artefact_rate, "counterexample": counterexample_rate}
    for name, rate in rates.items():
        if not 0 <= rate <= 1:
            raise ValueError(f"`{name}_rate` (={rate}) must lie in [0, 1].")
    kinds = ("agrees", "flipped", "none")
    if artefact not in kinds:
        raise ValueError(f"`artefact` (={artefact!r}) must be one of {kinds}.")
    pairs = []
    for n in range(num_pairs):
        label = n % len(CLASS_NAMES)
        words = seeds.generator(seeds.Stream.TEMPLATES, seed, n)
        if label != _CONTRADICTION and words.random() < counterexample_rate:
            pair = _structural(words, label)
        else:
            pair = _lexical(words, label)
        generator = seeds.generator(seeds.Stream.CUES, seed, n)
        cue_of = _cue_of(generator, label, artefact, artefact_rate)
        pairs.append(_example(f"pair-{seed}-{n}", label, pair, cue_of, generator))
    return examples.Corpus(tuple(pairs), CLASS_NAMES)


class _Pair(NamedTuple):
    premise: list[templates.Word]
    hypothesis: list[templates.Word]
    tested: str


def _structural(generator: np.random.Generator, label: int) -> _Pair:
    """A pair of the probes' templates: its words are the same, whatever the class."""
    gold = entailment.TWO_CLASSES[label != _ENTAILMENT]
    chosen = [probe for probe in templated_probes.PROBES if probe.gold == gold]
    probe = chosen[int(generator.integers(len(chosen)))]
    premise, hypothesis = templated_probes.probe_sentences(generator, probe)
    return _Pair(premise, hypothesis, probe.heuristic)


def _lexical(generator: np.random.Generator, label: int) -> _Pair:
    """A pair that one word on each side decides."""
    tested, another = generator.permutation(len(templates.QUALITIES))[:2]
    slot, words = templates.QUALITIES[tested]
    which = int(generator.integers(2))
    of_premise, said = slot, words[which if label == _ENTAILMENT else 1 - which]
    if label == _NEUTRAL:
        of_premise, others = templates.QUALITIES[another]
        said = templates.pick(generator, others)
    event = templates.event(generator)
    premise = event | {of_premise: templates.Word(said, marked=True)}
    hypothesis = event | {slot: templates.Word(words[which], marked=True)}
    return _Pair(
        templates.filled(templates.pick(generator, _PREMISES), premise),
        templates.filled(_CLAUSE, hypothesis),
        slot,
    )


def _cue_of(
    generator: np.random.Generator, label: int, artefact: str, rate: float
) -> int | None:
    """The class whose cue the hypothesis gets, None for no cue."""
    own = generator.random() < rate
    others = [k for k in range(len(CLASS_NAMES)) if k != label]
    if artefact == "none":
        return None
    if artefact == "flipped":
        return others[generator.integers(2)]
    return label if own else (*others, None)[generator.integers(3)]


def _example(
    name: str,
    label: int,
    pair: _Pair,
    cue_of: int | None,
    generator: np.random.Generator,
) -> examples.TextExample:
    premise, evidence = templates.sentence(pair.premise)
    cue = []
    if cue_of is not None:
        cue = [templates.Word(templates.pick(generator, _CUES[cue_of]))]
    hypothesis, evidence_b = templates.sentence([*cue, *pair.hypothesis])
    known = "none" if cue_of is None else "own" if cue_of == label else "another"
    return examples.TextExample(
        id=name,
        text=premise,
        label=label,
        text_b=hypothesis,
        evidence=evidence,
        evidence_b=evidence_b,
        attributes={"tested": pair.tested, "cue": known},
    )
