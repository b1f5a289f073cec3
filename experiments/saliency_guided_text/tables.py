"""The tables of saliency-guided training on tokens, each a list of columns."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from experiments.running import report, results, undefined
from experiments.saliency_guided_text import terms
from experiments.saliency_guided_text.measuring import Measured
from experiments.texts import columns, explaining
from xguide_jax import evaluation

Found = Mapping[str, Sequence[results.Result[Measured]]]


def beside(
    test: str, explainer: str, removal: str, measure: str
) -> Callable[[Measured], evaluation.BesideChance]:
    """One measure of erasure of one explainer.

    Args:
      test: its name.
      explainer: its name.
      removal: 'deleted' or 'masked'.
      measure: 'comprehensiveness' or 'sufficiency'.

    Returns:
      The record of a measurement.
    """
    return lambda measured: getattr(measured.erasure[test][explainer][removal], measure)


def gap(
    test: str, explainer: str, removal: str, measure: str
) -> Callable[[Measured], float]:
    """By how much a map beats random orders of the same network.

    Args:
      test: its name.
      explainer: its name.
      removal: 'deleted' or 'masked'.
      measure: 'comprehensiveness' or 'sufficiency'.

    Returns:
      What a column shows of a measurement; an unranked text counts as 0.
    """
    get = beside(test, explainer, removal, measure)
    return lambda measured: get(measured).gap.mean_or_zero


def accuracies(found: Found) -> list[report.Column]:
    """Accuracy on every test, and the speed.

    Args:
      found: results of all arms.

    Returns:
      Columns.
    """
    return [
        *(report.mean(name, columns.accuracy(name)) for name in columns.tests(found)),
        *(
            report.minus(f"{name}, minus {other}", other, columns.accuracy(name))
            for name in columns.tests(found)[-1:]
            for other in (terms.UNGUIDED, terms.RANDOM)
            if other in found
        ),
        report.mean("validation", lambda m: m.validation),
        report.speed(),
    ]


def gaps(test: str, removal: str) -> list[report.Column]:
    """Comprehensiveness and sufficiency beside random orders.

    Args:
      test: its name.
      removal: 'deleted' or 'masked'.

    Returns:
      Columns.
    """
    return [
        report.mean(f"{measure}, {text}: gap", gap(test, explainer, removal, measure))
        for measure in evaluation.Erasure._fields
        for explainer, text in explaining.NAMES.items()
    ]


def differences(found: Found, test: str, reference: str) -> list[report.Column]:
    """What matters minus that of another arm, paired by seed.

    Args:
      found: results of all arms.
      test: its name.
      reference: the other arm.

    Returns:
      Columns.
    """
    made = []
    for explainer, text in explaining.NAMES.items():
        place = (test, explainer, "deleted", "comprehensiveness")
        if test in columns.marked_tests(found):
            agreed = columns.agreed(columns.Place(test, explainer))
            made.append(report.minus(f"AUPRC, {text}", reference, agreed))
        made += [
            report.minus(
                f"comprehensiveness gap, {text}",
                reference,
                gap(*place),
                rows=functools.partial(_rows, get=beside(*place)),
            ),
        ]
    return made


def undefined_counts(found: Found) -> dict[str, int]:
    """How often a text has no agreement or no order.

    Args:
      found: results of all arms.

    Returns:
      {'arm: what is lacking': count}.
    """

    def unranked(measured: Measured, test: str, name: str) -> int:
        get = beside(test, name, "deleted", "comprehensiveness")
        return get(measured).gap.num_undefined

    counted = {
        f"texts without an order by {text}, {test}": functools.partial(
            unranked, test=test, name=name
        )
        for test in columns.tests(found)
        for name, text in explaining.NAMES.items()
    }
    return {**columns.undefined_counts(found), **undefined.counts(found, counted)}


def _rows(
    measured: Measured, get: Callable[[Measured], evaluation.BesideChance]
) -> np.ndarray:
    return get(measured).rows
