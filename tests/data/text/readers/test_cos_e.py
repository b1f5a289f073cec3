"""CoS-E: where in a question the highlight stands."""

import json

import pytest

from xguide_jax import data


def _write(folder, questions, explanations):
    paths = folder / "questions.jsonl", folder / "explanations.jsonl"
    for path, rows in zip(paths, (questions, explanations), strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return paths


def _question(name, stem="Where do dogs bark at İzmir?", answer="B", num_choices=3):
    choices = [{"label": label, "text": f"place {label}"} for label in "ABCDE"]
    row = {"id": name, "question": {"stem": stem, "choices": choices[:num_choices]}}
    return row if answer is None else {**row, "answerKey": answer}


def _explanation(name, selected, written="Dogs do."):
    return {
        "id": name,
        "explanation": {"selected": selected, "open-ended": written},
    }


@pytest.mark.parametrize(
    ("selected", "marked", "how"),
    [
        ("DOGS bark", ["dogs bark"], "span"),
        ("Question: Where do", ["Where do"], "span"),
        ("at İzmir?Answer Choices:   ", ["at İzmir?"], "span"),
        ("Where do dogs bark at İzmir", ["Where do dogs bark at İzmir"], "whole"),
        ("where do dogs bark at İzmir?", ["Where do dogs bark at İzmir?"], "whole"),
        ("bark, where, cats", ["Where", "bark"], "parts"),
        ("do", ["do"], "span"),
        ("gs ba", ["gs ba"], "span"),
        ("cats", None, "none"),
        ("", None, "none"),
        ("Question:", None, "none"),
    ],
)
def test_the_highlight_is_found_in_the_question(tmp_path, selected, marked, how):
    explained = _explanation("1", selected)
    (example,) = data.read_cos_e(
        *_write(tmp_path, [_question("1")], [explained])
    ).examples
    spans = example.evidence
    assert marked == (spans and [example.text[start:end] for start, end in spans])
    assert example.attributes == {"highlight": how}
    assert example.explanations == ("Dogs do.",)
    assert example.text_b == "place A; place B; place C"
    assert example.label == 1
    assert example.evidence_b is None


def test_a_whole_word_comes_before_a_part_of_one(tmp_path):
    question = _question("1", "Undo, outdoors, where do dogs bark?")
    paths = _write(tmp_path, [question], [_explanation("1", "do")])
    assert data.read_cos_e(*paths).examples[0].evidence == ((22, 24),)


def test_questions_that_are_no_examples_are_skipped_and_counted(tmp_path):
    questions = [
        _question("1", answer=None),
        _question("2", num_choices=5),
        _question("3", stem=" "),
        _question("4"),
    ]
    corpus = data.read_cos_e(*_write(tmp_path, questions, []))
    assert corpus.skipped == {
        "no answer is given": 1,
        "other than three answers": 1,
        "an empty text": 1,
    }
    (only,) = corpus.examples
    assert (only.id, only.evidence, only.explanations) == ("4", None, ())
    assert only.attributes == {"highlight": "none"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_question("1", answer="D"), "line 1: 'answerKey' .='D'. must be one of"),
        (
            {"id": "1", "question": {"stem": "a"}},
            "line 1: 'question' must have a 'stem'",
        ),
        ({"id": "1", "question": "a"}, "line 1 must have dict as 'question', not 'a'"),
        ({"question": {}}, "questions.jsonl, line 1 must have 'id'; it has"),
    ],
)
def test_a_question_that_does_not_fit_is_named(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        data.read_cos_e(*_write(tmp_path, [row], []))


def test_an_id_that_is_there_twice_is_refused(tmp_path):
    paths = _write(tmp_path, [_question("1"), _question("1")], [])
    with pytest.raises(ValueError, match=r"line 2: the id '1' is that of questions"):
        data.read_cos_e(*paths)
    twice = [_explanation("1", "dogs"), _explanation("1", "bark")]
    paths = _write(tmp_path, [_question("1")], twice)
    with pytest.raises(ValueError, match=r"explanations.jsonl, line 2: 'id' .='1'. is"):
        data.read_cos_e(*paths)
