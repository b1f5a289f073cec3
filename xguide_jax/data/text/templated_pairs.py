"""Pairs of sentences made from templates, with known evidence and an artefact."""

from typing import Literal, NamedTuple

import numpy as np

from xguide_jax.data import seeds
from xguide_jax.data.text import examples, templates

CLASS_NAMES = ("entailment", "neutral", "contradiction")
_ENTAILMENT, _NEUTRAL, _CONTRADICTION = range(3)

# Words of the hypothesis that say nothing about the scene.
_SLOTS = tuple(templates.DIMENSIONS)
_CUES = (("indeed", "plainly"), ("reportedly", "supposedly"), ("actually", "instead"))

# What may stand before the premise's clause and behind its subject, whatever the class:
# with each of them the subject did it. {} stands for somebody else.
_AROUND = (
    ("", ""),
    ("", "near the {}"),
    ("", "and the {}"),
    ("", "that called the {}"),
    ("the {} knew that", ""),
    ("since the {} left", ""),
)


def templated_pairs(
    num_pairs: int,
    *,
    seed: int,
    artefact: Literal["agrees", "flipped", "none"],
    artefact_rate: float = 0.9,
) -> examples.Corpus:
    """Premises and hypotheses in three classes that one word on each side decides.

    "the judge knew that the tall lawyer praised the doctor indoors." / "indeed the
    lawyer praised the doctor inside." An adjective, the verb or an adverb of the
    hypothesis is tested. Entailment: the premise has that word in its place or one that
    means the same; contradiction: one of the opposite meaning; neutral: one that says
    something else. The other words of the hypothesis are those of the premise, or left
    out. Classes come in turn, and each word is as likely in every class: neither
    sentence alone tells the class, the tested word of both does, always.

    The evidence are the tested word of the hypothesis and, but for neutral pairs, the
    word in its place in the premise; where the premise says nothing about it, no word
    of it decides.

    The artefact is a cue, one word before the hypothesis that a class prefers and that
    says nothing about the scene. It is easier to learn than the comparison of two
    words, so a network that is not guided takes it. Training pairs hold another one:
    a hypothesis of words of the premise alone is always entailed; see
    `templated_probes`.

    Args:
      num_pairs: N; the first n of N pairs are the pairs of a call with n.
      seed: decides everything; two calls that differ in `artefact` alone have the same
        pairs but for the cue.
      artefact: 'agrees': the cue of the own class with probability `artefact_rate`,
        else one of another class or none, each as likely; 'flipped': always that of
        another class; 'none': no cue.
      artefact_rate: in [0, 1], for 'agrees' only.

    Returns:
      N examples; `attributes` hold 'slot', what is tested ('adjective', 'verb',
      'adverb'), 'cue', that of 'own' class, of 'another' or 'none', and 'overlap':
      'whole' where all words but the cue are in the premise, else 'part'.

    Raises:
      ValueError: if `num_pairs` < 1, `artefact_rate` is outside [0, 1], or there is no
        such artefact.
    """
    if num_pairs < 1:
        raise ValueError(f"`num_pairs` (={num_pairs}) must be at least 1.")
    if not 0 <= artefact_rate <= 1:
        raise ValueError(f"`artefact_rate` (={artefact_rate}) must lie in [0, 1].")
    kinds = ("agrees", "flipped", "none")
    if artefact not in kinds:
        raise ValueError(f"`artefact` (={artefact!r}) must be one of {kinds}.")
    pairs = []
    for n in range(num_pairs):
        label = n % len(CLASS_NAMES)
        pair = _pair(seeds.generator(seeds.Stream.TEMPLATES, seed, n), label)
        generator = seeds.generator(seeds.Stream.CUES, seed, n)
        cue_of = _cue_of(generator, label, artefact, artefact_rate)
        pairs.append(_example(f"pair-{seed}-{n}", label, pair, cue_of, generator))
    return examples.Corpus(tuple(pairs), CLASS_NAMES)


class _Pair(NamedTuple):
    premise: list[templates.Word]
    hypothesis: list[templates.Word]
    slot: str


def _pair(generator: np.random.Generator, label: int) -> _Pair:
    """A pair without a cue."""
    slot = templates.pick(generator, tuple(templates.DIMENSIONS))
    said, claimed = _tested_words(generator, slot, label)
    scene = {name: templates.any_word(generator, name) for name in _SLOTS}
    repeated = {name: bool(generator.integers(2)) or name == "verb" for name in _SLOTS}
    subject, other, somebody = generator.permutation(templates.PERSONS)[:3]
    before, beside = (
        templates.words(part.format(somebody))
        for part in _AROUND[generator.integers(len(_AROUND))]
    )
    premise = {name: templates.Word(word) for name, word in scene.items()}
    premise[slot] = templates.Word(said, marked=label != _NEUTRAL)
    hypothesis = {n: w for n, w in premise.items() if repeated[n] and n != slot}
    hypothesis[slot] = templates.Word(claimed, marked=True)
    return _Pair(
        [*before, *_clause(premise, subject, other, beside)],
        _clause(hypothesis, subject, other, []),
        slot,
    )


def _tested_words(
    generator: np.random.Generator, slot: str, label: int
) -> tuple[str, str]:
    """The word of the premise and the word of the hypothesis that decide.

    Whatever the class, each is any word of the slot with the same probability.
    """
    dimensions = templates.DIMENSIONS[slot]
    claimed, another = generator.permutation(len(dimensions))[:2]
    pole = int(generator.integers(2))
    said_pole = {
        _ENTAILMENT: dimensions[claimed][pole],
        _NEUTRAL: dimensions[another][generator.integers(2)],
        _CONTRADICTION: dimensions[claimed][1 - pole],
    }[label]
    said = templates.pick(generator, said_pole)
    return said, templates.pick(generator, dimensions[claimed][pole])


def _clause(
    filled: dict[str, templates.Word],
    subject: str,
    other: str,
    beside: list[templates.Word],
) -> list[templates.Word]:
    """The [adjective] subject [beside] verb the other [adverb]."""
    adjective = [filled["adjective"]] if "adjective" in filled else []
    adverb = [filled["adverb"]] if "adverb" in filled else []
    return [
        templates.Word("the"),
        *adjective,
        templates.Word(subject),
        *beside,
        filled["verb"],
        *templates.words(f"the {other}"),
        *adverb,
    ]


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
    said = {word.text for word in pair.premise}
    whole = all(word.text in said for word in pair.hypothesis)
    cue = (
        []
        if cue_of is None
        else templates.words(templates.pick(generator, _CUES[cue_of]))
    )
    hypothesis, evidence_b = templates.sentence([*cue, *pair.hypothesis])
    known = "none" if cue_of is None else "own" if cue_of == label else "another"
    return examples.TextExample(
        id=name,
        text=premise,
        label=label,
        text_b=hypothesis,
        evidence=evidence,
        evidence_b=evidence_b,
        attributes={
            "slot": pair.slot,
            "cue": known,
            "overlap": "whole" if whole else "part",
        },
    )
