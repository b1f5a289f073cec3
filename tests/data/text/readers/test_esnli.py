"""e-SNLI: the original csv, its words with marks, and its explanations."""

import collections
import csv
import gzip
import itertools
import json
import os
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xguide_jax import data
from xguide_jax.data.text.readers import agreement, rows

_FOLDER = os.environ.get("XGUIDE_DATA")
real_files = pytest.mark.skipif(not _FOLDER, reason="XGUIDE_DATA names no folder")

_SHARED = ["pairID", "gold_label", "Sentence1", "Sentence2"]
_OF_ONE = ["Explanation_{}", "Sentence1_marked_{}", "Sentence2_marked_{}"]


def _columns(*annotators):
    return [*_SHARED, *(c.format(k) for k in annotators for c in _OF_ONE)]


def _write(path, *lines, columns):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *lines])
    return path


def _marked(text, spans):
    return None if spans is None else [text[start:end] for start, end in spans]


@pytest.fixture
def three(tmp_path):
    """Two pairs, three annotators; the second did not mark the second premise."""
    return _write(
        tmp_path / "dev.csv",
        [
            *("1", "neutral", "Two women hug.", "The sisters eat lunch."),
            *("Why.", "Two women hug.", " The *sisters* eat *lunch.*"),
            *("", "Two *women* hug.", " The *sisters* eat lunch."),
            *("Because.", "Two women hug.", "The *sisters* *eat* lunch."),
        ],
        [
            *("2", "entailment", "A  man, nan", "nan"),
            *("So.", " A *man,* nan", "*nan*"),
            *("So.", "", "*nan*"),
            *("So.", "A *man,* *nan*", "nan"),
        ],
        columns=_columns(1, 2, 3),
    )


def test_marks_of_the_first_annotator(three):
    corpus = data.read_esnli(three, annotators=(1,), at_least=1)
    first, second = corpus.examples
    assert corpus.class_names == ("entailment", "neutral", "contradiction")
    assert (first.id, first.label, second.label) == ("1", 1, 0)
    assert first.evidence == ()
    # "The sisters eat lunch.": without the full stop.
    assert first.evidence_b == ((4, 11), (16, 21))
    assert first.explanations == ("Why.",)
    # The sentence has two blanks where its marks have one, and no comma is marked.
    assert (second.text, second.evidence) == ("A  man, nan", ((3, 6),))
    assert _marked(second.text_b, second.evidence_b) == ["nan"]


def test_so_many_annotators_have_to_agree(three):
    def marks(at_least):
        read = data.read_esnli(three, annotators=(1, 2, 3), at_least=at_least)
        return [
            (_marked(e.text, e.evidence), _marked(e.text_b, e.evidence_b))
            for e in read.examples
        ]

    assert marks(1)[0] == (["women"], ["sisters", "eat", "lunch"])
    assert marks(2)[0] == ([], ["sisters"])
    assert marks(3)[0] == ([], ["sisters"])
    # The premise of the second pair was seen by two annotators.
    assert [both[1] for both in (marks(1), marks(2), marks(3))] == [
        (["man", "nan"], ["nan"]),
        (["man"], ["nan"]),
        (None, []),
    ]
    two = data.read_esnli(three, annotators=(1, 3), at_least=1).examples[0]
    assert two.explanations == ("Why.", "Because.")


def test_what_publishers_leave_in_is_skipped_and_counted(tmp_path):
    path = _write(
        tmp_path / "train.csv",
        ["1", "-", "A b.", "C.", "", "A b.", "C."],
        ["2", "neutral", " ", "C.", "", "", "C."],
        ["3", "neutral", "A b.", "", "", "A b.", ""],
        ["4", "neutral", "5* hotel", "C.", "", "*5** hotel", "C."],
        ["5", "neutral", "A b.", "C.", "", "Another *b.*", "C."],
        ["6", "contradiction", "Ünï b.", "C.", "", "*Ünï* b.", "C."],
        columns=_columns(1),
    )
    corpus = data.read_esnli(path, annotators=(1,), at_least=1)
    assert corpus.skipped == {
        "no gold label": 1,
        "an empty text": 2,
        "stars that do not pair": 1,
        "marks in another text": 1,
    }
    (only,) = corpus.examples
    assert (only.id, only.label, _marked(only.text, only.evidence)) == ("6", 2, ["Ünï"])


def test_a_split_in_two_files_is_one_corpus(tmp_path):
    rows = [[name, "neutral", "A b.", "C.", "", "A b.", "C."] for name in "123"]
    one = _write(tmp_path / "train_1.csv", *rows[:2], columns=_columns(1))
    two = _write(tmp_path / "train_2.csv", *rows[2:], columns=_columns(1))
    corpus = data.read_esnli([one, two], annotators=(1,), at_least=1)
    assert [e.id for e in corpus.examples] == ["1", "2", "3"]
    with pytest.raises(ValueError, match=r"train_1.csv, line 2: the id '1' is that of"):
        data.read_esnli([one, one], annotators=(1,), at_least=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({0: "2"}, r"t.csv, line 3: the id '2' is that of t.csv, line 2"),
        ({1: "Neutral"}, r"line 3: 'gold_label' .='Neutral'. must be one of .'entail"),
        ({1: None}, r"t.csv, line 3 has 6 cells, the header 7"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, changes, message):
    good = ["2", "neutral", "A b.", "C.", "", "A b.", "C."]
    bad = [changes.get(i, cell) for i, cell in enumerate(["3", *good[1:]])]
    bad = [cell for cell in bad if cell is not None]
    path = _write(tmp_path / "t.csv", good, bad, columns=_columns(1))
    with pytest.raises(ValueError, match=message):
        data.read_esnli(path, annotators=(1,), at_least=1)


def test_a_file_that_is_another_is_refused(three, tmp_path):
    def read(path, **choices):
        data.read_esnli(path, **{"annotators": (1,), "at_least": 1, **choices})

    train = _write(tmp_path / "train.csv", columns=_columns(1))
    with pytest.raises(
        ValueError, match=r"train.csv, line 1 must name each .*marked_3"
    ):
        read(train, annotators=(1, 3))
    with pytest.raises(ValueError, match=r"none of the rows is an example"):
        read(train)
    semicolons = tmp_path / "semicolons.csv"
    semicolons.write_text(three.read_text("utf-8").replace(",", ";"))
    with pytest.raises(ValueError, match=r"with ',' between; it has .'pairID;gold"):
        read(semicolons)
    latin = tmp_path / "latin.csv"
    latin.write_bytes(three.read_text("utf-8").replace("Two", "Zwö").encode("latin1"))
    with pytest.raises(ValueError, match=r"latin.csv, line \d must be csv .*utf-8"):
        read(latin)
    cut = tmp_path / "cut.csv"
    cut.write_text(three.read_text("utf-8").rstrip()[:-3] + ',"open')
    with pytest.raises(ValueError, match=r"cut.csv, line 3 must be csv"):
        read(cut)
    with pytest.raises(FileNotFoundError, match=r"put the file at .*missing.csv"):
        read(tmp_path / "missing.csv")
    with pytest.raises(ValueError, match=r"`at_least` .=2. must lie in 1 .. 1"):
        read(three, at_least=2)


def test_a_packed_file_with_a_byte_order_mark_is_read(three, tmp_path):
    packed = tmp_path / "dev.csv.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + three.read_bytes()))
    choices = {"annotators": (1, 2), "at_least": 2}
    assert data.read_esnli(packed, **choices) == data.read_esnli(three, **choices)
    packed.write_bytes(packed.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"dev.csv.gz must be packed with gzip"):
        data.read_esnli(packed, **choices)


def test_the_limit_of_the_csv_module_is_put_back(three):
    before = csv.field_size_limit()
    data.read_esnli(three, annotators=(1,), at_least=1)
    assert csv.field_size_limit() == before
    # One that is not read to its end as well.
    table = rows.table_rows(three, ["pairID"])
    next(table)
    table.close()
    assert csv.field_size_limit() == before


_spans = st.lists(
    st.tuples(st.integers(0, 9), st.integers(1, 4)).map(lambda s: (s[0], s[0] + s[1])),
    max_size=4,
)


@given(st.lists(_spans, max_size=3), st.integers(1, 3))
def test_agreed_spans_hold_what_so_many_marked_and_nothing_else(marked, at_least):
    spans = agreement.agreed_spans(14, marked, at_least=at_least)
    inside = {i for start, end in spans for i in range(start, end)}
    for i in range(14):
        votes = sum(any(a <= i < b for a, b in one) for one in marked)
        assert (i in inside) == (votes >= at_least)
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(spans))


_STRUCTURED = {
    "id": "7",
    "premise": ["Two", "women,", "hug."],
    "hypothesis": ["They", "hug"],
    "label": "entailment",
    "explanation": "It says so.",
    "premise_highlight": [0, 1, 1],
    "hypothesis_highlight": [0, 0],
}
_EXPLAINED = {
    "id": "8",
    "premise": "Two women hug .",
    "hypothesis": "They hug .",
    "label": "entailment",
    "explanations": ["they hug .", "hug is hug .", "women are they ."],
    "premise_votes": [0, 1, 2, 0],
    "hypothesis_votes": [2, 2, 0],
    "negation": False,
}


def _lines(path, *objects):
    path.write_text("".join(json.dumps(one) + "\n" for one in objects), "utf-8")
    return path


def test_words_with_marks_become_spans(tmp_path):
    path = _lines(tmp_path / "a.jsonl", _STRUCTURED)
    (example,) = data.read_structured_esnli(path).examples
    assert example.text == "Two women, hug."
    assert example.evidence == ((4, 9), (11, 14))
    assert example.evidence_b == ()
    assert example.explanations == ("It says so.",)
    assert example.attributes == {}


def test_votes_become_spans_where_asked_for(tmp_path):
    path = _lines(tmp_path / "a.jsonl", _EXPLAINED)

    def read(at_least):
        return data.read_esnli_explanations(path, at_least=at_least).examples[0]

    assert read(1).evidence == ((4, 9), (10, 13))
    assert read(2).evidence == ((10, 13),)
    assert read(3).evidence == read(3).evidence_b == ()
    assert read(None).evidence is read(None).evidence_b is None
    assert read(None).explanations == tuple(_EXPLAINED["explanations"])
    assert read(None).attributes == {"negation": "no"}
    with pytest.raises(ValueError, match=r"`at_least` .=4. must lie in 1 .. 3"):
        read(4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"premise_highlight": [0, 1]},
            "'premise_highlight' must be a number in 0 .. 1",
        ),
        ({"premise_highlight": [0, 1, 2]}, "must be a number in 0 .. 1 for each of 3"),
        ({"premise_highlight": "010"}, "line 2 must have list as 'premise_highlight'"),
        ({"premise": ["a*", "b", "c"]}, "'premise' must be words without stars"),
        ({"hypothesis": ["a", 3]}, "'hypothesis' must be words without stars"),
        ({"label": "yes"}, "line 2: 'label' .='yes'. must be one of"),
        ({"label": None}, "line 2 must have str as 'label', not 'None'"),
        ({}, "line 2: the id '7' is that of a.jsonl, line 1"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path, changes, message):
    other = {**_STRUCTURED, "id": "8" if changes else "7", **changes}
    path = _lines(tmp_path / "a.jsonl", _STRUCTURED, other)
    with pytest.raises(ValueError, match=message):
        data.read_structured_esnli(path)


@pytest.mark.parametrize(
    "line", ["{", "[1]", '{"id": "\\ud800"}', '{"id": "1"}', '"a"', "\udcff"]
)
def test_a_line_that_is_no_such_object_is_named(tmp_path, line):
    path = tmp_path / "a.jsonl"
    text = json.dumps(_STRUCTURED) + "\n\n" + line + "\n"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"a.jsonl, line 3 must (be a json|have)"):
        data.read_structured_esnli(path)


@real_files
def test_marks_of_the_original_csv_agree_with_its_index_columns():
    """18 marked sentences: words that hold marks are the words that are counted."""
    path = pathlib.Path(_FOLDER) / "esnli_highlights_sample" / "esnli_dev_first3.csv"
    with open(path, newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    agree = 0
    for k in (1, 2, 3):
        corpus = data.read_esnli(path, annotators=(k,), at_least=1)
        for row, example in zip(table, corpus.examples, strict=True):
            for side, text, spans in (
                (1, example.text, example.evidence),
                (2, example.text_b, example.evidence_b),
            ):
                held = {len(text[:start].split(" ")) - 1 for start, _ in spans}
                cell = row[f"Sentence{side}_Highlighted_{k}"].strip("{}")
                agree += held == {int(i) for i in cell.split(",") if i}
    assert agree == 18


@real_files
def test_the_real_parts_are_read_whole():
    folder = pathlib.Path(_FOLDER)
    sample = folder / "esnli_highlights_sample" / "structured_esnli_train90.jsonl"
    corpus = data.read_structured_esnli(sample)
    counts = collections.Counter(e.label for e in corpus.examples)
    assert counts == {0: 30, 1: 30, 2: 30}
    assert not corpus.skipped
    for split, expected in (("dev", (3329, 3235, 3278)), ("test", (3368, 3219, 3237))):
        path = folder / "esnli_explanations" / f"esnli_{split}.jsonl.gz"
        corpus = data.read_esnli_explanations(path, at_least=2)
        counts = collections.Counter(e.label for e in corpus.examples)
        assert counts == dict(enumerate(expected))
        assert all(len(e.explanations) == 3 for e in corpus.examples)
        assert not corpus.skipped
