"""Templated pairs: what decides, what tempts, and what does neither."""

import collections

import numpy as np
import pytest

from xguide_jax import data
from xguide_jax.data.text import templates

_PLACES = {
    word: (number, which)
    for number, quality in enumerate(templates.QUALITIES)
    for which, word in enumerate(quality.words)
}


def _words(text):
    assert text.endswith(".")
    return text.removesuffix(".").split()


def _marked(text, spans):
    return [text[start:end] for start, end in spans]


@pytest.fixture(scope="module")
def pairs():
    return data.templated_pairs(3000, seed=0, artefact="agrees", artefact_rate=0.9)


def test_the_marked_words_decide_the_class(pairs):
    for example in pairs.examples:
        (claimed,) = _marked(example.text_b, example.evidence_b)
        (said,) = _marked(example.text, example.evidence)
        # No other word of a sentence is one that could decide.
        for text, word in ((example.text, said), (example.text_b, claimed)):
            assert [w for w in _words(text) if w in _PLACES] == [word]
        number, which = _PLACES[claimed]
        assert example.attributes["tested"] == templates.QUALITIES[number].slot
        follows = {(number, which): "entailment", (number, 1 - which): "contradiction"}
        expected = follows.get(_PLACES[said], "neutral")
        assert pairs.class_names[example.label] == expected


def test_all_words_but_the_marked_one_and_the_cue_are_of_the_premise(pairs):
    for example in pairs.examples:
        words = _words(example.text_b)
        ((start, end),) = example.evidence_b
        rest = collections.Counter(words[example.attributes["cue"] != "none" :])
        rest.subtract([example.text_b[start:end]])
        assert not rest - collections.Counter(_words(example.text))
        assert 5 <= len(example.text.split()) <= 12
        assert 5 <= len(words) <= 12


def test_neither_sentence_alone_tells_the_class():
    """Shares of words by class differ by noise: 4 standard errors of a share."""
    pairs = data.templated_pairs(6000, seed=1, artefact="none").examples
    for side in ("text", "text_b"):
        counts = collections.defaultdict(lambda: np.zeros(3))
        for example in pairs:
            for word in set(_words(getattr(example, side))):
                counts[word][example.label] += 1
        for word, by_class in counts.items():
            shares = by_class / 2000
            error = np.sqrt(max(shares.mean() * (1 - shares.mean()), 0) / 2000)
            assert np.ptp(shares) <= 4 * np.sqrt(2) * error, (side, word, shares)


def test_the_cue_agrees_at_its_rate():
    def kinds(**choice):
        pairs = data.templated_pairs(1500, seed=2, **choice).examples
        return collections.Counter(e.attributes["cue"] for e in pairs)

    assert kinds(artefact="none") == {"none": 1500}
    assert kinds(artefact="flipped") == {"another": 1500}
    assert kinds(artefact="agrees", artefact_rate=1) == {"own": 1500}
    mixed = kinds(artefact="agrees", artefact_rate=0.7)
    # sd of a share of 1500: 0.012
    assert mixed["own"] / 1500 == pytest.approx(0.7, abs=0.05)
    assert mixed["another"] / 1500 == pytest.approx(0.2, abs=0.05)


def test_the_cue_knows_nothing_of_the_pair():
    """Drawn from one stream, pairs of the own cue would be the counterexamples."""
    pairs = data.templated_pairs(
        1500, seed=6, artefact="agrees", artefact_rate=0.5, counterexample_rate=0.5
    ).examples
    places = {True: [], False: []}
    for example in pairs:
        if example.label != 2:  # contradictions have no counterexamples
            own = example.attributes["cue"] == "own"
            places[own].append(example.attributes["tested"] in ("adjective", "adverb"))
    # sd of a difference of two shares of 500: 0.03
    assert np.mean(places[True]) == pytest.approx(np.mean(places[False]), abs=0.13)


def test_only_the_cue_differs_between_artefacts():
    without = data.templated_pairs(60, seed=3, artefact="none").examples
    flipped = data.templated_pairs(60, seed=3, artefact="flipped").examples
    for plain, cued in zip(without, flipped, strict=True):
        assert cued.text_b.split(" ", 1)[1] == plain.text_b
        assert cued[:3] == plain[:3]
        assert cued.evidence == plain.evidence
        assert _marked(cued.text_b, cued.evidence_b) == _marked(
            plain.text_b, plain.evidence_b
        )


def test_a_function_of_the_seed_and_the_number(pairs):
    again = data.templated_pairs(9, seed=0, artefact="agrees", artefact_rate=0.9)
    assert again.examples == pairs.examples[:9]
    other = data.templated_pairs(9, seed=4, artefact="agrees", artefact_rate=0.9)
    assert not {e.text for e in other.examples} & {e.text for e in again.examples}
    labels = collections.Counter(e.label for e in pairs.examples)
    assert labels == {0: 1000, 1: 1000, 2: 1000}
    assert len({e.id for e in pairs.examples}) == 3000


def test_counterexamples_are_probes_that_follow_or_are_neutral():
    pairs = data.templated_pairs(
        600, seed=5, artefact="none", counterexample_rate=0.25
    ).examples
    probes = [e for e in pairs if e.attributes["tested"] not in ("adjective", "adverb")]
    # 400 pairs are entailed or neutral; sd of a share of 400: 0.022
    assert len(probes) / 400 == pytest.approx(0.25, abs=0.09)
    for example in probes:
        premise, hypothesis = _words(example.text), _words(example.text_b)
        assert not collections.Counter(hypothesis) - collections.Counter(premise)
        marked = _marked(example.text, example.evidence)
        assert marked
        assert example.evidence_b == ()
        follows = {
            "if": False,
            "hoped": False,
            "since": True,
            "knew": True,
            "and": True,
        }
        for word in set(marked) & follows.keys():
            assert (example.label == 0) == follows[word]
    assert {e.label for e in probes} == {0, 1}
    heuristics = {"lexical_overlap", "subsequence", "constituent"}
    assert {e.attributes["tested"] for e in probes} == heuristics


def test_choices_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"`num_pairs` .=0. must be at least 1"):
        data.templated_pairs(0, seed=0, artefact="none")
    with pytest.raises(ValueError, match=r"`artefact_rate` .=1.5. must lie in .0, 1."):
        data.templated_pairs(3, seed=0, artefact="agrees", artefact_rate=1.5)
    with pytest.raises(ValueError, match=r"`counterexample_rate` .=-1. must lie in"):
        data.templated_pairs(3, seed=0, artefact="none", counterexample_rate=-1)
    with pytest.raises(ValueError, match=r"`artefact` .='flip'. must be one of"):
        data.templated_pairs(3, seed=0, artefact="flip")
