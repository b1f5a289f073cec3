"""SNLI and HANS, and how three classes are scored in two."""

import json

import numpy as np
import pytest

from xguide_jax import data

_COLUMNS = (
    *("gold_label", "sentence1_binary_parse", "sentence1", "sentence2"),
    *("pairID", "heuristic", "subcase", "template"),
)
_HANS = (
    *("non-entailment", "( a b )", '"The judge" saw the actor .'),
    *("The actor saw the judge .", "ex0", "lexical_overlap", "ln_swap", "temp1"),
)


def _lines(path, *objects):
    path.write_text("".join(json.dumps(one) + "\n" for one in objects), "utf-8")
    return path


def _pair(name, gold, premise="A b.", hypothesis="C."):
    return {
        "pairID": name,
        "gold_label": gold,
        "sentence1": premise,
        "sentence2": hypothesis,
        "annotator_labels": ["neutral"],
    }


def test_pairs_without_a_gold_label_are_skipped_and_counted(tmp_path):
    path = _lines(
        tmp_path / "snli_1.0_test_hard.jsonl",
        _pair("1", "contradiction", "nan", "null "),
        _pair("2", "-"),
        _pair("3", "-1"),
        _pair("4", -1),
        _pair("5", "neutral", hypothesis=" "),
    )
    corpus = data.read_snli(path)
    assert corpus.skipped == {"no gold label": 3, "an empty text": 1}
    (only,) = corpus.examples
    assert (only.id, only.text, only.text_b, only.label) == ("1", "nan", "null", 2)
    assert only.evidence is only.evidence_b is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gold_label": "contradict"}, "line 2: 'gold_label' .='contradict'. must be"),
        ({"gold_label": 2}, "line 2: 'gold_label' .='2'. must be one of"),
        ({"gold_label": None}, "line 2 must have str or int as 'gold_label', not 'No"),
        ({"sentence2": 5}, "line 2 must have str as 'sentence2', not '5'"),
        ({"pairID": "1"}, "line 2: the id '1' is that of a.jsonl, line 1"),
    ],
)
def test_a_pair_that_does_not_fit_is_named(tmp_path, changes, message):
    bad = {**_pair("2", "neutral"), **changes}
    path = _lines(tmp_path / "a.jsonl", _pair("1", "neutral"), bad)
    with pytest.raises(ValueError, match=message):
        data.read_snli(path)


def test_a_table_and_json_lines_of_probes_are_the_same(tmp_path):
    table = tmp_path / "heuristics.txt"
    table.write_text("\t".join(_COLUMNS) + "\n" + "\t".join(_HANS) + "\n")
    corpus = data.read_hans(table)
    lines = _lines(tmp_path / "a.jsonl", dict(zip(_COLUMNS, _HANS, strict=True)))
    assert data.read_hans(lines) == corpus
    assert corpus.class_names == ("entailment", "non-entailment")
    (only,) = corpus.examples
    assert (only.label, only.text) == (1, '"The judge" saw the actor .')
    assert only.attributes == {
        "heuristic": "lexical_overlap",
        "gold": "non-entailment",
        "subcase": "ln_swap",
    }


def test_a_table_of_probes_that_is_another_is_refused(tmp_path):
    table = tmp_path / "heuristics.txt"
    table.write_text(",".join(_COLUMNS) + "\n" + ",".join(_HANS) + "\n")
    with pytest.raises(ValueError, match=r"heuristics.txt, line 1 must name each col"):
        data.read_hans(table)
    row = ("neutral", *_HANS[1:])
    table.write_text("\t".join(_COLUMNS) + "\n" + "\t".join(row) + "\n")
    with pytest.raises(ValueError, match=r"line 2: 'gold_label' .='neutral'. must be"):
        data.read_hans(table)


def test_the_greatest_class_is_taken_before_two_become_one():
    # 0.4 is the greatest of (0.4, 0.3, 0.3), though the others are 0.6 together.
    logits = np.log(
        [[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8], [0.6, 0.2, 0.2]]
    )
    names = ("entailment", "neutral", "contradiction")
    predicted = data.entailment_or_not(logits, names)
    assert predicted.tolist() == [0, 1, 1, 0]
    assert predicted.dtype == np.int32
    turned = data.entailment_or_not(logits[:, ::-1], names[::-1])
    assert turned.tolist() == [0, 1, 1, 0]


def test_classes_that_are_others_are_refused():
    names = ("entailment", "neutral", "contradiction")
    with pytest.raises(ValueError, match=r"`logits` .2, 2. must be .B, 3."):
        data.entailment_or_not(np.zeros((2, 2)), names)
    with pytest.raises(ValueError, match=r"`logits` .3,. must be .B, 3."):
        data.entailment_or_not(np.zeros(3), names)
    with pytest.raises(ValueError, match=r"`class_names` .* must contain 'entailment'"):
        data.entailment_or_not(np.zeros((2, 2)), ("SUPPORTS", "REFUTES"))
