"""The words of the templated texts, and how a sentence keeps track of its evidence.

A sentence is a list of words, each marked or not; its text and the spans of the marks
come from that list, so they cannot disagree.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from xguide_jax.data.text import examples

PERSONS = (
    *("lawyer", "doctor", "judge", "actor", "baker", "teacher", "sailor", "farmer"),
    *("painter", "banker", "singer", "tailor", "nurse", "pilot", "poet", "clerk"),
    *("barber", "butcher", "dancer", "driver", "gardener", "hunter", "miner", "monk"),
    *(
        "plumber",
        "porter",
        "printer",
        "ranger",
        "scholar",
        "soldier",
        "waiter",
        "weaver",
    ),
)

# Two words of the opposite meaning each. What is said in one of the dimensions of a
# slot says nothing about another.
DIMENSIONS: Mapping[str, Sequence[tuple[str, str]]] = {
    "adjective": (
        ("tall", "short"),
        ("happy", "sad"),
        ("young", "old"),
        ("rich", "poor"),
    ),
    "verb": (
        *(("praised", "insulted"), ("helped", "hindered")),
        *(("welcomed", "avoided"), ("hired", "fired")),
    ),
    "adverb": (
        *(("indoors", "outdoors"), ("quickly", "slowly")),
        *(("loudly", "quietly"), ("early", "late")),
    ),
}


class Word(NamedTuple):
    """A word of a sentence, and whether it is evidence."""

    text: str
    marked: bool = False


def sentence(parts: Sequence[Word]) -> tuple[str, tuple[examples.Span, ...]]:
    """The text, words parted by blanks and closed by a full stop, and its marks."""
    text, spans = "", []
    for word in parts:
        text += " " if text else ""
        if word.marked:
            spans.append((len(text), len(text) + len(word.text)))
        text += word.text
    return text + ".", tuple(spans)


def filled(template: str, words: Mapping[str, Word]) -> list[Word]:
    """The words of a template: '*that the {subject}' is 'that', marked, and two others.

    A word in braces is replaced by its own, or left out where it has none; one with a
    star before it is marked.
    """
    found = []
    for part in template.split():
        marked, part = part.startswith("*"), part.removeprefix("*")
        if part.startswith("{"):
            word = words.get(part.strip("{}"))
            found += (
                [] if word is None else [word._replace(marked=word.marked or marked)]
            )
        else:
            found.append(Word(part, marked))
    return found


def pick(generator: np.random.Generator, choices: Sequence[str]) -> str:
    """One of them, each as likely."""
    return choices[int(generator.integers(len(choices)))]


def any_word(generator: np.random.Generator, slot: str) -> str:
    """A word of a slot, each as likely: 'adjective', 'verb' or 'adverb'."""
    return pick(generator, [word for pair in DIMENSIONS[slot] for word in pair])


def persons(generator: np.random.Generator, names: Sequence[str]) -> dict[str, Word]:
    """Different persons by the names they have in a template."""
    chosen = generator.permutation(len(PERSONS))[: len(names)]
    return {name: Word(PERSONS[i]) for name, i in zip(names, chosen, strict=True)}
