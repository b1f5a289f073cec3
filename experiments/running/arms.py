"""An arm of an experiment, `term[=weight][@annotation]`: read once, then a record."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Arm(NamedTuple):
    """What the text of an arm says.

    Attributes:
      text: as it was given; the arm's name in files, tables and figures.
      term: what guides it, or what it is where nothing does.
      weight: of the term; None where nothing guides.
      annotation: what the term is guided by; None where nothing guides.
    """

    text: str
    term: str
    weight: float | None = None
    annotation: str | None = None


class Grammar(NamedTuple):
    """Which arms an experiment has.

    Attributes:
      unguided: arms that are one word, and take neither weight nor annotation.
      terms: arms that may have both.
      weight_of: (term, annotation) -> the weight where the text has none.
      annotation: where the text has none; None if it must have one.
      check_annotation: raises ValueError for one that there is not.
    """

    unguided: tuple[str, ...]
    terms: tuple[str, ...] = ()
    weight_of: Callable[[str, str], float] = lambda term, annotation: 1.0
    annotation: str | None = None
    check_annotation: Callable[[str], None] = lambda annotation: None


def read_arms(texts: Sequence[str], grammar: Grammar) -> tuple[Arm, ...]:
    """Reads the arms that a flag names.

    Args:
      texts: of the arms.
      grammar: of the experiment.

    Returns:
      An arm each.

    Raises:
      ValueError: for no arm, one that is named twice, and what `read_arm` refuses.
    """
    if not texts:
        raise ValueError("`arms` (=()) must name at least one arm.")
    for text in texts:
        if texts.count(text) > 1:
            raise ValueError(f"`arms` holds {text!r} {texts.count(text)} times.")
    return tuple(read_arm(text, grammar) for text in texts)


def read_arm(text: str, grammar: Grammar) -> Arm:
    """Reads `term[=weight][@annotation]`.

    Args:
      text: of the arm.
      grammar: of the experiment.

    Returns:
      The arm, what was left out filled in.

    Raises:
      ValueError: for an unknown term or annotation, a weight that is not a finite
        number of at least 0, or one of them where nothing is guided.
    """
    # First, because such a word may hold a sign of the grammar: k=0.
    if text in grammar.unguided:
        return Arm(text, text)
    head, _, annotation = text.partition("@")
    term, _, weight = head.partition("=")
    if term in grammar.unguided:
        raise ValueError(
            f"`arms` holds {text!r}; {term!r} is not guided, and takes neither weight "
            "nor annotation."
        )
    if term not in grammar.terms:
        known = sorted({*grammar.terms, *grammar.unguided})
        raise ValueError(f"`arms` holds {text!r}; there are {known}.")
    annotation = annotation or grammar.annotation or ""
    try:
        grammar.check_annotation(annotation)
    except ValueError as error:
        raise ValueError(f"`arms` holds {text!r}; {error}") from None
    if not weight:
        return Arm(text, term, grammar.weight_of(term, annotation), annotation)
    return Arm(text, term, _read_weight(weight, text), annotation)


def _read_weight(weight: str, text: str) -> float:
    try:
        value = float(weight)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(
            f"`arms` holds {text!r}, whose weight (={weight}) must be a finite number "
            "of at least 0."
        )
    return value
