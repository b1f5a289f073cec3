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
    words = [data.text_words(texts, parts.texts, index=row) for row in rows]
    names = texts.class_names
    marks = texts.annotations["rationale"] > 0
    return Shown(
        titles=[names[texts.labels[row]] for row in rows],
        words=[list(of_text.words) for of_text in words],
        marked=[(words[row].sums(marks[row]) > 0).tolist() for row in rows],
        scores={
            name: [words[row].sums(values[row]).tolist() for row in rows]
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
    caption = f"{name} of the first test texts, one scale"
    return {caption[:1].upper() + caption[1:]: tables.token_marks(texts)}
