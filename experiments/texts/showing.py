"""The texts of which a report shows the scored words."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.texts import sources
from xguide_jax import data, tables

NUM_SHOWN = 6


class Shown(NamedTuple):
    """The first texts of a test, word by word.

    Attributes:
      titles: what the texts are labelled.
      words: of each text, each with the blanks before it.
      marked: whether a person marked it, one a word.
      scores: {explainer: one number a word of each text}, the sum over its pieces.
      predicted: what the network says.
    """

    titles: list[str]
    words: list[list[str]]
    marked: list[list[bool]]
    scores: dict[str, list[list[float]]]
    predicted: list[str]


def shown(
    texts: data.Dataset,
    parts: sources.Parts,
    maps: Mapping[str, np.ndarray],
    classes: np.ndarray,
) -> Shown:
    """The first texts of the test that is like training.

    Args:
      texts: that test, or its first rows.
      parts: of the seed.
      maps: {explainer: float [N, T]}.
      classes: int [N], the predictions.

    Returns:
      Six of them.
    """
    rows = range(min(NUM_SHOWN, len(texts.labels)))
    names = texts.class_names
    places = [_places(texts, parts.texts, row) for row in rows]
    marks = texts.annotations["rationale"] > 0
    total = lambda values, at: [float(np.sum(values[p])) if p else np.nan for p in at]
    return Shown(
        titles=[names[texts.labels[row]] for row in rows],
        words=[_words(parts.texts, texts.annotations["row"][row]) for row in rows],
        marked=[[bool(marks[row, p].any()) for p in places[row]] for row in rows],
        scores={
            name: [total(values[row], places[row]) for row in rows]
            for name, values in maps.items()
        },
        predicted=[names[classes[row]] for row in rows],
    )


def marked_texts(
    found: Mapping[str, Sequence[Any]], explainer: str
) -> dict[str, tables.TokenMarks]:
    """The texts as every arm of the first seed scores them, for the report.

    Args:
      found: results of all arms, whose measurement has `shown`.
      explainer: whose scores.

    Returns:
      {caption: texts on one scale}.
    """
    every = {arm: repeats[0].measured.shown for arm, repeats in found.items()}
    first: Shown = next(iter(every.values()))
    texts = [
        tables.MarkedText(
            title=title,
            words=first.words[row],
            scores={arm: one.scores[explainer][row] for arm, one in every.items()},
            marked=first.marked[row],
            notes={arm: f"says {one.predicted[row]}" for arm, one in every.items()},
        )
        for row, title in enumerate(first.titles)
    ]
    name = explainer.replace("_", " ")
    caption = f"{name} of the first test texts, one scale; what people marked is lined"
    return {caption[:1].upper() + caption[1:]: tables.token_marks(texts)}


def _words(corpus: data.Corpus, row: int) -> list[str]:
    """Of both texts, the second on a line of its own."""
    example = corpus.examples[row]
    found = []
    for text, start in ((example.text, ""), (example.text_b, "\n")):
        end = 0
        for number, (a, b) in enumerate(data.word_spans(text)):
            blank = start if number == 0 else text[end:a]
            found.append(blank + text[a:b])
            end = b
    return found


def _places(texts: data.Dataset, corpus: data.Corpus, row: int) -> list[list[int]]:
    """The tokens of each word of both texts; none where it was cut away."""
    example = corpus.examples[texts.annotations["row"][row]]
    numbers = texts.annotations["words"][row]
    segments = texts.inputs["segments"][row]
    return [
        np.flatnonzero((numbers == number) & (segments == segment)).tolist()
        for segment, text in enumerate((example.text, example.text_b))
        for number in range(len(data.word_spans(text)))
    ]
