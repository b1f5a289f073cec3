"""Tokens back to words: their texts, their sums, and what kind each is."""

import numpy as np
import pytest

from xguide_jax import data

CORPUS = data.Corpus(
    (
        data.TextExample("a", "A dog  is sleeping.", 0, "The dog isn't swimming!"),
        data.TextExample("b", "Cats (and no dogs)", 1, "\tNone"),
    ),
    ("yes", "no"),
)
# sleeping in three pieces, isn't in two; of the second example "and no dogs)" is cut.
WORDS = [
    [-1, 0, 1, 2, 3, 3, 3, 4, -1, 0, 1, 2, 2, 3, 4, -1, -1],
    [-1, 0, 1, -1, 0, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1],
]
SEPARATORS = [(8, 15), (3, 5)]


def texts():
    words = np.array(WORDS, np.int32)
    places = np.arange(words.shape[1])
    firsts, lasts = (np.array(s)[:, None] for s in zip(*SEPARATORS, strict=True))
    mask = places <= lasts
    segments = ((places > firsts) & mask).astype(np.int32)
    special = mask & (words < 0)
    inputs = {"tokens": 0 * words, "mask": mask, "segments": segments}
    known = {"words": words, "special": special, "row": np.arange(2, dtype=np.int32)}
    return data.Dataset(inputs, np.zeros(2, np.int32), CORPUS.class_names, known)


def test_words_keep_the_blanks_before_them_and_texts_their_lines():
    found = data.text_words(texts(), CORPUS, index=0)
    first = ("A", " dog", "  is", " sleeping", ".")
    assert found.words == (*first, "\nThe", " dog", " isn't", " swimming", "!")
    found = data.text_words(texts(), CORPUS, index=1)
    assert "".join(found.words) == "Cats (and no dogs)\nNone"
    np.testing.assert_array_equal(found.places[:7], [-1, 0, 1, -1, 6, -1, -1])


def test_a_word_has_the_sum_of_its_pieces():
    found = data.text_words(texts(), CORPUS, index=0)
    values = np.arange(17, dtype=np.float32)
    expected = [1, 2, 3, 4 + 5 + 6, 7, 9, 10, 11 + 12, 13, 14]
    np.testing.assert_array_equal(found.sums(values), expected)
    # Nothing is lost but what special tokens have.
    assert found.sums(values).sum() == values.sum() - 0 - 8 - 15 - 16
    np.testing.assert_array_equal(found.sums(values == 5) > 0, np.arange(10) == 3)


def test_a_word_that_was_cut_away_has_no_sum():
    found = data.text_words(texts(), CORPUS, index=1)
    nan = np.nan
    np.testing.assert_array_equal(
        found.sums(np.ones(17)), [1, 1, nan, nan, nan, nan, 1]
    )


def test_every_token_is_of_one_kind():
    classes = data.token_classes(texts(), CORPUS)
    drawn = {
        "class token": "x................ x................",
        "separator": "........x......x. ...x.x...........",
        "first text": ".xxxxxxx......... .xx..............",
        "second text": ".........xxxxxx.. ....x............",
        "punctuation": ".......x......x.. ..x..............",
        "stop words": ".x.x.....x....... .................",
        "content": "..x.xxx...xxxx... .x..x............",
    }
    for name, both in drawn.items():
        expected = [[c == "x" for c in row] for row in both.split()]
        np.testing.assert_array_equal(classes[name], expected, err_msg=name)
    assert classes.keys() == drawn.keys()
    mask = texts().inputs["mask"].astype(int)
    every = list(classes.values())
    for rest in (every[2:4], every[4:]):
        np.testing.assert_array_equal(np.sum([*every[:2], *rest], axis=0), mask)


def test_parts_of_a_data_set_know_their_examples():
    part = data.take(texts(), np.array([1]))
    assert data.text_words(part, CORPUS, index=0).words[0] == "Cats"
    whole = data.token_classes(texts(), CORPUS)
    for name, one in data.token_classes(part, CORPUS).items():
        np.testing.assert_array_equal(one[0], whole[name][1])


def test_another_corpus_is_refused_by_name():
    other = CORPUS._replace(examples=(data.TextExample("z", "A dog", 0, "b"),) * 2)
    with pytest.raises(
        ValueError, match=r"'z' are not of this corpus.*5 words.* 2 and"
    ):
        data.text_words(texts(), other, index=0)


def test_of_a_tokeniser_the_words_are_those_of_the_text():
    pytest.importorskip("tokenizers")
    tokenizer = data.word_tokenizer(CORPUS)
    made, _ = data.tokenise(
        CORPUS, tokenizer, max_length=20, rationale=(), mass_per="piece"
    )
    for index in range(2):
        found = data.text_words(made, CORPUS, index=index)
        pieces = made.inputs["tokens"][index][found.places >= 0]
        written = [w.strip().lower() for w in found.words]
        assert [tokenizer.id_to_token(i) for i in pieces] == [
            written[place] for place in found.places if place >= 0
        ]
        assert len(pieces) == len(written)
    classes = data.token_classes(made, CORPUS)
    stop = made.inputs["tokens"][classes["stop words"]]
    assert {tokenizer.id_to_token(i) for i in stop} == {"a", "is", "the", "and"}
