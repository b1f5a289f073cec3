"""Digits with texts made of what is measured, maps and texts at their rates."""

import re

import numpy as np
import pytest

from xguide_jax import data

_KEYWORDS = {"rho": 0.9, "half": "train", "map_rate": 0.5, "text_rate": 0.75, "seed": 0}
_ALL = ("holes", "stroke", "width", "place", "texture")


@pytest.fixture(scope="module")
def digits():
    """600 digits, 60 of each class."""
    return data.take(data.digits(), np.arange(5000) % 500 < 60)


@pytest.fixture(scope="module")
def described(digits):
    return data.described_digits(digits, **_KEYWORDS)


def test_the_set_has_the_shapes_and_dtypes_it_promises(described):
    data.validate(described.dataset)
    assert described.dataset.inputs.shape == (600, 48, 48, 1)
    assert described.dataset.class_names == ("low", "high")
    known = described.dataset.annotations
    found = {name: (value.shape, str(value.dtype)) for name, value in known.items()}
    assert found == {
        "region": ((600, 48, 48), "bool"),
        "region_valid": ((600,), "bool"),
        "true_region": ((600, 48, 48), "bool"),
        "strokes": ((600, 48, 48), "bool"),
        "groups": ((600,), "int32"),
        "measured": ((600, 5), "int32"),
    }
    assert len(described.texts) == len(described.ids) == 600


def test_images_are_those_of_the_textured_digits(digits, described):
    textured = data.textured_digits(digits, rho=0.9, half="train", seed=0)
    np.testing.assert_array_equal(described.dataset.inputs, textured.inputs)
    np.testing.assert_array_equal(described.dataset.labels, textured.labels)
    known, before = described.dataset.annotations, textured.annotations
    np.testing.assert_array_equal(known["true_region"], before["region"])
    strokes = data.described_digits(digits, **_KEYWORDS, drawn="strokes")
    np.testing.assert_array_equal(
        strokes.dataset.annotations["true_region"], before["strokes"]
    )


def test_a_missing_map_is_not_valid_and_shows_nothing(described):
    """An all-zero target would teach saliency to vanish, so a flag says what it is."""
    known = described.dataset.annotations
    valid = known["region_valid"]
    assert valid.sum() == 300
    assert not known["region"][~valid].any()
    np.testing.assert_array_equal(known["region"][valid], known["true_region"][valid])
    assert known["true_region"].any(axis=(1, 2)).all()


def test_maps_and_texts_are_there_at_their_rates_nested_and_apart(digits, described):
    has_text = np.array([bool(each) for each in described.texts])
    has_map = described.dataset.annotations["region_valid"]
    assert (has_map.sum(), has_text.sum()) == (300, 450)
    # Independent draws: hypergeometric, 225 +- 24 with probability 0.9999.
    assert 195 < np.sum(has_map & has_text) < 255
    fewer = data.described_digits(
        digits, **(_KEYWORDS | {"map_rate": 0.1, "text_rate": 0.2})
    )
    for before, now in (
        (has_map, fewer.dataset.annotations["region_valid"]),
        (has_text, np.array([bool(each) for each in fewer.texts])),
    ):
        assert np.all(before[now])
    none = data.described_digits(
        digits, **(_KEYWORDS | {"map_rate": 0.0, "text_rate": 1.0})
    )
    assert not none.dataset.annotations["region"].any()
    assert all(len(each) == 3 for each in none.texts)


def test_measurements_are_those_of_the_strokes(described):
    known = described.dataset.annotations
    strokes, measured = known["strokes"], known["measured"]
    holes = data.count_holes(strokes, min_area=2)
    np.testing.assert_array_equal(measured[:, 0], np.minimum(holes, 3))
    width = data.stroke_width(strokes)
    np.testing.assert_array_equal(
        measured[:, 1], (width >= 1.75).astype(int) + (width >= 2.15)
    )
    across = data.extent(strokes)[:, 1]
    np.testing.assert_array_equal(
        measured[:, 2], (across >= 13).astype(int) + (across >= 17)
    )
    thirds = data.position_thirds(strokes, margin=14)
    np.testing.assert_array_equal(measured[:, 3], thirds @ [3, 1])
    np.testing.assert_array_equal(measured[:, 4], known["groups"] % 2)
    # Each level occurs, else a text would not say anything by it.
    assert [len(np.unique(column)) for column in measured.T[1:]] == [3, 3, 9, 2]
    assert set(measured[:, 0].tolist()) >= {0, 1, 2}


def test_zeros_have_a_hole_ones_have_none_and_eights_have_two(digits, described):
    holes = described.dataset.annotations["measured"][:, 0]
    common = [
        np.bincount(holes[digits.labels == digit]).argmax() for digit in range(10)
    ]
    # The human count of a digit's holes; few twos and fours are written with a loop.
    assert [common[digit] for digit in (0, 1, 3, 5, 6, 7, 8, 9)] == [
        *(1, 0, 0, 0),
        *(1, 0, 2, 1),
    ]


def _written(digits, evidence):
    keywords = _KEYWORDS | {"text_rate": 1.0}
    return data.described_digits(digits, **keywords, evidence=evidence)


def test_three_texts_name_what_was_measured_each_in_words_of_its_own(digits):
    described = _written(digits, _ALL)
    measured = described.dataset.annotations["measured"].tolist()
    words = (
        (("no hole", "no loop"), ("two holes", "two loops")),
        (("thin strokes", "fine lines"), ("thick strokes", "bold lines")),
        (("a narrow shape", "a slim body"), ("a wide shape", "a stout body")),
        (("upper left", "top left"), ("lower right", "bottom right")),
        (("grass", "a lawn"), ("gravel", "pebbles")),
    )
    last = (2, 2, 2, 8, 1)
    for levels, texts in zip(measured, described.texts, strict=True):
        assert len(set(texts)) == 3
        for level, (low, high), top in zip(levels, words, last, strict=True):
            for phrasing in range(2):
                assert (low[phrasing] in texts[phrasing]) == (level == 0)
                assert (high[phrasing] in texts[phrasing]) == (level == top)
    first = next(
        texts[0]
        for levels, texts in zip(measured, described.texts, strict=True)
        if levels[:4] == [0, 0, 0, 4]
    )
    assert re.fullmatch(
        r"(low|high), as the digit has no hole, thin strokes, a narrow shape, a place "
        r"at the middle centre and (grass|gravel) around it",
        first,
    )


@pytest.mark.parametrize("evidence", [("holes",), ("place", "stroke"), _ALL])
def test_texts_name_the_evidence_and_never_the_class_alone(digits, evidence):
    """But for the class, a text is a function of the measurements, one for each."""
    described = _written(digits, evidence)
    names = described.dataset.class_names
    columns = [_ALL.index(name) for name in evidence]
    measured = described.dataset.annotations["measured"][:, columns].tolist()
    labels = described.dataset.labels.tolist()
    without: dict[tuple[int, ...], set[tuple[str, ...]]] = {}
    for label, levels, texts in zip(labels, measured, described.texts, strict=True):
        name, other = names[label], names[1 - label]
        for text in texts:
            assert len(re.findall(rf"\b{name}\b", text)) == 1
            assert not re.search(rf"\b{other}\b", text)
        left = tuple(re.sub(rf"\b{name}\b", "", text) for text in texts)
        without.setdefault(tuple(levels), set()).add(left)
    assert all(len(found) == 1 for found in without.values())
    for phrasing in range(3):
        distinct = {next(iter(found))[phrasing] for found in without.values()}
        assert len(distinct) == len(without)


def test_no_image_is_in_two_parts(digits):
    parts = data.split(digits, seed=3, fractions=(0.7, 0.1, 0.2))
    keywords = _KEYWORDS | {"text_rate": 1.0}
    ids = [set(data.described_digits(part, **keywords).ids) for part in parts]
    assert [len(each) for each in ids] == [420, 60, 120]
    assert not ids[0] & ids[1] | ids[0] & ids[2] | ids[1] & ids[2]
    # A digit that is there twice has one id, wherever it is pasted, so that it is
    # found again, and all of its rows lie in one part.
    twice = data.take(digits, np.tile(np.arange(600), 2))
    described = data.described_digits(twice, **keywords)
    assert described.ids[:600] == described.ids[600:]
    assert not np.array_equal(
        described.dataset.inputs[:600], described.dataset.inputs[600:]
    )
    apart = [set(part.ids) for part in data.split_images(described, seed=0)]
    assert [len(each) for each in apart] == [480, 60, 60]
    assert not apart[0] & apart[1] | apart[0] & apart[2] | apart[1] & apart[2]


def test_one_seed_is_one_data_set_and_another_seed_another(digits, described):
    again = data.described_digits(digits, **_KEYWORDS)
    other = data.described_digits(digits, **(_KEYWORDS | {"seed": 1}))
    assert again.texts == described.texts
    assert other.texts != described.texts
    for name, value in described.dataset.annotations.items():
        np.testing.assert_array_equal(again.dataset.annotations[name], value)
        assert not np.array_equal(other.dataset.annotations[name], value), name
    assert other.ids == described.ids


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"map_rate": 1.5}, r"`fraction` .=1.5. must lie in \[0, 1\]"),
        ({"text_rate": -0.1}, r"`text_rate` .=-0.1. must lie in \[0, 1\]"),
        ({"evidence": ()}, r"`evidence` .=\(\). must be some of"),
        ({"evidence": ("class",)}, r"`evidence` .=\('class',\). must be some of"),
        ({"evidence": ("holes", "holes")}, "must be some of .*, each once"),
        ({"drawn": "boxes"}, "`drawn` .='boxes'. must be 'box' or 'strokes'"),
    ],
)
def test_impossible_choices_are_refused(digits, keywords, message):
    with pytest.raises(ValueError, match=message):
        data.described_digits(digits, **(_KEYWORDS | keywords))
