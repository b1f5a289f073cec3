"""Probes of three heuristics: each is right on half of its pairs."""

import collections

import pytest

from xguide_jax import data


def _words(text):
    return text.removesuffix(".").split()


@pytest.fixture(scope="module")
def probes():
    return data.templated_probes(240, seed=0)


def test_the_words_of_the_hypothesis_are_in_the_premise(probes):
    in_a_row = collections.Counter()
    for example in probes.examples:
        premise, hypothesis = _words(example.text), _words(example.text_b)
        assert not collections.Counter(hypothesis) - collections.Counter(premise)
        assert 5 <= len(premise) <= 12
        in_a_row[example.attributes["heuristic"]] += example.text_b[:-1] in example.text
    assert in_a_row == {"lexical_overlap": 0, "subsequence": 80, "constituent": 80}


def test_half_of_each_heuristic_follows(probes):
    counts = collections.Counter(
        (e.attributes["heuristic"], e.attributes["gold"]) for e in probes.examples
    )
    assert set(counts.values()) == {40}
    assert len(counts) == 6
    for example in probes.examples:
        assert probes.class_names[example.label] == example.attributes["gold"]
    subcases = {tuple(e.attributes.values()) for e in probes.examples}
    assert len(subcases) == 12


def test_who_did_it_in_a_passive_decides(probes):
    for example in probes.examples:
        if example.attributes["subcase"] != "passive":
            continue
        words = _words(example.text)
        doer = words[words.index("by") + 2]
        follows = _words(example.text_b)[1] == doer
        assert follows == (example.attributes["gold"] == "entailment")
        marked = [example.text[start:end] for start, end in example.evidence]
        assert marked == ["was", "by"]
        assert example.evidence_b is None


def test_a_function_of_the_seed_and_the_number(probes):
    assert data.templated_probes(12, seed=0).examples == probes.examples[:12]
    other = data.templated_probes(12, seed=1).examples
    assert all(
        a.text != b.text for a, b in zip(other, probes.examples[:12], strict=True)
    )
    assert len({e.id for e in probes.examples}) == 240


def test_words_of_the_probes_are_words_of_the_pairs_but_for_three(probes):
    pairs = data.templated_pairs(600, seed=0, artefact="none").examples
    known = {word for pair in pairs for word in _words(pair.text)}
    unknown = {word for e in probes.examples for word in _words(e.text)} - known
    assert unknown == {"if", "hoped"}


def test_less_than_one_probe_is_refused():
    with pytest.raises(ValueError, match=r"`num_probes` .=0. must be at least 1"):
        data.templated_probes(0, seed=0)
