"""The tables of attention supervision, most of them lists of columns."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.attention_supervision import terms
from experiments.attention_supervision.measuring import Measured
from experiments.running import arms, report, results, undefined
from experiments.running.scored import Scored
from experiments.texts import explaining

Found = Mapping[str, Sequence[results.Result[Measured]]]

AGREEMENT = {
    "auprc": "AUPRC",
    "rank": "marked among as many highest",
    "mass": "mass on marked",
}


def tests(found: Found) -> list[str]:
    """The tests, the one like training first.

    Args:
      found: results of all arms.

    Returns:
      Their names.
    """
    return list(next(iter(found.values()))[0].measured.accuracies)


def accuracy(test: str) -> Callable[[Measured], float]:
    """Accuracy on a test.

    Args:
      test: its name.

    Returns:
      What a column shows of a measurement.
    """
    return lambda measured: measured.accuracies[test]


def agreement(test: str, explainer: str, what: str) -> Callable[[Measured], Scored]:
    """One number of agreement with the marks.

    Args:
      test: its name.
      explainer: its name.
      what: of `AGREEMENT`.

    Returns:
      The record of a measurement.
    """
    return lambda measured: getattr(measured.plausibility[test][explainer], what)


def agreed(test: str, explainer: str, what: str) -> Callable[[Measured], float]:
    """`agreement`, averaged over texts, 0 where undefined.

    Args:
      test: its name.
      explainer: its name.
      what: of `AGREEMENT`.

    Returns:
      What a column shows of a measurement.
    """
    get = agreement(test, explainer, what)
    return lambda measured: get(measured).summary.mean_or_zero


def control_of(found: Found, name: str) -> str | None:
    """The arm of the same term with permuted targets.

    Args:
      found: results of all arms.
      name: of the arm.

    Returns:
      Its name, whether there is one or not; None for an unguided arm.
    """
    arm = found[name][0].arm
    return None if arm.weight is None else f"{arm.term}@{terms.PERMUTED}"


def reference_of(found: Found, name: str) -> str | None:
    """The unguided arm with the same network.

    Args:
      found: results of all arms.
      name: of the arm.

    Returns:
      Its name; None for an unguided arm.
    """
    arm = found[name][0].arm
    return None if arm.weight is None else terms.reference_of(arm)


REFERENCES: Mapping[str, Callable[[Found, str], str | None]] = {
    "unguided": reference_of,
    "permuted targets": control_of,
}


def accuracies(found: Found) -> list[report.Column]:
    """Accuracy on every test, beside both references.

    Args:
      found: results of all arms.

    Returns:
      Columns.
    """
    names = tests(found)
    last = names[-1]
    return [
        *(report.mean(name, accuracy(name)) for name in names),
        *(
            report.minus(f"{last}, minus {text}", of, accuracy(last))
            for text, of in REFERENCES.items()
        ),
        report.mean("validation", lambda m: m.validation),
        report.speed(),
    ]


def probes(found: Found) -> list[report.Column]:
    """Accuracy of two classes by heuristic and by what is true.

    Args:
      found: results of all arms.

    Returns:
      Columns; none where there are no probes.
    """
    cells = next(iter(found.values()))[0].measured.probes
    return [
        report.mean(cell, functools.partial(_probe, cell=cell)) for cell in cells
    ]


def plausibility(test: str) -> list[report.Column]:
    """Agreement of every explainer with the marks, on a test.

    Args:
      test: its name.

    Returns:
      Columns.
    """
    return [
        report.mean(f"{text}, {AGREEMENT[what]}", agreed(test, explainer, what))
        for what in AGREEMENT
        for explainer, text in explaining.NAMES.items()
    ]


def plausibility_differences(test: str) -> list[report.Column]:
    """The AUPRC of every explainer minus that of references, paired by seed.

    Args:
      test: its name.

    Returns:
      Columns.
    """
    return [
        report.minus(
            f"{text}, minus {words}", of, agreed(test, explainer, "auprc")
        )
        for explainer, text in explaining.NAMES.items()
        for words, of in REFERENCES.items()
    ]


def attended(found: Found) -> list[report.Column]:
    """Where the class token's attention goes.

    Args:
      found: results of all arms.

    Returns:
      Columns.
    """
    classes = next(iter(found.values()))[0].measured.attended.supervised
    return [
        report.mean(f"{text}: {name}", functools.partial(_share, part=part, name=name))
        for part, text in {"supervised": "supervised", "others": "others"}.items()
        for name in classes
    ]


def undefined_counts(found: Found) -> dict[str, int]:
    """How often a text has no agreement with marks.

    Args:
      found: results of all arms.

    Returns:
      {'arm: what is lacking': count}.
    """
    count = lambda m, test, name: m.plausibility[test][name].auprc.summary.num_undefined
    return undefined.counts(
        found,
        {
            f"texts without an AUPRC of {text}, {test}": functools.partial(
                count, test=test, name=name
            )
            for test in tests(found)
            for name, text in explaining.NAMES.items()
        },
    )


def guided(found: Found) -> list[str]:
    """The arms that are guided by what people marked.

    Args:
      found: results of all arms.

    Returns:
      Their names.
    """
    is_guided: Callable[[arms.Arm], Any] = lambda arm: (
        arm.weight is not None and arm.annotation == terms.RATIONALE
    )
    return [name for name, repeats in found.items() if is_guided(repeats[0].arm)]


def _probe(measured: Measured, cell: str) -> float:
    return measured.probes[cell]


def _share(measured: Measured, part: str, name: str) -> float:
    return getattr(measured.attended, part).get(name, float("nan"))
