"""The tables of robust explanation supervision, each a list of columns."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.robust_explanations import annotating
from experiments.robust_explanations.measuring import Measured
from experiments.running import report, results, undefined
from experiments.running.scored import Scored
from xguide_jax import evaluation

Found = Mapping[str, Sequence[results.Result[Measured]]]

UNGUIDED = "unguided"
MEASURED = {
    "iou": "IoU", "precision": "precision", "recall": "recall", "f1": "F1",
    "energy": "EPG", "integrated": "EPG, integrated gradients",
}  # fmt: skip


def _of(name: str) -> Callable[[Measured], Scored]:
    return lambda measured: getattr(measured.agreement, name)


def _summary(name: str) -> Callable[[Measured], evaluation.Summary]:
    return lambda measured: _of(name)(measured).summary


def _num_undefined(measured: Measured, name: str) -> int:
    return _summary(name)(measured).num_undefined


def mean(name: str, *, zero: bool = False) -> Callable[[Measured], float]:
    """A number of agreement, averaged over images.

    Args:
      name: of the number, in `MEASURED`.
      zero: whether undefined images count as 0; they are left out otherwise.

    Returns:
      What a column shows of a measurement.
    """
    part = "mean_or_zero" if zero else "mean"
    return lambda measured: getattr(_of(name)(measured).summary, part)


AGREEMENT = (
    report.mean("IoU", mean("iou")),
    report.mean("IoU, undefined as 0", mean("iou", zero=True)),
    *(report.mean(MEASURED[n], mean(n)) for n in MEASURED if n != "iou"),
    report.mean("EPG, undefined as 0", mean("integrated", zero=True)),
)
AS_ZERO = tuple(report.as_zero(text, _summary(name)) for name, text in MEASURED.items())


def control_of(found: Found, name: str) -> str | None:
    """The arm of the same term and weight with masks of other images.

    Args:
      found: results of all arms.
      name: of the arm.

    Returns:
      Its name; None if there is none, and for the unguided arm.
    """
    arm = found[name][0].arm
    # By what was read: "gradia=16@other" and "gradia=16.0@other" are one control.
    control = arm._replace(text="", annotation=annotating.OTHER)
    read = {other: repeats[0].arm for other, repeats in found.items()}
    same = [other for other, arm in read.items() if arm._replace(text="") == control]
    return next(iter(same), None)


def comparisons(name: str, as_zero: bool) -> list[report.Column]:
    """Every arm's number minus that of references, at the same noise.

    Args:
      name: of the number, in `MEASURED`.
      as_zero: whether undefined images count as 0.

    Returns:
      Columns.
    """
    references: dict[str, Any] = {
        "unguided": UNGUIDED,
        "its term with masks of other images": control_of,
        "GRADIA at the same noise": lambda f, n: f"gradia@{f[n][0].arm.annotation}",
    }
    rows = None if as_zero else lambda measured: _of(name)(measured).rows
    return [
        report.minus(f"minus {text}", other, mean(name, zero=as_zero), rows=rows)
        for text, other in references.items()
    ]


def accuracies(found: Found) -> list[report.Column]:
    """Accuracies on average and of the worst group, and the speed.

    Args:
      found: results of all arms.

    Returns:
      Columns.
    """
    balanced = lambda m: m.accuracies.group_balanced
    columns = [
        report.mean("in distribution", lambda m: m.accuracies.in_distribution),
        report.mean("group balanced", balanced),
        report.mean("worst group", lambda m: m.accuracies.worst_group),
    ]
    if UNGUIDED in found:
        columns += [report.minus("group balanced, minus unguided", UNGUIDED, balanced)]
    return [*columns, report.speed()]


def undefined_counts(found: Found) -> dict[str, int]:
    """How often an image has no map or no prediction.

    Args:
      found: results of all arms.

    Returns:
      {'arm: what is lacking': count}.
    """
    maps = {
        f"maps without {text}": functools.partial(_num_undefined, name=name)
        for name, text in MEASURED.items()
    }
    none = {"images without a prediction": lambda m: m.accuracies.num_undefined}
    return undefined.counts(found, {**maps, **none})
