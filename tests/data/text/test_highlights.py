"""Stars around words: what they mark, and when they cannot be read."""

import itertools

import hypothesis
import pytest
from hypothesis import strategies as st

from xguide_jax import data


def test_punctuation_inside_the_stars_is_not_marked():
    plain, spans = data.parse_stars('eating *lunch.* and "*tea"*, *(dogs)* *U.S.*')
    assert plain == 'eating lunch. and "tea", (dogs) U.S.'
    assert [plain[a:b] for a, b in spans] == ["lunch", "tea", "dogs", "U.S"]


def test_a_blank_in_front_of_a_marked_sentence_is_left_out():
    plain, spans = data.parse_stars(" The *sisters* are *hugging* ")
    assert plain == "The sisters are hugging"
    assert spans == ((4, 11), (16, 23))


def test_a_marked_punctuation_mark_marks_nothing():
    assert data.parse_stars("so *...* there") == ("so ... there", ())


def test_a_text_without_stars_has_no_highlights():
    assert data.parse_stars("The dog is sleeping.") == ("The dog is sleeping.", ())
    assert data.parse_stars("") == ("", ())


def test_accents_and_apostrophes_belong_to_their_word():
    plain, spans = data.parse_stars("*L'été* isn't *über-cool*!")
    assert [plain[a:b] for a, b in spans] == ["L'été", "über-cool"]


@pytest.mark.parametrize("text", ["a *dog", "*", "2 * 3 *six* is"])
def test_an_odd_star_is_refused(text):
    with pytest.raises(ValueError, match=r"`text` .* must have an even number of star"):
        data.parse_stars(text)


@pytest.mark.parametrize("text", ["2 * 3 is *six* or *", "what the f**k", "a * b* c"])
def test_a_star_of_the_text_itself_is_seen_by_the_blanks_around_it(text):
    with pytest.raises(ValueError, match="between two stars must stand a word"):
        data.parse_stars(text)


# Blanks included that are none to the eye, and control characters.
_TEXT = st.text().filter(lambda text: "*" not in text)


@hypothesis.given(_TEXT, st.data())
@hypothesis.settings(max_examples=200)
def test_stars_around_words_give_back_the_text_and_the_words(text, draw):
    plain = text.strip()
    spans = [
        (a, b) for a, b in data.word_spans(plain) if plain[a] not in data.PUNCTUATION
    ]
    chosen = [span for span in spans if draw.draw(st.booleans())]
    marked = plain
    for start, end in reversed(chosen):
        marked = f"{marked[:start]}*{marked[start:end]}*{marked[end:]}"
    assert data.parse_stars(f" {marked} ") == (plain, tuple(chosen))


@hypothesis.given(st.text())
@hypothesis.settings(max_examples=300)
def test_words_hold_every_character_but_blanks(text):
    spans = data.word_spans(text)
    words = [text[a:b] for a, b in spans]
    assert "".join(words) == "".join(text.split())
    assert not any(map(str.isspace, "".join(words)))
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    for word in words:
        assert word
        assert len(word) == 1 or not data.PUNCTUATION & set(word)


def test_the_published_lists_are_of_35_words_and_13_marks():
    assert len(data.STOP_WORDS) == 35
    assert len(data.PUNCTUATION) == 13
    assert not {"not", "no", "man", "he", "she"} & data.STOP_WORDS


def test_apostrophes_and_hyphens_do_not_end_a_word():
    text = 'Don\'t "stop": well-known [x]'
    words = [text[a:b] for a, b in data.word_spans(text)]
    assert words == ["Don't", '"', "stop", '"', ":", "well-known", "[", "x", "]"]
