"""ERASER's folders, and FEVER as its validation set has it, shortened by sentences."""

import collections
import gzip
import json
import os
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xguide_jax import data
from xguide_jax.data.text.readers import sentences

_FOLDER = os.environ.get("XGUIDE_DATA")
real_files = pytest.mark.skipif(not _FOLDER, reason="XGUIDE_DATA names no folder")

_LABELS = ("NEG", "POS")


def _piece(docid, start, end, **rest):
    return {"docid": docid, "start_token": start, "end_token": end, "text": "", **rest}


def _row(name, *groups, **changes):
    row = {
        "annotation_id": name,
        "query": "is it good ?",
        "classification": "POS",
        "evidences": list(groups),
    }
    return {**row, **changes}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "docs").mkdir()
    # A no-break space is within a word; blanks at the ends and empty lines are nothing.
    (tmp_path / "docs" / "a.txt").write_text(
        "a b\xa0c d .\n\n  e  f g .  \n", "utf-8", newline=""
    )
    (tmp_path / "docs" / "b.txt").write_text("h i\x85j .", "utf-8")
    return tmp_path


def _read(folder, *lines, select=None):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "val.jsonl").write_text(text, "utf-8")
    return data.read_eraser(folder, split="val", class_names=_LABELS, select=select)


def _marked(example):
    return [example.text_b[start:end] for start, end in example.evidence_b]


def test_ranges_of_words_become_spans_of_all_documents(folder):
    rows = [
        _row("1", [_piece("a.txt", 1, 3)], [_piece("b.txt", 1, 2)]),
        # Over the end of a sentence: words are d . e f, in two sentences.
        _row("2", [_piece("a.txt", 2, 6)], classification="NEG"),
        # In the order in which the file names them, and without any evidence.
        _row("3", docids=["b.txt", "a.txt"]),
    ]
    first, second, third = _read(folder, *rows).examples
    assert first.text == "is it good ?"
    assert first.text_b == "a b\xa0c d . e f g . h i\x85j ."
    assert _marked(first) == ["b\xa0c d", "i\x85j"]
    assert first.evidence is None
    assert (first.label, second.label) == (1, 0)
    assert _marked(second) == ["d .", "e f"]
    assert third.text_b == "h i\x85j . a b\xa0c d . e f g ."
    assert third.evidence_b == ()
    assert {e.attributes["evidence_kept"] for e in (first, second)} == {"all"}


def test_documents_without_a_query_are_the_text(folder):
    (example,) = _read(folder, _row("1", [_piece("b.txt", 0, 1)], query=" ")).examples
    assert (example.text, example.text_b) == ("h i\x85j .", "")
    assert (example.evidence, example.evidence_b) == (((0, 1),), None)


def test_documents_may_lie_in_one_file(folder):
    lines = [{"docid": "c", "document": "k l .\nm n ."}]
    (folder / "docs.jsonl").write_text("".join(map(json.dumps, lines)))
    (example,) = _read(folder, _row("1", [_piece("c", 2, 4)])).examples
    assert example.text_b == "k l . m n ."
    assert _marked(example) == [".", "m"]
    (folder / "docs.jsonl").write_text((json.dumps(lines[0]) + "\n") * 2)
    with pytest.raises(
        ValueError, match=r"docs.jsonl, line 2: 'docid' .='c'. is there"
    ):
        _read(folder, _row("1", docids=["c"]))


def test_rows_without_a_document_are_skipped_and_counted(folder):
    (folder / "docs" / "empty").write_text("\n \n")
    named = _row("3", [_piece("b.txt", 0, 1)])
    corpus = _read(folder, _row("1"), _row("2", docids=["empty"]), named)
    assert corpus.skipped == {"no document is named": 1, "an empty text": 1}
    assert len(corpus.examples) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_row("1", [_piece("a.txt", 3, 9)]), "line 1: the evidence 3 .. 9 .* 8 words"),
        (_row("1", [_piece("a.txt", -1, -1)]), "the evidence -1 .. -1 must be a range"),
        (_row("1", [_piece("a.txt", 2, 2)]), "the evidence 2 .. 2 must be a range"),
        (_row("1", [{"docid": "a.txt"}]), "line 1: 'evidences' must be groups of"),
        (_row("1", [3]), "line 1: 'evidences' must be groups of"),
        (_row("1", docids=["../val.jsonl"]), "'../val.jsonl' lies outside of docs"),
        (
            _row("1", docids=["a.txt"], classification="?"),
            "must be one of .'NEG', 'POS",
        ),
        ({"annotation_id": "1"}, "val.jsonl, line 1 must have 'query'; it has"),
    ],
)
def test_a_row_that_does_not_fit_is_named(folder, row, message):
    with pytest.raises(ValueError, match=message):
        _read(folder, row)


def test_a_missing_document_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"put the file at .*docs.z.txt"):
        _read(folder, _row("1", docids=["z.txt"]))


_DOCUMENT = ["The cat sat .", "It was a red cat .", "Dogs bark .", "No red dogs ."]


def _sentences(*marked):
    return [
        sentences.Sentence(text, ((0, len(text)),) if i in marked else ())
        for i, text in enumerate(_DOCUMENT)
    ]


def test_sentences_nearest_to_the_query_are_kept():
    """Of 4 sentences 2 hold 'red', 2 'cat', 1 'sat': log 3, log 3 and log 5."""

    # Scores: 1.10 + 1.61, 1.10 + 1.10, 0, 1.10; lengths 4, 6, 3, 4, and 3 of the query.
    def kept(room, query="red cat sat", marked=(), **choices):
        choices = {"evidence_first": False, **choices}
        return data.sentences_within(room + 3, **choices)(query, _sentences(*marked))

    assert kept(4) == [0]
    assert kept(9) == [0, 3]  # the second would not fit, the fourth does
    assert kept(10) == [0, 1]
    assert kept(14) == [0, 1, 3]
    assert kept(17) == kept(99) == [0, 1, 2, 3]
    assert kept(2) == [0]  # nothing fits
    assert kept(4, marked=[3]) == [0]
    assert kept(4, marked=[3], evidence_first=True) == [3]
    assert kept(7, query="x y z") == [0, 2]  # of equals the earlier one
    assert kept(4, query="cat bark x") == [2]  # log 5 of one sentence, log 3 of two
    letters = {"length_fn": len}  # 11 of the query, and 13, 18, 11, 13
    assert kept(8 + 24, **letters) == [0, 2]


@given(
    st.lists(st.text("ab .", max_size=8), min_size=1, max_size=5),
    st.integers(1, 12),
    st.sets(st.integers(0, 4)),
    st.booleans(),
)
def test_what_is_kept_fits_and_is_in_order(texts, max_length, marked, evidence_first):
    parts = [
        sentences.Sentence(text, ((0, len(text)),) if i in marked and text else ())
        for i, text in enumerate(texts)
    ]
    select = data.sentences_within(max_length, evidence_first=evidence_first)
    kept = select("a b", parts)
    assert list(kept) == sorted(set(kept))
    length = 2 + sum(len(texts[i].split()) for i in kept)
    assert kept
    assert length <= max_length or len(kept) == 1
    # Whatever was marked, without `evidence_first` the choice is the same.
    if not evidence_first:
        assert kept == select("a b", [part._replace(marked=()) for part in parts])
    text, spans, _ = sentences.joined("a b", parts, select)
    held = [text[start:end] for start, end in spans]
    assert held == [texts[i] for i in kept if parts[i].marked]


def test_a_length_below_one_is_refused():
    with pytest.raises(ValueError, match=r"`max_length` .=0. must be at least 1"):
        data.sentences_within(0, evidence_first=True)


def _claim(**changes):
    row = {
        "id": "7",
        "claim": "Red dogs bark.",
        "label": "REFUTES",
        "docid": "Dogs",
        "evidence_sentences": [2, 3],
        "negation": False,
    }
    return {**row, **changes}


def _read_fever(folder, *claims, select=None):
    documents = [{"docid": "Dogs", "sentences": _DOCUMENT}]
    for name, rows in (("fever_val", claims), ("fever_val_docs", documents)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return data.read_fever(folder, split="val", select=select)


def test_marked_sentences_are_spans_of_the_document(tmp_path):
    (example,) = _read_fever(tmp_path, _claim()).examples
    assert example.text_b == " ".join(_DOCUMENT)
    assert [example.text_b[a:b] for a, b in example.evidence_b] == _DOCUMENT[2:]
    assert example.evidence is None
    assert (example.id, example.label) == ("7", 1)
    assert example.attributes == {
        "document": "Dogs", "evidence_kept": "all", "negation": "no",
    }  # fmt: skip


def test_a_shorter_document_says_how_much_evidence_is_left(tmp_path):
    claims = _claim(), _claim(id="8", evidence_sentences=[0], negation=True)
    # "Red dogs bark.": both of 'Dogs bark .', 'red' and 'dogs' of the last.
    select = data.sentences_within(3 + 4, evidence_first=False)
    part, none = _read_fever(tmp_path, *claims, select=select).examples
    assert part.text_b == none.text_b == _DOCUMENT[2]
    assert part.evidence_b == ((0, len(_DOCUMENT[2])),)
    assert none.evidence_b == ()
    assert part.attributes["evidence_kept"] == "part"
    assert none.attributes["evidence_kept"] == "none"
    assert (part.attributes["negation"], none.attributes["negation"]) == ("no", "yes")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"docid": "Cats"}, "line 1: there is no document 'docid' .='Cats'."),
        ({"evidence_sentences": [4]}, "must be numbers of the 4 sentences of 'Dogs'"),
        ({"evidence_sentences": ["2"]}, "must be numbers of the 4 sentences of 'Dogs'"),
        ({"label": "NOT ENOUGH INFO"}, "'label' .* must be one of .'SUPPORTS"),
    ],
)
def test_a_claim_that_does_not_fit_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        _read_fever(tmp_path, _claim(**changes))


@real_files
def test_the_real_claims_keep_their_evidence():
    folder = pathlib.Path(_FOLDER) / "eraser_fever"
    select = data.sentences_within(256, evidence_first=False)
    corpus = data.read_fever(folder, split="val", select=select)
    assert collections.Counter(e.label for e in corpus.examples) == {0: 3019, 1: 3103}
    assert not corpus.skipped
    kept = collections.Counter(e.attributes["evidence_kept"] for e in corpus.examples)
    assert kept == {"all": 5844, "part": 234, "none": 44}
    longest = max(len((e.text + " " + e.text_b).split()) for e in corpus.examples)
    assert longest <= 256
