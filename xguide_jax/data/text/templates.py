"""The words of the templated texts, and how a sentence keeps track of its evidence.

A sentence is a list of words, each marked or not; its text and the spans of the marks
come from that list, so they cannot disagree.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xguide_jax.data.text import examples

PERSONS = (
    *("lawyer", "doctor", "judge", "actor", "baker", "teacher", "sailor", "farmer"),
    *("painter", "banker", "singer", "tailor", "nurse", "pilot", "poet", "clerk"),
)

# A dimension has two poles, and a pole two words that mean the same. What is said in
# one dimension says nothing about another.
Dimension = tuple[tuple[str, str], tuple[str, str]]

DIMENSIONS: dict[str, tuple[Dimension, ...]] = {
    "adjective": (
        (("tall", "towering"), ("short", "tiny")),
        (("happy", "cheerful"), ("sad", "gloomy")),
        (("young", "youthful"), ("old", "elderly")),
        (("rich", "wealthy"), ("poor", "penniless")),
    ),
    "verb": (
        (("praised", "complimented"), ("insulted", "mocked")),
        (("helped", "assisted"), ("hindered", "obstructed")),
        (("greeted", "welcomed"), ("ignored", "avoided")),
        (("hired", "employed"), ("fired", "dismissed")),
    ),
    "adverb": (
        (("indoors", "inside"), ("outdoors", "outside")),
        (("quickly", "swiftly"), ("slowly", "leisurely")),
        (("loudly", "noisily"), ("quietly", "softly")),
        (("early", "beforehand"), ("late", "afterwards")),
    ),
}


class Word(NamedTuple):
    """A word of a sentence, and whether it is evidence."""

    text: str
    marked: bool = False


def words(text: str) -> list[Word]:
    """The words of a text between blanks, none of them evidence."""
    return [Word(word) for word in text.split()]


def sentence(parts: Sequence[Word]) -> tuple[str, tuple[examples.Span, ...]]:
    """The text, words parted by blanks and closed by a full stop, and its marks."""
    text, spans = "", []
    for word in parts:
        text += " " if text else ""
        if word.marked:
            spans.append((len(text), len(text) + len(word.text)))
        text += word.text
    return text + ".", tuple(spans)


def pick(generator: np.random.Generator, choices: Sequence[str]) -> str:
    """One of them, each as likely."""
    return choices[int(generator.integers(len(choices)))]


def any_word(generator: np.random.Generator, slot: str) -> str:
    """A word of a slot, each as likely: 'adjective', 'verb' or 'adverb'."""
    every = [word for pair in DIMENSIONS[slot] for pole in pair for word in pole]
    return pick(generator, every)
