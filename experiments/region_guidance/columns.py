"""The tables of region guidance, each a list of columns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.digits import explaining, textured
from experiments.region_guidance import terms
from experiments.region_guidance.measuring import Measured
from experiments.running import report, results, undefined
from xguide_jax import evaluation

Found = Mapping[str, Sequence[results.Result[Measured]]]

UNGUIDED = "unguided"
COMPETITOR = "swapped"  # the same boxes, a task loss and no more
LONG = {
    "grad_cam": "Grad-CAM",
    "gradient": "gradient",
    "integrated_gradients": "integrated gradients",
}


def worst(measured: Measured) -> float:
    """Worst-group accuracy, which most comparisons are of.

    Args:
      measured: of one network.

    Returns:
      In [0, 1].
    """
    return measured.accuracies.worst_group


def accuracies(found: Found) -> list[report.Column]:
    """Worst group, averages, gap closed and bias.

    Args:
      found: results of all arms.

    Returns:
      Columns.
    """
    columns = [
        report.mean("worst group", worst),
        report.mean("group balanced", lambda m: m.accuracies.group_balanced),
        report.mean("in distribution", lambda m: m.accuracies.in_distribution),
        report.Column("gap closed", gap_closed),
    ]
    columns += [
        report.minus(f"worst group, minus {other}", other, worst)
        for other in (UNGUIDED, COMPETITOR)
        if other in found
    ]
    if any(repeats[0].arm.annotation == "random" for repeats in found.values()):
        columns += [
            report.Column("its control", lambda f, arm: control_of(f, arm) or "-"),
            report.minus("worst group, minus its control", control_of, worst),
        ]
    if UNGUIDED in found:
        balanced = lambda m: m.accuracies.group_balanced
        columns += [report.minus("group balanced, minus unguided", UNGUIDED, balanced)]
    bias = lambda m: m.bias_amplification
    return [*columns, report.mean("bias amplification", bias)]


def control_of(found: Found, name: str) -> str | None:
    """The arm with random boxes that another is compared with.

    Args:
      found: results of all arms.
      name: of the arm.

    Returns:
      The first '@random' arm of the same term, else the first of any; None if there is
      none, and for the arms without guidance.
    """
    of = {other: repeats[0].arm for other, repeats in found.items()}
    if of[name].weight is None:
        return None
    controls = [other for other, arm in of.items() if arm.annotation == "random"]
    own = [other for other in controls if of[other].term == of[name].term]
    return next(iter(own or controls), None)


def gap_closed(found: Found, name: str) -> str:
    """(worst group − unguided) / (oracle − unguided), with its interval.

    Args:
      found: results of all arms.
      name: of the arm.

    Returns:
      Text; a dash for the limits and where one of them is missing.
    """
    if name in (UNGUIDED, *terms.LIMITS) or not {UNGUIDED, "oracle"} <= found.keys():
        return "-"
    own, unguided, oracle = (
        np.array(results.values(found[arm], worst))
        for arm in (name, UNGUIDED, "oracle")
    )
    estimate = evaluation.ratio_of_means(own - unguided, oracle - unguided)
    if len(own) == 1:
        return results.signed(estimate.value, digits=2)
    return str(estimate)


def _at(kind: str, explainer: str) -> Callable[[Measured], evaluation.Summary]:
    """'box', 'strokes' or 'iou' of one explainer's maps."""
    return lambda measured: getattr(measured.localisation[explainer], kind)


LOCALISED = {"EPG": "box", "EPG on strokes": "strokes", "IoU": "iou"}
_JUDGE = explaining.EXPLAINERS[-1]


def _of(kind: str, explainer: str, part: str) -> Callable[[Measured], Any]:
    return lambda measured: getattr(_at(kind, explainer)(measured), part)


LOOKING = (
    *(report.mean(f"EPG, {LONG[e]}", _of("box", e, "mean")) for e in LONG),
    report.mean("EPG, undefined as 0", _of("box", _JUDGE, "mean_or_zero")),
    report.mean("EPG on strokes", _of("strokes", _JUDGE, "mean")),
    *(report.mean(f"IoU, {LONG[e]}", _of("iou", e, "mean")) for e in LONG),
    report.mean("IoU, undefined as 0", _of("iou", _JUDGE, "mean_or_zero")),
    report.total("undefined maps", _of("box", _JUDGE, "num_undefined")),
)
AS_ZERO = tuple(
    report.as_zero(f"{text}, {LONG[e]}", _at(kind, e))
    for text, kind in LOCALISED.items()
    for e in LONG
)
COVERED = (
    report.mean("nothing", lambda m: m.accuracies.group_balanced),
    report.mean("random box", lambda m: m.covered.without_random_box),
    report.mean("background (box only)", lambda m: m.covered.box_only),
    report.mean("box (background only)", lambda m: m.covered.background_only),
    report.mean(
        "background alone goes by its texture",
        lambda m: m.covered.background_follows_texture,
    ),
)


def groups(found: Found) -> list[report.Column]:
    """Accuracy of each group, its images in the head.

    Args:
      found: results of all arms.

    Returns:
      Columns.
    """
    first = next(iter(found.values()))

    def column(group: int) -> report.Column:
        counts = [result.measured.accuracies.counts[group] for result in first]
        low, high = min(counts), max(counts)
        number = str(low) if low == high else f"{low}-{high}"
        head = f"class {group // 2}, texture {group % 2} (n = {number})"
        return report.mean(head, lambda m: m.accuracies.groups[group])

    return [column(group) for group in range(textured.NUM_GROUPS)]


def price(warmup: float | None) -> list[report.Column]:
    """What selection saw, and what guidance cost.

    Args:
      warmup: the flag.

    Returns:
      Columns.
    """
    own = lambda found, name: found[name][0].arm
    return [
        report.Column("weight", lambda f, name: own(f, name).weight or 0.0),
        report.Column("warm-up", lambda f, name: terms.warmup_of(own(f, name), warmup)),
        report.mean("validation accuracy", lambda m: m.accuracies.validation),
        report.mean(
            "validation EPG, integrated gradients",
            lambda m: m.localisation[_JUDGE].validation,
        ),
        report.speed(),
    ]


def undefined_counts(found: Found) -> dict[str, int]:
    """How often an image has no prediction, or a map no number.

    Args:
      found: results of all arms.

    Returns:
      {'arm: what is lacking': count}.
    """
    none = {"images without a prediction": lambda m: m.accuracies.num_undefined}
    maps = {
        f"maps without {text} by {long}": _of(kind, name, "num_undefined")
        for text, kind in LOCALISED.items()
        for name, long in LONG.items()
    }
    return undefined.counts(found, {**none, **maps})
