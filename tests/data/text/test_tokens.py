"""From a corpus to a data set: tokens, marks, and what is counted on the way."""

import functools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from xguide_jax import data
from xguide_jax.data.text import vocabulary

tokenizers = pytest.importorskip("tokenizers")

# The example of the paper's first figure: a dog that sleeps does not swim.
_DOGS = data.TextExample(
    "dogs",
    "A dog is sleeping.",
    2,
    "The dog swims.",
    evidence=((9, 17),),
    evidence_b=((8, 13),),
    explanations=("A dog that is sleeping is not a dog that swims.",),
)
_CLASSES = ("entailment", "neutral", "contradiction")
_COMBINED = (data.explained_words, data.highlighted_on_both_sides)


def _corpus(*examples):
    return data.Corpus(examples, _CLASSES)


@functools.cache
def _word_pieces():
    """As BERT's: lower case, without accents, words in pieces."""
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] the dog swims cafe em ##bed ##ding ##s is"
    words += " isn ' t un ##un . , a b c sep [ ]"
    vocabulary = {word: i for i, word in enumerate(words.split())}
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]")
    )
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _tokenise(*examples, tokenizer=None, max_length=16, rationale=(), **options):
    corpus = _corpus(*examples)
    tokenizer = tokenizer or data.word_tokenizer(corpus)
    dataset, counts = data.tokenise(
        corpus,
        tokenizer,
        max_length=max_length,
        rationale=rationale,
        **{"mass_per": "piece", **options},
    )
    data.validate(dataset)
    tokens = [
        [tokenizer.id_to_token(i) for i in row] for row in dataset.inputs["tokens"]
    ]
    return dataset, counts, tokens


def _marked(dataset, tokens, row=0):
    """[(token, mark)] of the tokens that have one."""
    rationale = dataset.annotations["rationale"][row]
    return [
        (token, float(mark))
        for token, mark in zip(tokens[row], rationale, strict=True)
        if mark
    ]


def test_the_papers_example_has_the_distribution_of_its_figure():
    dataset, counts, tokens = _tokenise(_DOGS, rationale=_COMBINED)
    # dog 1/2, sleeping 1, dog 1/2, swims 1, of 3 in all.
    rationale = dataset.annotations["rationale"][0]
    target = rationale / rationale.sum()
    places = np.flatnonzero(target)
    assert [tokens[0][i] for i in places] == ["dog", "sleeping", "dog", "swims"]
    assert places.tolist() == [2, 4, 8, 9]
    np.testing.assert_allclose(target[places], [1 / 6, 1 / 3, 1 / 6, 1 / 3], rtol=1e-6)
    assert counts == data.TokenCounts(0, 0, 0, 0, 0, annotated=1, unmatched=0)


def test_the_batch_contract_of_a_pair():
    dataset, _, tokens = _tokenise(_DOGS, rationale=_COMBINED, max_length=14)
    text = "[CLS] a dog is sleeping . [SEP] the dog swims . [SEP] [PAD] [PAD]"
    assert tokens[0] == text.split()
    assert dataset.inputs["mask"][0].tolist() == [True] * 12 + [False] * 2
    assert dataset.inputs["segments"][0].tolist() == [0] * 7 + [1] * 5 + [0] * 2
    special = dataset.annotations["special"][0]
    assert np.flatnonzero(special).tolist() == [0, 6, 11]
    words = [-1, 0, 1, 2, 3, 4, -1, 0, 1, 2, 3, -1, -1, -1]
    assert dataset.annotations["words"][0].tolist() == words
    assert dataset.annotations["rationale_valid"].tolist() == [True]
    assert dataset.annotations["row"].tolist() == [0]
    assert dataset.labels.tolist() == [2]
    kinds = {name: leaf.dtype for name, leaf in dataset.inputs.items()}
    assert kinds == {"tokens": np.int32, "mask": bool, "segments": np.int32}
    kinds = {name: array.dtype for name, array in dataset.annotations.items()}
    assert kinds == {
        **{"rationale": np.float32, "rationale_valid": bool, "special": bool},
        **{"words": np.int32, "row": np.int32},
    }


def test_a_single_text_has_one_segment():
    example = data.TextExample("one", "the dog", 0, evidence=((4, 7),))
    dataset, _, tokens = _tokenise(example, rationale=[data.highlighted], max_length=6)
    assert tokens[0] == ["[CLS]", "the", "dog", "[SEP]", "[PAD]", "[PAD]"]
    assert not dataset.inputs["segments"].any()
    assert dataset.annotations["rationale"][0].tolist() == [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("rationale", "marks"),
    [
        (
            (data.explained_words,),
            [("dog", 1), ("sleeping", 1), ("dog", 1), ("swims", 1)],
        ),
        ((data.highlighted,), [("sleeping", 1), ("swims", 1)]),
        ((data.highlighted_on_both_sides,), [("sleeping", 1), ("swims", 1)]),
        (_COMBINED, [("dog", 0.5), ("sleeping", 1), ("dog", 0.5), ("swims", 1)]),
        ((), []),
    ],
)
def test_the_published_alignments(rationale, marks):
    dataset, counts, tokens = _tokenise(_DOGS, rationale=rationale)
    assert _marked(dataset, tokens) == marks
    assert dataset.annotations["rationale_valid"].tolist() == [bool(marks)]
    assert (counts.annotated, counts.unmatched) == ((1, 0) if marks else (0, 1))


def test_highlights_of_one_side_alone_leave_the_explanation_to_itself():
    one_side = _DOGS._replace(evidence=())
    dataset, _, tokens = _tokenise(one_side, rationale=[data.highlighted_on_both_sides])
    assert not dataset.annotations["rationale_valid"].any()
    dataset, _, tokens = _tokenise(one_side, rationale=_COMBINED)
    # Only one of the two ways marks anything: its marks are whole, not halved.
    assert {mark for _, mark in _marked(dataset, tokens)} == {1.0}
    assert len(_marked(dataset, tokens)) == 4


def test_nobody_marked_it_and_no_word_matches_are_no_annotation():
    silent = _DOGS._replace(evidence=None, evidence_b=None, explanations=())
    unmatched = silent._replace(id="x", explanations=("It is a cat with the A.",))
    dataset, counts, _ = _tokenise(silent, unmatched, _DOGS, rationale=_COMBINED)
    assert dataset.annotations["rationale_valid"].tolist() == [False, False, True]
    assert not dataset.annotations["rationale"][:2].any()
    assert (counts.annotated, counts.unmatched) == (1, 1)


def test_stop_words_are_marked_where_a_person_did():
    example = _DOGS._replace(evidence=((0, 1),), evidence_b=((0, 3),))
    dataset, _, tokens = _tokenise(example, rationale=[data.highlighted])
    assert _marked(dataset, tokens) == [("a", 1), ("the", 1)]


def test_explained_words_match_surface_forms_in_any_case():
    example = data.TextExample(
        "x",
        "Dogs don't sleep; a NOT-red dog",
        0,
        "",
        explanations=('"dogs" DON\'T red',),
    )
    spans = data.explained_words(example).text
    assert [example.text[a:b] for a, b in spans] == ["Dogs", "don't"]
    with_two = example._replace(explanations=("cat", "sleep"))
    second = functools.partial(data.explained_words, explanation=1)
    assert second(with_two).text == ((11, 16),)
    assert data.explained_words(with_two) == data.Marks()
    assert second(example) == data.Marks()


def test_pairs_alike_with_different_explanations_keep_their_own():
    other = _DOGS._replace(id="again", explanations=("sleeping",))
    dataset, _, tokens = _tokenise(_DOGS, other, rationale=[data.explained_words])
    assert [token for token, _ in _marked(dataset, tokens, 0)][1:3] == [
        "sleeping",
        "dog",
    ]
    assert _marked(dataset, tokens, 1) == [("sleeping", 1)]


def _found(text, marked, **options):
    start = text.index(marked)
    example = data.TextExample("x", text, 0, evidence=((start, start + len(marked)),))
    dataset, counts, tokens = _tokenise(
        example, tokenizer=_word_pieces(), rationale=[data.highlighted], **options
    )
    return _marked(dataset, tokens), counts, dataset


def test_an_unknown_word_moves_no_mark():
    # Counted as the five characters of "[UNK]", every mark behind it would be off.
    marks, counts, _ = _found("a zyzzyva b dog", "dog")
    assert marks == [("dog", 1)]
    assert counts.unknown == 1
    assert _found("a zyzzyva b dog", "zyzzyva")[0] == [("[UNK]", 1)]


@pytest.mark.parametrize("cafe", ["café", "cafe\u0301", "CAFÉ"])
def test_accents_are_stripped_and_their_words_found(cafe):
    assert _found(f"b {cafe} the dog", cafe)[0] == [("cafe", 1)]
    assert _found(f"b {cafe} the dog", "dog")[0] == [("dog", 1)]


def test_control_characters_move_no_mark():
    assert _found("a\x00\x1f \u200b b\ufffd dog \x07", "dog")[0] == [("dog", 1)]


def test_half_a_surrogate_pair_moves_no_mark():
    assert _found("a\ud83d \ud83d\udc00\ud83d b dog the", "b")[0] == [("b", 1)]


def test_an_apostrophe_belongs_to_its_word_and_its_pieces_to_one_word():
    marks, _, dataset = _found("the dog isn't a", "isn't")
    assert marks == [("isn", 1), ("'", 1), ("t", 1)]
    words = [-1, 0, 1, 2, 2, 2, 3, -1] + [-1] * 8
    assert dataset.annotations["words"][0].tolist() == words


def test_a_word_of_pieces_has_the_mass_of_its_pieces_or_of_one_word():
    pieces = ["em", "##bed", "##ding", "##s"]
    marks = _found("the embeddings dog", "embeddings dog")[0]
    assert marks == [(piece, 1) for piece in pieces] + [("dog", 1)]
    marks = _found("the embeddings dog", "embeddings dog", mass_per="word")[0]
    assert marks == [(piece, 0.25) for piece in pieces] + [("dog", 1)]


def test_mass_per_word_is_averaged_over_the_ways_as_well():
    example = _DOGS._replace(text="embeddings swims", text_b="dog", evidence=((0, 10),))
    example = example._replace(evidence_b=((0, 3),), explanations=("the embeddings",))
    dataset, _, tokens = _tokenise(
        example, tokenizer=_word_pieces(), rationale=_COMBINED, mass_per="word"
    )
    assert [mark for _, mark in _marked(dataset, tokens)] == [0.25] * 4 + [0.5]


def _by_counting(example, tokens):
    """The published way: offsets in the text without blanks, by counting characters."""

    def words(text):
        for mark in data.PUNCTUATION:
            text = text.replace(mark, f" {mark} ")
        return [word for word in text.lower().split(" ") if word]

    said = set(words(example.explanations[0])) - data.STOP_WORDS - data.PUNCTUATION
    spans, count = [], 0
    for word in words(f"[CLS] {example.text} [SEP] {example.text_b} [SEP]"):
        spans += [(count, count + len(word))] if word in said else []
        count += len(word)
    marks, count = [], 0
    for token in tokens:
        marks.append(float(any(start <= count < end for start, end in spans)))
        count += len(token.removeprefix("##"))
    return marks


_WORDS = st.lists(
    st.sampled_from(["the", "Dog", "embeddings", "isn't", "swims", ",", "c."]),
    min_size=1,
    max_size=8,
).map(" ".join)


@hypothesis.given(_WORDS, _WORDS, _WORDS)
def test_of_known_words_the_marks_are_those_of_counting_characters(
    text, text_b, explanation
):
    example = data.TextExample("x", text, 0, text_b, explanations=(explanation,))
    dataset, _, tokens = _tokenise(
        example,
        tokenizer=_word_pieces(),
        rationale=[data.explained_words],
        max_length=80,
    )
    count = dataset.inputs["mask"].sum()
    expected = _by_counting(example, tokens[0][:count])
    assert dataset.annotations["rationale"][0, :count].tolist() == expected


def test_counting_characters_is_off_behind_an_unknown_word():
    example = data.TextExample("x", "zyzzyva b dog c", 0, "a", explanations=("dog",))
    dataset, _, tokens = _tokenise(
        example, tokenizer=_word_pieces(), rationale=[data.explained_words]
    )
    assert _marked(dataset, tokens) == [("dog", 1)]
    # "[UNK]" has two characters less than the word: "dog" is sought where c stands.
    counted = _by_counting(example, tokens[0])
    found = [t for t, mark in zip(tokens[0], counted, strict=True) if mark]
    assert found == ["c", "[SEP]"]


def test_an_empty_text_is_left_out_and_counted():
    corpus = [
        _DOGS._replace(id="a", text=" \t"),
        _DOGS._replace(id="b", text="\x00\x07"),
        _DOGS._replace(id="c", text_b=""),
        _DOGS,
    ]
    dataset, counts, _ = _tokenise(*corpus, tokenizer=_word_pieces())
    assert counts.empty == 3
    assert dataset.annotations["row"].tolist() == [3]
    assert len(dataset.labels) == 1
    with pytest.raises(ValueError, match="none of the 1 examples has tokens"):
        _tokenise(corpus[0], tokenizer=_word_pieces())


def test_what_is_cut_away_is_counted_with_its_marks():
    # 5 and 4 tokens for a room of 6: three each, so sleeping and swims' stop go.
    dataset, counts, tokens = _tokenise(_DOGS, rationale=_COMBINED, max_length=9)
    text = "[CLS] a dog is [SEP] the dog swims [SEP]"
    assert tokens[0] == text.split()
    assert counts._asdict() == {
        **{"empty": 0, "truncated": 1, "cut": 3, "cut_marks": 1, "unknown": 0},
        **{"annotated": 1, "unmatched": 0},
    }
    assert _marked(dataset, tokens) == [("dog", 0.5), ("dog", 0.5), ("swims", 1)]


def test_an_example_whose_marks_are_all_cut_is_not_annotated():
    dataset, counts, _ = _tokenise(_DOGS, rationale=[data.highlighted], max_length=7)
    assert dataset.annotations["rationale_valid"].tolist() == [False]
    assert (counts.cut_marks, counts.unmatched) == (2, 1)


@hypothesis.given(st.integers(1, 12), st.integers(1, 12), st.integers(5, 20))
def test_pairs_are_cut_as_the_package_cuts_them(first, second, length):
    text, text_b = " ".join(["a"] * first), " ".join(["b"] * second)
    dataset, counts, _ = _tokenise(
        _DOGS._replace(text=text, text_b=text_b, evidence=(), evidence_b=()),
        tokenizer=_word_pieces(),
        max_length=length,
    )
    theirs = tokenizers.Tokenizer.from_str(_word_pieces().to_str())
    theirs.post_processor = tokenizers.processors.BertProcessing(
        ("[SEP]", 3), ("[CLS]", 2)
    )
    theirs.enable_truncation(length)
    theirs.enable_padding(length=length)
    encoded = theirs.encode(text, text_b)
    assert dataset.inputs["tokens"][0].tolist() == encoded.ids
    assert dataset.inputs["segments"][0].tolist() == encoded.type_ids
    assert dataset.inputs["mask"][0].astype(int).tolist() == encoded.attention_mask
    assert counts.cut == max(first + second + 3 - length, 0)


_TEXT = st.text(st.characters(exclude_categories=()), min_size=1, max_size=30)


@hypothesis.given(st.data(), _TEXT, st.text(max_size=20))
@hypothesis.settings(max_examples=300)
def test_spans_of_any_text_come_back_by_the_tokens_they_mark(draw, text, text_b):
    """Of words, with control characters, half surrogates and blanks of all kinds."""
    spans = data.word_spans(text)
    chosen = tuple(span for span in spans if draw.draw(st.booleans()))
    example = data.TextExample("x", text, 0, text_b + " dog", evidence=chosen)
    tokenizer = _word_pieces()
    corpus = _corpus(example, _DOGS)
    dataset, _ = data.tokenise(
        corpus,
        tokenizer,
        max_length=128,
        rationale=[data.highlighted],
        mass_per="piece",
    )
    if len(dataset.labels) == 1:
        return  # nothing of the text is a token
    annotations = dataset.annotations
    marked, words = annotations["rationale"][0] > 0, annotations["words"][0]
    first = (words >= 0) & (dataset.inputs["segments"][0] == 0)
    assert not np.any(marked & ~first)
    # Character by character: a token is marked if one of those it stands for is. It may
    # stand for two words, since some blanks of Python's are nothing to BERT.
    encoded = _word_pieces().encode(vocabulary.encodable(text))
    inside = {i for start, end in chosen for i in range(start, end)}
    characters = [set(range(start, end)) for start, end in encoded.offsets]
    assert marked[first].tolist() == [bool(each & inside) for each in characters]
    for place, each in zip(words[first], characters, strict=True):
        assert each & set(range(*spans[place]))
    data.validate(dataset)


def test_a_special_token_in_a_text_is_text(tmp_path):
    published = tokenizers.Tokenizer.from_str(_word_pieces().to_str())
    published.add_special_tokens(["[CLS]", "[SEP]"])
    assert published.encode("a [SEP] b").tokens == ["a", "[SEP]", "b"]
    published.save(str(tmp_path / "tokenizer.json"))
    tokenizer = data.load_tokenizer(tmp_path)
    example = data.TextExample("x", "a [SEP] b", 0)
    _, _, tokens = _tokenise(example, tokenizer=tokenizer, max_length=8)
    assert tokens[0] == ["[CLS]", "a", "[", "sep", "]", "b", "[SEP]", "[PAD]"]
    _, _, tokens = _tokenise(example, max_length=8)
    assert tokens[0] == ["[CLS]", "a", "[", "sep", "]", "b", "[SEP]", "[PAD]"]


def test_attributes_are_numbered_as_given():
    some = [
        _DOGS._replace(id=str(i), attributes={"heuristic": h} if h else {})
        for i, h in enumerate(["subsequence", "", "overlap"])
    ]
    dataset, _, _ = _tokenise(
        *some, attributes={"heuristic": ("overlap", "subsequence")}
    )
    assert dataset.annotations["heuristic"].tolist() == [1, -1, 0]
    with pytest.raises(ValueError, match=r"example '2' has heuristic 'overlap', which"):
        _tokenise(*some, attributes={"heuristic": ("subsequence",)})
    with pytest.raises(ValueError, match=r"must not be called \['labels', 'words'\]"):
        _tokenise(*some, attributes={"words": (), "labels": (), "heuristic": ()})


@pytest.mark.parametrize("span", [(0, 99), (-1, 2), (3, 3), (5, 2)])
def test_a_span_outside_its_text_is_named(span):
    wrong = _DOGS._replace(evidence_b=(span,))
    with pytest.raises(ValueError, match=r"'text_b' of example 'dogs' must lie inside"):
        _tokenise(wrong, rationale=[data.highlighted])


def test_what_cannot_be_tokenised_is_refused():
    with pytest.raises(ValueError, match=r"`max_length` \(=4\) must be at least 5"):
        _tokenise(_DOGS, max_length=4)
    with pytest.raises(ValueError, match=r"`max_length` \(=2\) must be at least 3"):
        _tokenise(_DOGS._replace(text_b=""), max_length=2)
    with pytest.raises(ValueError, match=r"`mass_per` \(='token'\) must be 'piece' or"):
        _tokenise(_DOGS, mass_per="token")
    tokenizer = data.word_tokenizer(_corpus(_DOGS))
    tokenizer.enable_truncation(5)
    with pytest.raises(ValueError, match="`tokenizer` must neither cut nor pad"):
        _tokenise(_DOGS, tokenizer=tokenizer)
    bare = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, "[UNK]"))
    with pytest.raises(
        ValueError, match=r"special tokens \['\[CLS\]', '\[PAD\]', '\[SEP"
    ):
        _tokenise(_DOGS, tokenizer=bare)
