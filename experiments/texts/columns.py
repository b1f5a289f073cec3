"""Columns of the tables on texts: accuracy by test, and agreement with marks."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from experiments.running import report, results, undefined
from experiments.running.scored import Scored
from experiments.texts import explaining, judging

Found = Mapping[str, Sequence[results.Result[Any]]]

AGREEMENT = {
    "auprc": "AUPRC",
    "rank": "marked among as many highest",
    "mass": "mass on marked",
}


class Judged(Protocol):
    """What every experiment on texts measures.

    Attributes:
      accuracies: {test: share of right answers}.
      plausibility: {test: {explainer: agreement with the marks}}.
    """

    @property
    def accuracies(self) -> dict[str, float]:
        """{test: share of right answers}."""

    @property
    def plausibility(self) -> dict[str, dict[str, judging.Plausibility]]:
        """{test: {explainer: agreement with the marks}}."""


class Place(NamedTuple):
    """One number of agreement with the marks.

    Attributes:
      test: its name.
      explainer: its name.
      what: of `AGREEMENT`.
    """

    test: str
    explainer: str
    what: str = "auprc"


def tests(found: Found) -> list[str]:
    """The tests, the one like training first.

    Args:
      found: results of all arms.

    Returns:
      Their names.
    """
    return list(next(iter(found.values()))[0].measured.accuracies)


def marked_tests(found: Found) -> list[str]:
    """The tests with marks to agree with.

    Args:
      found: results of all arms.

    Returns:
      Their names.
    """
    plausibility = next(iter(found.values()))[0].measured.plausibility
    return [name for name, of_test in plausibility.items() if of_test]


def accuracy(test: str) -> Callable[[Judged], float]:
    """Accuracy on a test.

    Args:
      test: its name.

    Returns:
      What a column shows of a measurement.
    """
    return lambda measured: measured.accuracies[test]


def agreed(place: Place) -> Callable[[Judged], float]:
    """Agreement with the marks, averaged over texts with marks, 0 where undefined.

    Args:
      place: which number.

    Returns:
      What a column shows of a measurement.
    """
    return lambda measured: _scored(measured, place).summary.mean_or_zero


def agreements(test: str) -> list[report.Column]:
    """Agreement of every explainer with the marks, on a test.

    Args:
      test: its name.

    Returns:
      Columns.
    """
    names = explaining.NAMES.items()
    return [
        report.mean(f"{text}, {AGREEMENT[what]}", agreed(Place(test, explainer, what)))
        for what in AGREEMENT
        for explainer, text in names
    ] + [
        report.mean(f"{text}, AUPRC where defined", _defined(Place(test, explainer)))
        for explainer, text in names
    ]


def undefined_counts(found: Found) -> dict[str, int]:
    """How often a text with marks has no agreement with them.

    Args:
      found: results of all arms.

    Returns:
      {'arm: what is lacking': count}.
    """
    count = lambda measured, place: _scored(measured, place).summary.num_undefined
    return undefined.counts(
        found,
        {
            f"texts without an AUPRC of {text}, {test}": functools.partial(
                count, place=Place(test, name)
            )
            for test in marked_tests(found)
            for name, text in explaining.NAMES.items()
        },
    )


def _defined(place: Place) -> Callable[[Judged], float]:
    return lambda measured: _scored(measured, place).summary.mean


def _scored(measured: Judged, place: Place) -> Scored:
    return getattr(measured.plausibility[place.test][place.explainer], place.what)
