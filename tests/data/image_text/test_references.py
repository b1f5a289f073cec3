"""Texts as tokens with fixed special numbers, and one reference a step."""

import collections
import json

import numpy as np
import pytest

from xguide_jax import data

tokenizers = pytest.importorskip("tokenizers")

_TEXTS = (("A dog, a cat.", "a dog"), (), ("the cat",), ("", "a dog runs far away"))
_WORDS = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", "a", "dog", "cat", "runs"]


def _tokenizer():
    """a 4, dog 5, cat 6, runs 7."""
    return data.reference_tokenizer([("a a a a", "dog dog dog"), ("cat cat", "runs")])


def test_special_tokens_have_their_numbers_and_words_follow_by_their_counts():
    tokenizer = _tokenizer()
    assert [tokenizer.id_to_token(i) for i in range(8)] == _WORDS
    assert tokenizer.get_vocab_size() == 8
    specials = (data.PAD_ID, data.BOS_ID, data.EOS_ID, data.UNK_ID)
    assert specials == (0, 1, 2, 3)


def test_a_small_vocabulary_keeps_the_frequent_words():
    texts = [("a a a a", "dog dog dog"), ("cat cat", "runs")]
    small = data.reference_tokenizer(texts, max_size=6)
    assert [small.id_to_token(i) for i in range(6)] == _WORDS[:6]
    assert small.get_vocab_size() == 6
    often = data.reference_tokenizer(texts, min_count=2)
    assert often.get_vocab_size() == 7
    many = [(" ".join(f"word{n}" for n in range(6000)),)]
    assert data.reference_tokenizer(many).get_vocab_size() == 4096


def test_texts_are_bos_words_eos_and_padding():
    arrays, counts = data.encode_texts(_TEXTS, _tokenizer(), length=8)
    assert arrays["texts"].tolist() == [
        # "," and "." are no words of the vocabulary.
        [[1, 4, 5, 3, 4, 6, 3, 2], [1, 4, 5, 2, 0, 0, 0, 0]],
        [[0] * 8, [0] * 8],
        [[1, 3, 6, 2, 0, 0, 0, 0], [0] * 8],
        [[0] * 8, [1, 4, 5, 7, 3, 3, 2, 0]],
    ]
    assert arrays["texts"].dtype == np.int32
    np.testing.assert_array_equal(arrays["texts_mask"], arrays["texts"] != 0)
    assert arrays["texts_mask"].dtype == arrays["texts_valid"].dtype == bool
    assert arrays["texts_valid"].tolist() == [
        [True, True],
        [False, False],
        [True, False],
        [False, True],
    ]
    assert counts == data.ReferenceCounts(
        texts=4, empty=1, without=1, truncated=0, cut=0, unknown=5
    )


def test_what_is_too_long_is_cut_without_an_end_and_counted():
    texts = [("a dog runs",), ("a dog runs a dog zebra",), ("a dog",)]
    arrays, counts = data.encode_texts(texts, _tokenizer(), length=4)
    assert arrays["texts"][:, 0].tolist() == [[1, 4, 5, 7], [1, 4, 5, 7], [1, 4, 5, 2]]
    assert arrays["texts_mask"].all()
    # Of the first only [EOS] is cut; of the second three words, one of them unknown.
    assert counts == data.ReferenceCounts(3, 0, 0, truncated=2, cut=3, unknown=1)


def test_images_without_any_text_have_one_row_of_padding():
    arrays, counts = data.encode_texts([(), ()], _tokenizer(), length=5)
    assert arrays["texts"].shape == (2, 1, 5)
    assert not arrays["texts_valid"].any()
    assert (counts.texts, counts.without) == (0, 2)


def test_the_words_of_another_part_are_unknown():
    """The vocabulary is of the texts it is given, which are those of training."""
    train, test = (("a cat",),), (("a zebra",),)
    arrays, counts = data.encode_texts(test, data.reference_tokenizer(train), length=5)
    assert arrays["texts"][0, 0].tolist() == [1, 4, 3, 2, 0]
    assert counts.unknown == 1


def test_a_text_that_says_a_special_token_is_a_text_about_brackets():
    texts = (("a [EOS] dog [PAD] \ud800",),)
    tokenizer = data.reference_tokenizer(texts)
    arrays, counts = data.encode_texts(texts, tokenizer, length=16)
    line = arrays["texts"][0, 0]
    assert np.flatnonzero(line == data.EOS_ID).tolist() == [10]
    assert arrays["texts_mask"][0, 0].sum() == 11
    assert counts.unknown == 0


def test_decoded_tokens_are_the_words_up_to_the_end():
    tokenizer = data.reference_tokenizer([("Two loops, thin (fine) lines: a dog.",)])
    arrays, _ = data.encode_texts(
        [("Two loops , thin (fine) lines: a DOG .",)], tokenizer, length=16
    )
    line = arrays["texts"][0, 0]
    text = data.decode_tokens(line, tokenizer)
    assert text == "two loops, thin ( fine) lines: a dog."
    again, _ = data.encode_texts([(text,)], tokenizer, length=16)
    np.testing.assert_array_equal(again["texts"][0, 0], line)
    # What a decoder writes after the end, and padding, is not read.
    written = np.array([1, 3, 0, 4, 2, 5, 5])
    assert data.decode_tokens(written, _tokenizer()) == "[UNK] a"
    assert data.decode_tokens(np.zeros(4, int), tokenizer) == ""


def _pieces(**options):
    # Of the paper's example: low 5, lower 2, newest 6, widest 3 times.
    texts = [("low " * 5 + "lower " * 2,), ("newest " * 6 + "Widest " * 3,)]
    return data.reference_tokenizer(texts, pieces=True, **options)


def test_pieces_are_joined_by_how_often_they_stand_together():
    # e+s, es+t: 9; l+o, _+lo, _lo+w: 7; then n+e, e+w and more: 6.
    tokenizer = _pieces(max_size=20)
    names = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    assert names[:4] == ["[PAD]", "[BOS]", "[EOS]", "[UNK]"]
    assert names[4:15] == [*"deilnorstw", "\u2581"]
    assert names[15:] == ["es", "est", "lo", "\u2581lo", "\u2581low"]
    assert tokenizer.encode("LOWEST").tokens == ["\u2581low", "est"]
    # Characters are kept where there is no room for them; a pair of 7 is too rare.
    assert _pieces(max_size=5).get_vocab_size() == 15
    assert _pieces(min_count=8).get_vocab_size() == 17


def test_pieces_are_numbered_alike_each_time():
    first, second = (json.loads(_pieces().to_str())["model"] for _ in range(2))
    assert first == second


def test_pieces_spell_words_that_no_text_held():
    arrays, counts = data.encode_texts([("Widest, loner $",)], _pieces(), length=32)
    assert counts.unknown == 2  # the comma and the dollar
    text = data.decode_tokens(arrays["texts"][0, 0], _pieces())
    assert text == "widest [UNK] loner [UNK]"
    assert data.decode_tokens(np.array([1]), _pieces()) == ""
    # A mark that closes stands by its word, be it one piece or two.
    marks = data.reference_tokenizer([("so , so , so , low .",)], pieces=True)
    line = data.encode_texts([("low , so .",)], marks, length=16)[0]["texts"][0, 0]
    assert data.decode_tokens(line, marks) == "low, so."


def test_impossible_tokens_are_refused():
    tokenizer = _tokenizer()
    for ids, message in (
        (np.array([1, 8]), r"`ids` must lie in 0 .. 7, not reach 8"),
        (np.array([-1]), r"`ids` must lie in 0 .. 7"),
        (np.zeros((2, 3), int), r"`ids` \(int64 \(2, 3\)\) must be int \[L\]"),
        (np.zeros(3), r"`ids` \(float64"),
    ):
        with pytest.raises(ValueError, match=message):
            data.decode_tokens(ids, tokenizer)


def test_impossible_choices_are_refused():
    with pytest.raises(ValueError, match=r"`max_size` .=4. must be at least 5"):
        data.reference_tokenizer(_TEXTS, max_size=4)
    with pytest.raises(ValueError, match=r"`min_count` .=0. must be at least 1"):
        data.reference_tokenizer(_TEXTS, min_count=0)
    with pytest.raises(ValueError, match=r"`length` .=2. must be at least 3"):
        data.encode_texts(_TEXTS, _tokenizer(), length=2)
    with pytest.raises(
        ValueError, match=r"`texts` in row 1 must be texts, not 'a dog'"
    ):
        data.encode_texts([("a",), "a dog"], _tokenizer(), length=5)
    corpus = data.Corpus((data.TextExample("x", "a dog", 0),), ("only",))
    other = data.word_tokenizer(corpus)
    with pytest.raises(ValueError, match=r"`tokenizer` must number .* from 0, as"):
        data.encode_texts(_TEXTS, other, length=5)


def _described(texts=_TEXTS):
    num_images = len(texts)
    images = np.arange(num_images, dtype=np.float32)[:, None, None, None]
    dataset = data.Dataset(images, np.zeros(num_images, np.int32), ("only",))
    return data.Described(
        dataset, texts, tuple(f"image {n}" for n in range(num_images))
    )


def _batch(rows, *, seed=0, step=0):
    dataset, _ = data.encode_described(_described(), _tokenizer(), length=8)
    batch = data.make_batch(dataset, np.array(rows), seed=seed, step=step)
    return data.choose_texts(batch, rows, seed=seed, step=step)


def test_a_step_gets_one_valid_reference_each_as_often_as_the_others():
    lines = [_batch([0, 1, 2, 3], step=n)["text"] for n in range(200)]
    counts = [
        collections.Counter(tuple(line.tolist()) for line in each)
        for each in np.stack(lines).swapaxes(0, 1)
    ]
    # Binomial(200, 1/2): 100 +- 28 with probability 0.9999.
    assert len(counts[0]) == 2
    assert all(70 < count < 130 for count in counts[0].values())
    assert counts[1] == {(0,) * 8: 200}
    assert counts[2] == {(1, 3, 6, 2, 0, 0, 0, 0): 200}
    assert counts[3] == {(1, 4, 5, 7, 3, 3, 2, 0): 200}  # never the empty one


def test_an_image_without_a_text_is_not_valid():
    """Padding as a target would teach a decoder to be silent."""
    batch = _batch([1, 0])
    assert batch["text_valid"].tolist() == [False, True]
    assert batch["text_valid"].dtype == batch["text_mask"].dtype == bool
    assert batch["text"].dtype == np.int32
    assert not batch["text"][0].any()
    assert not batch["text_mask"][0].any()
    np.testing.assert_array_equal(batch["text_mask"][1], batch["text"][1] != 0)
    data.validate_batch(batch, num_classes=1)


def test_a_text_is_a_function_of_seed_step_and_example_alone():
    for step in range(10):
        whole = _batch([3, 0, 2], step=step)["text"].tolist()
        assert whole == [
            _batch([row], step=step)["text"][0].tolist() for row in (3, 0, 2)
        ]
    sequences = {
        tuple(tuple(_batch([0], seed=seed, step=n)["text"][0]) for n in range(20))
        for seed in range(4)
    }
    assert len(sequences) == 4
    batch = {
        "texts": np.arange(64).reshape(2, 32, 1),
        "texts_mask": np.ones((2, 32, 1), bool),
        "texts_valid": np.ones((2, 32), bool),
    }
    chosen = [
        data.choose_texts(batch, [5, 6], seed=0, step=n)["text"] for n in range(20)
    ]
    assert sum(int(text[0, 0]) != int(text[1, 0]) - 32 for text in chosen) > 10


def test_what_has_no_references_is_refused():
    with pytest.raises(ValueError, match=r"a batch needs \['texts', 'texts_mask'"):
        data.choose_texts({"inputs": np.zeros(2)}, [0, 1], seed=0, step=0)
    batch = {k: v for k, v in _batch([0, 1]).items() if k.startswith("texts")}
    for rows in ([0], [True, False]):
        with pytest.raises(ValueError, match=r"`indices` .* must be int \[2\], one an"):
            data.choose_texts(batch, rows, seed=0, step=0)


def test_images_are_split_with_their_texts_one_row_an_image():
    """Not one row for each pair of image and text, which a random split takes apart."""
    texts = tuple((f"first of {n}", f"second of {n}") for n in range(40))
    described = _described(texts)
    parts = data.split_images(described, seed=0, fractions=(0.5, 0.25, 0.25))
    assert [len(part.ids) for part in parts] == [20, 10, 10]
    found = [name for part in parts for name in part.ids]
    assert sorted(found) == sorted(described.ids)
    for part in parts:
        numbers = part.dataset.inputs[:, 0, 0, 0].astype(int).tolist()
        assert part.ids == tuple(f"image {n}" for n in numbers)
        assert part.texts == tuple(texts[n] for n in numbers)
        dataset, _ = data.encode_described(part, _tokenizer(), length=6)
        assert dataset.annotations["texts_valid"].shape == (len(numbers), 2)


def test_the_rows_of_one_image_stay_together_in_any_order():
    described = _described(tuple((f"{n}",) for n in range(30)))
    thrice = data.Described(
        data.take(described.dataset, np.arange(30).repeat(3)),
        tuple(text for text in described.texts for _ in range(3)),
        tuple(name for name in described.ids for _ in range(3)),
    )
    order = np.random.default_rng(0).permutation(90)
    shuffled = data.take_described(thrice, order)
    for one, other in zip(
        data.split_images(thrice, seed=1),
        data.split_images(shuffled, seed=1),
        strict=True,
    ):
        assert collections.Counter(one.ids) == collections.Counter(other.ids)
        assert set(collections.Counter(one.ids).values()) == {3}
    others = [data.split_images(thrice, seed=seed)[1].ids for seed in (1, 2)]
    assert others[0] != others[1]
    with pytest.raises(ValueError, match=r"`fractions` .* at least 0 and sum to 1"):
        data.split_images(thrice, seed=0, fractions=(0.5, 0.1))
