"""Scored texts: one scale, words in a terminal and as HTML, nothing unescaped."""

import html.parser
import re

import numpy as np
import pytest

from xguide_jax import tables

WORDS = ["A", " dog", " is", " sleeping", ".", "\nIt", " swims", "."]
SCORES = [0.0, 0.5, -0.25, 1.0, 0.0, float("nan"), -1.0, 0.01]
MARKED = [False, True, False, True, False, False, True, False]
TEXT = tables.MarkedText("neutral", WORDS, {"unguided": SCORES}, MARKED)
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script src=http://example.org/x.js></script>",
    "{{ 7 * 7 }} {% raw %}",
    "\x00\x1b[31m\u202e\ud800",
)


def shown(**changes):
    return tables.token_marks([TEXT._replace(**changes)])


class Page(html.parser.HTMLParser):
    """Elements with their attributes, and each word with those around it."""

    def __init__(self, marks):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(marks._repr_html_())
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open[-1][0] != "style":
            self.text.append((data, list(self.open)))

    def word(self, text):
        """Attributes of the <b> around a word, and whether it is underlined."""
        ((_, around),) = [each for each in self.text if each[0] == text]
        attributes = dict(around)
        return attributes.get("b"), "u" in attributes


def test_red_is_for_and_blue_against_as_opaque_as_the_score_is_large():
    page = Page(shown())
    shades = {}
    for text in ("A", "dog", "is", "sleeping", "swims"):
        attributes, _ = page.word(text)
        shades[text] = (attributes.get("class"), attributes.get("style"))
    assert shades == {
        "A": (None, None),
        "dog": ("for", "--shade:0.400"),
        "is": ("against", "--shade:0.200"),
        "sleeping": ("for", "--shade:0.800"),
        "swims": ("against", "--shade:0.800"),
    }
    assert page.word("dog")[0]["title"] == "+0.5"
    assert page.word("It")[0] == {"class": "none", "title": "no score"}


def test_what_a_person_marked_is_underlined():
    page = Page(shown())
    underlined = [text for text, around in page.text if "u" in dict(around)]
    assert underlined == ["underlined", "dog", "sleeping", "swims"]
    page = Page(shown(marked=None))
    assert not [text for text, around in page.text if "u" in dict(around)]


def test_all_arms_and_texts_are_on_one_scale():
    arms = {"small": [0.1] * 8, "large": [0.4] * 8}
    texts = [TEXT._replace(scores=arms), TEXT._replace(scores={"other": [-0.8] * 8})]
    marks = tables.token_marks(texts)
    assert marks.scale == (0.8, False, True)
    styles = [a["style"] for _, a in Page(marks).elements if "style" in a]
    # Eight swatches besides that of 0, then a word an arm.
    assert (
        styles[8:]
        == ["--shade:0.100"] * 8 + ["--shade:0.400"] * 8 + ["--shade:0.800"] * 8
    )
    # Together, and not each on its own.
    assert str(marks).count("dog_[+1]") == str(marks).count("dog_[+4]") == 1
    assert str(marks).count("dog_[-9]") == 1


def test_arms_of_a_text_stand_side_by_side_in_the_order_given():
    marks = shown(
        scores={"b": SCORES, "a": SCORES}, notes={"b": "neutral, 0.51"}, title="first"
    )
    page = Page(marks)
    assert [a.get("class") for t, a in page.elements if t == "div"] == [
        "token-marks", "arms", None, None,
    ]  # fmt: skip
    heads = [text.strip() for text, around in page.text if "h4" in dict(around)]
    assert heads == ["b", "neutral, 0.51", "a"]
    assert "  b (neutral, 0.51)\n" in str(marks)
    assert str(marks).startswith("first\n  b ")


def test_a_quantile_saturates_outliers_and_says_so():
    scores = [0.1] * 7 + [10.0]
    marks = tables.token_marks([TEXT._replace(scores={"a": scores})], quantile=0.5)
    assert marks.scale == (pytest.approx(0.1), True, False)
    assert "0.1 or more" in str(marks)
    assert "0.1 or more" in marks._repr_html_()
    shades = [a["style"] for _, a in Page(marks).elements if "style" in a]
    assert shades[-8:] == ["--shade:0.800"] * 8  # also of the outlier
    assert str(marks).count("[9]") == 8 + 1
    assert marks.text(colour=True).count("48;5;196m") == 8
    # More than the half have nothing: the largest then.
    scores = [0.0] * 7 + [10.0]
    marks = tables.token_marks([TEXT._replace(scores={"a": scores})], quantile=0.5)
    assert marks.scale == (10.0, False, False)


def test_the_terminal_without_colours():
    assert str(shown()) == (
        "neutral\n"
        "  unguided\n"
        "    A _dog_[+4] is[-2] _sleeping_[+9].\n"
        "    It[?] _swims_[-9].\n"
        "\n"
        "[+9] for, [-9] against: 1, on one scale for all texts and arms; [?]: no "
        "score.\n"
        "_word_: marked by a person."
    )


def test_scores_without_a_sign_are_shown_without():
    marks = shown(scores={"attention": np.abs(SCORES)}, marked=None)
    assert "dog[4] is[2] sleeping[9]" in str(marks)
    assert "[9]: 1, on" in str(marks)
    assert "marked by" not in str(marks)
    assert "Red: full at 1," in marks.text(colour=True)
    assert "against" not in marks._repr_html_().partition("</style>")[2]


def test_the_terminal_in_colours():
    text = shown().text(colour=True)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "    A dog is sleeping.\n    It swims.\n" in plain
    back = lambda number: f"\x1b[38;5;16;48;5;{number}m"
    assert f"A \x1b[4m{back(217)}dog\x1b[0m" in text  # half of five, to the even
    assert f"\x1b[4m{back(196)}sleeping\x1b[0m." in text
    assert f"{back(189)}is\x1b[0m" in text
    assert f"\x1b[4m{back(33)}swims\x1b[0m." in text
    assert "\x1b[2mIt\x1b[0m" in text
    assert text.count("\x1b[0m") == 5  # nothing runs on, and nothing else is coloured
    assert "\x1b" not in str(shown())


@pytest.mark.parametrize("colour", [False, True])
def test_lines_are_folded_by_what_is_visible(colour):
    words = [" word"] * 30 + [" " + "w" * 50, " end"]
    marks = shown(words=words, scores={"a": [1.0] * 32}, marked=[True] * 32)
    text = re.sub(r"\x1b\[[0-9;]*m", "", marks.text(colour=colour, width=40))
    *lines, long, last = text.split("\n")[2:-3]
    drawn = "word" if colour else "_word_[9]"
    at_once = 7 if colour else 3  # of 36 characters, one each between them
    expected = [at_once] * (30 // at_once) + [30 % at_once] * (30 % at_once > 0)
    assert [line.count(drawn) for line in lines] == expected
    assert max(map(len, lines)) <= 40
    assert "w" * 50 in long
    assert last.strip() == ("end" if colour else "_end_[9]")


def test_undefined_and_blank_arms_are_noted():
    scores = {"blank": [0.0] * 8, "undefined": [float("nan")] * 8}
    marks = shown(scores=scores)
    for text in (str(marks), marks.text(colour=True)):
        assert "  blank (blank)\n" in text
        assert "  undefined (undefined)\n" in text
    notes = [t for t, around in Page(marks).text if "small" in dict(around)]
    assert notes == ["blank", "undefined"]
    assert marks.scale == (0.0, False, False)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_never_becomes_markup(text):
    harmless = tables.MarkedText("t", ["w", " v"], {"a": [1, -1]}, [1, 0], {"a": "n"})
    hostile = tables.MarkedText(
        text, [text, " v"], {text: [1, -1]}, [1, 0], {text: text}
    )
    pages = [Page(tables.token_marks([each])) for each in (harmless, hostile)]
    tags = [[tag for tag, _ in page.elements] for page in pages]
    assert tags[0] == tags[1]
    for tag, attributes in pages[1].elements:
        assert attributes.keys() <= {"class", "style", "title"}, tag
    expected = " ".join(
        text.replace("\x00", r"\x00")
        .replace("\x1b", r"\x1b")
        .replace("\u202e", r"\u202e")
        .replace("\ud800", r"\ud800")
        .split()
    )
    # Title, arm, note and word.
    assert "".join(data for data, _ in pages[1].text).count(expected) == 4
    marks = tables.token_marks([hostile])
    assert str(marks).count(expected) == 4
    assert "\x1b[31m" not in marks.text(colour=True)
    marks._repr_html_().encode()


def test_a_word_keeps_to_its_line():
    marks = shown(words=["A", "\n\n dog\nhouse", "\tis", *WORDS[3:]])
    assert "    A\n    _dog house_[+4] is[-2] _sleeping_" in str(marks)
    assert Page(marks).word("dog house")[1]
    marks = shown(words=["\nA", *WORDS[1:]])  # no empty line in the beginning
    assert "  unguided\n    A _dog_" in str(marks)


def test_what_does_not_fit_is_refused_by_name():
    with pytest.raises(ValueError, match=r"`texts`\[0\] must have the scores"):
        shown(scores={})
    with pytest.raises(
        ValueError, match=r"`texts`\[0\].scores\['a'\] must be one a word, 8; it has 2"
    ):
        shown(scores={"a": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"`texts`\[0\].marked must be one a word"):
        shown(marked=[True])
    with pytest.raises(ValueError, match=r"notes names \['b'\]; its arms are \['ung"):
        shown(notes={"b": "neutral"})
    for quantile in (0.0, 1.5):
        with pytest.raises(ValueError, match=r"`quantile` .* must lie in \(0, 1\]"):
            tables.token_marks([TEXT], quantile=quantile)
    assert str(tables.token_marks([])).startswith("[9]: 0")


def test_arrays_are_taken_as_lists_are():
    marks = shown(scores={"unguided": np.float32(SCORES)}, marked=np.array(MARKED))
    assert str(marks) == str(shown())
