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

VERBS = (
    *("praised", "insulted", "helped", "hindered"),
    *("welcomed", "avoided", "hired", "fired"),
)


class Quality(NamedTuple):
    """Two words of the opposite meaning; they say nothing about another quality."""

    slot: str
    words: tuple[str, str]


QUALITIES = (
    Quality("adjective", ("tall", "short")),
    Quality("adjective", ("happy", "sad")),
    Quality("adjective", ("young", "old")),
    Quality("adjective", ("rich", "poor")),
    Quality("adverb", ("indoors", "outdoors")),
    Quality("adverb", ("quickly", "slowly")),
    Quality("adverb", ("loudly", "quietly")),
    Quality("adverb", ("early", "late")),
)


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


def event(generator: np.random.Generator) -> dict[str, Word]:
    """Who did what to whom, and somebody else: words by their names in a template."""
    names = ("subject", "object", "somebody")
    chosen = generator.permutation(len(PERSONS))[: len(names)]
    words = {name: Word(PERSONS[i]) for name, i in zip(names, chosen, strict=True)}
    return words | {"verb": Word(pick(generator, VERBS))}
