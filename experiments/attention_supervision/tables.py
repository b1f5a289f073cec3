"""The tables of attention supervision, most of them lists of columns."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.attention_supervision import terms
from experiments.attention_supervision.measuring import Measured
from experiments.running import arms, report, results
from experiments.texts import columns, explaining

Found = Mapping[str, Sequence[results.Result[Measured]]]


def control_of(found: Found, name: str) -> str | None:
    """The arm of the same term and weight with permuted targets.

    Args:
      found: results of all arms.
      name: of the arm.

    Returns:
      Its name; None where there is none, and for an unguided arm.
    """
    wanted = found[name][0].arm._replace(annotation=terms.PERMUTED)
    if wanted.weight is None:
        return None
    same = lambda arm: arm._replace(text=wanted.text) == wanted
    return next((other for other in found if same(found[other][0].arm)), None)


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
    names = columns.tests(found)
    last = names[-1]
    return [
        *(report.mean(name, columns.accuracy(name)) for name in names),
        *(
            report.minus(f"{last}, minus {text}", of, columns.accuracy(last))
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
    return [report.mean(cell, functools.partial(_probe, cell=cell)) for cell in cells]


def plausibility_differences(test: str) -> list[report.Column]:
    """The AUPRC of every explainer minus that of references, paired by seed.

    Args:
      test: its name.

    Returns:
      Columns.
    """
    return [
        report.minus(
            f"{text}, minus {words}", of, columns.agreed(columns.Place(test, explainer))
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
    classes = next(iter(found.values()))[0].measured.attended.apart
    return [
        report.mean(
            f"{text}: {name}",
            functools.partial(_share, part=part, name=name),
        )
        for part, text in {
            "apart": f"heads {', '.join(map(str, terms.HEADS))}, or the layer",
            "others": "other heads",
        }.items()
        for name in classes
    ]


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
