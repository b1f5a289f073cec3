"""A table of one's own: spans or words, and every malformed row by its line."""

import csv
import gzip
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xguide_jax import data

_CLASSES = ("bad", "good")


def _table(path, *lines, delimiter=","):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(lines)
    return path


def _read(path, **choices):
    return data.read_texts(path, **{"class_names": _CLASSES, **choices})


def _marked(text, spans):
    return None if spans is None else [text[start:end] for start, end in spans]


def test_spans_and_words_of_a_text(tmp_path):
    path = _table(
        tmp_path / "reviews.csv",
        ["label", "text", "rationale", "stars"],
        ["good", "A fine, fine plot: naïve.", "[[2, 6], [19, 24]]", "5"],
        ["bad", "A fine, finer, define mess. FINE!", "fine mess", "1"],
        ["bad", "nan", '["nan"]', "nan"],
        ["good", "null", "", ""],
        ["good", "no mark", "[]", ""],
        ["good", "two\nlines", "lines", ""],
    )
    corpus = _read(path)
    assert corpus.class_names == _CLASSES
    assert not corpus.skipped
    assert [_marked(e.text, e.evidence) for e in corpus.examples] == [
        ["fine", "naïve"],
        ["fine", "mess", "FINE"],
        ["nan"],
        None,
        [],
        ["lines"],
    ]
    assert [e.label for e in corpus.examples] == [1, 0, 0, 1, 1, 1]
    # Ids are the lines that rows begin in.
    assert [e.id for e in corpus.examples] == ["2", "3", "4", "5", "6", "7"]
    assert {(e.text_b, e.evidence_b) for e in corpus.examples} == {("", None)}


def test_words_are_looked_up_in_both_texts_of_a_pair(tmp_path):
    path = _table(
        tmp_path / "pairs.csv",
        ["text", "text_b", "label", "rationale", "rationale_b"],
        ["a dog barks", "a Cat barks", "bad", "dog cat", ""],
        ["a dog barks", "a dog sits", "bad", "dog", "sits"],
        ["a dog barks", "a dog sits", "bad", "[[0, 1]]", ""],
        ["a dog barks", "a dog sits", "bad", "", "[[2, 5]]"],
        ["a dog barks", "a dog sits", "bad", "dog", "[]"],
    )
    found = [
        (_marked(e.text, e.evidence), _marked(e.text_b, e.evidence_b))
        for e in _read(path).examples
    ]
    assert found == [
        (["dog"], ["Cat"]),
        (["dog"], ["sits"]),
        (["a"], None),
        (None, ["dog"]),
        (["dog"], []),
    ]


def test_all_formats_are_the_same(tmp_path):
    header = ["id", "text", "text_b", "label", "rationale", "explanation"]
    cells = ["7", "a dog", "a cat", "good", '["dog"]', "Dogs."]
    tables = [
        _table(tmp_path / "a.csv", header, cells),
        _table(tmp_path / "a.tsv", header, cells, delimiter="\t"),
    ]
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(tables[0].read_bytes()))
    tables.append(packed)
    row = {**dict(zip(header, cells, strict=True)), "rationale": ["dog"]}
    lines = tmp_path / "a.jsonl"
    lines.write_text(json.dumps({**row, "rationale_b": None}))
    first, *others = [_read(path) for path in (*tables, lines)]
    assert all(other == first for other in others)
    (only,) = first.examples
    assert (only.id, only.explanations, only.evidence_b) == ("7", ("Dogs.",), ())
    lines.write_text(json.dumps({**row, "rationale": [[2, 5]]}))
    assert _read(lines).examples[0].evidence == ((2, 5),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "Good"}, "has the label 'Good', none of"),
        ({"label": ""}, "has the label '', none of"),
        ({"rationale": "[[0, 6]]"}, "has the span [0, 6] in a text of 5 characters"),
        ({"rationale": "[[-1, 2]]"}, "has the span [-1, 2] in a text"),
        ({"rationale": "[[2, 2]]"}, "has the span [2, 2] in a text"),
        (
            {"rationale": "[[0, 1.5]]"},
            "must have spans [[0, 4]] or words as `rationale`",
        ),
        ({"rationale": "[[0, true]]"}, "must have spans [[0, 4]] or words"),
        ({"rationale": '[[0, 1], "a"]'}, "must have spans [[0, 4]] or words"),
        ({"rationale": "[[0, 1]"}, "must have spans [[0, 4]] or words"),
        ({"rationale": "do"}, "has 'do' as a rationale, which is not in its text"),
        ({"rationale": '[""]'}, "has '' as a rationale, which is not in its text"),
        ({"id": "1"}, "has the id '1' of a.csv, line 2"),
    ],
)
def test_a_malformed_row_is_named_by_file_line_and_rule(tmp_path, changes, message):
    good = {"id": "1", "text": "a dog", "label": "good", "rationale": "dog"}
    bad = {**good, "id": "2", **changes}
    path = _table(tmp_path / "a.csv", good, good.values(), bad.values())
    rule = rf"^1 malformed rows: a.csv, line 3 {re.escape(message)}"
    with pytest.raises(ValueError, match=rule):
        _read(path)
    with pytest.warns(UserWarning, match=rule):
        corpus = _read(path, malformed="skip")
    assert corpus.skipped == {"malformed": 1}
    assert [e.id for e in corpus.examples] == ["1"]


def test_a_word_in_neither_text_is_malformed(tmp_path):
    header = ["text", "text_b", "label", "rationale"]
    path = _table(tmp_path / "a.csv", header, ["a dog", "a cat", "bad", "dog cow"])
    with pytest.raises(ValueError, match=r"line 2 has 'cow' as .*in neither text"):
        _read(path)


def test_all_malformed_rows_are_counted_and_the_first_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"two\nlines",no\na,good,3\na\n' + "a,?\n" * 5)
    # By the line that a row begins in, in order.
    first = r"^8 malformed rows: a.csv, line 2 has the label 'no', none of .* a.csv, "
    rest = r"line 4 has 3 cells, the header 2. a.csv, line 5 has 1 .* ... and 3 more$"
    with pytest.raises(ValueError, match=first + rest):
        _read(path)
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"text": "a"}\n{"text": 3, "label": "bad"}\n[]\n{\n')
    with pytest.raises(
        ValueError, match=r"^4 malformed rows: a.jsonl, line 1 must have"
    ):
        _read(lines)
    good = '{"text": "a", "label": "bad"}\n'
    lines.write_text(good + lines.read_text())
    with pytest.warns(UserWarning, match=r"line 5 must be a json object"):
        assert _read(lines, malformed="skip").skipped == {"malformed": 4}


def test_empty_texts_are_skipped_and_counted(tmp_path):
    header = ["text", "text_b", "label"]
    rows = [["a", "b", "bad"], [" ", "b", "bad"], ["a", "", "good"]]
    path = _table(tmp_path / "a.csv", header, *rows)
    corpus = _read(path)
    assert corpus.skipped == {"an empty text": 2}
    assert len(corpus.examples) == 1
    # Where no row has a second text there are no pairs.
    path = _table(tmp_path / "a.csv", header, rows[1], rows[2])
    assert _read(path).skipped == {"an empty text": 1}


def test_a_file_that_is_another_is_refused(tmp_path):
    wrong = _table(tmp_path / "a.csv", ["text", "class"], ["a", "good"])
    with pytest.raises(ValueError, match=r"a.csv, line 1 must name .*'label'.*'class'"):
        _read(wrong)
    tabs = _table(tmp_path / "b.csv", ["text", "label"], ["a", "good"], delimiter="\t")
    with pytest.raises(ValueError, match=r"with ',' between; it has ..text.tlabel"):
        _read(tabs)
    twice = _table(tmp_path / "c.csv", ["text", "label", "text"], ["a", "good", "b"])
    with pytest.raises(ValueError, match=r"c.csv, line 1 must name each column once"):
        _read(twice)
    empty = _table(tmp_path / "d.csv")
    with pytest.raises(ValueError, match=r"d.csv, line 1 must name each column once"):
        _read(empty)
    with pytest.raises(ValueError, match=r"`path` .*a.xlsx'. must end in one of"):
        _read(tmp_path / "a.xlsx")
    with pytest.raises(ValueError, match=r"`malformed` .='ignore'. must be one of"):
        _read(wrong, malformed="ignore")
    with pytest.raises(FileNotFoundError, match=r"put the file at .*none.jsonl"):
        _read(tmp_path / "none.jsonl")


_texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=12)


@given(st.lists(st.tuples(_texts, st.integers(0, 12), st.integers(0, 12)), min_size=1))
def test_any_text_comes_back_with_its_spans(rows):
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["text", "label", "rationale", "id"])
    expected = []
    for n, (text, start, end) in enumerate(rows):
        spans = [[start, end]] if start < end <= len(text) else []
        writer.writerow([text, "good", json.dumps(spans), n])
        if text.strip():
            expected.append((text, tuple(map(tuple, spans))))
    # A folder of its own is not needed: the same file is written over.
    path = _PATH / "any.csv"
    path.write_bytes(buffer.getvalue().encode())
    if not expected:
        with pytest.raises(ValueError, match="none of the rows is an example"):
            _read(path)
    else:
        assert [(e.text, e.evidence) for e in _read(path).examples] == expected


@pytest.fixture(scope="module", autouse=True)
def _folder_of_any_texts(tmp_path_factory):
    global _PATH
    _PATH = tmp_path_factory.mktemp("any")
