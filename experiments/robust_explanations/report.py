"""What is said of robust explanation supervision: tables, figures, the finding."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from experiments.robust_explanations.measuring import Measured, Scored
from experiments.running import report, results
from xguide_jax import evaluation, reporting

Found = Mapping[str, Sequence[results.Result[Measured]]]

UNGUIDED = "unguided"
MEASURED = {
    "iou": "IoU", "precision": "precision", "recall": "recall", "f1": "F1",
    "energy": "EPG", "integrated": "EPG, integrated gradients",
}  # fmt: skip
BEST: dict[str, Literal["max", "min"]] = {
    "IoU, undefined as 0": "max", "EPG, undefined as 0": "max",
    "in distribution": "max", "group balanced": "max", "worst group": "max",
}  # fmt: skip
LOGGED = {
    "task": "cross-entropy (nats)",
    "guidance/unscaled": "guidance loss",
    "gradient_norm": "gradient norm",
}
SUMMARY = """\
Digits on textures that agree with the class at 95 % ({seeds}). A few training images
carry masks of the digit, as an annotator at the level of noise after the '@' draws
them; '@other' are exact masks of other images, the control of each term. Every arm
sees the same batches, with the same share of these images.

Grad-CAM of what was explained in training, between its own minimum and maximum and
enlarged to the image, is compared with the true mask at a threshold of 0.5, on a test
where the texture says nothing. Integrated gradients are an explainer that no arm was
trained on.
"""


def make_report(found: Found) -> report.Report:
    """The report of a finished run.

    Args:
      found: results of all arms.

    Returns:
      A `report.Report`.
    """
    seeds = results.seeds_text(len(next(iter(found.values()))))
    noise = {arm: repeats[0].arm.annotation for arm, repeats in found.items()}
    comparisons = {
        f"{MEASURED[name]} with the true mask{text}, paired by seed": (
            report.table(_comparisons(name, as_zero), found, without=[UNGUIDED])
        )
        for as_zero, text in {False: "", True: ", undefined maps as 0"}.items()
        for name in ("iou", "f1")
    }
    tables = {
        "Agreement of Grad-CAM with the true mask": report.table(AGREEMENT, found),
        **comparisons,
        "Agreement, undefined maps counted as 0, and their number": (
            report.table(AS_ZERO, found)
        ),
        "Accuracy": report.table(_accuracies(found), found),
    }
    return report.Report(
        title="Robust explanation supervision",
        summary=SUMMARY.format(seeds=seeds),
        findings=report.findings(
            found,
            "agreement with the true mask (IoU, 0 where undefined)",
            _mean("iou", zero=True),
            guided=[a for a in found if noise[a] not in (None, "other")],
            unguided=UNGUIDED, control_of=control_of,
        ),
        tables={f"{name} ({seeds})": rows for name, rows in tables.items()},
        figures=_figures(found),
        undefined=_undefined(found),
        logged=LOGGED,
        drawn=[a for a in found if noise[a] in (None, "strong", "other")][:7],
        best=BEST,
        apart=[a for a in found if noise[a] in (None, "other")],
    )  # fmt: skip


def _of(name: str) -> Callable[[Measured], Scored]:
    return lambda measured: getattr(measured.agreement, name)


def _summary(name: str) -> Callable[[Measured], evaluation.Summary]:
    return lambda measured: _of(name)(measured).summary


def _num_undefined(measured: Measured, name: str) -> int:
    return _summary(name)(measured).num_undefined


def _mean(name: str, *, zero: bool = False) -> Callable[[Measured], float]:
    part = "mean_or_zero" if zero else "mean"
    return lambda measured: getattr(_of(name)(measured).summary, part)


AGREEMENT = (
    report.mean("IoU", _mean("iou")),
    report.mean("IoU, undefined as 0", _mean("iou", zero=True)),
    *(report.mean(MEASURED[n], _mean(n)) for n in MEASURED if n != "iou"),
    report.mean("EPG, undefined as 0", _mean("integrated", zero=True)),
)
AS_ZERO = tuple(report.as_zero(text, _summary(name)) for name, text in MEASURED.items())


def control_of(found: Found, name: str) -> str | None:
    """The arm of the same term with masks of other images.

    Args:
      found: results of all arms.
      name: of the arm.

    Returns:
      Its name, whether there is one or not; None for the unguided arm.
    """
    arm = found[name][0].arm
    return None if arm.weight is None else f"{arm.term}@other"


def _comparisons(name: str, as_zero: bool) -> list[report.Column]:
    """Every arm's number minus that of references, at the same noise."""
    references: dict[str, Any] = {
        "unguided": UNGUIDED,
        "its term with masks of other images": control_of,
        "GRADIA at the same noise": lambda f, n: f"gradia@{f[n][0].arm.annotation}",
    }
    rows = None if as_zero else lambda measured: _of(name)(measured).rows
    return [
        report.minus(f"minus {text}", other, _mean(name, zero=as_zero), rows=rows)
        for text, other in references.items()
    ]


def _accuracies(found: Found) -> list[report.Column]:
    balanced = lambda m: m.accuracies.group_balanced
    columns = [
        report.mean("in distribution", lambda m: m.accuracies.in_distribution),
        report.mean("group balanced", balanced),
        report.mean("worst group", lambda m: m.accuracies.worst_group),
    ]
    if UNGUIDED in found:
        columns += [report.minus("group balanced, minus unguided", UNGUIDED, balanced)]
    return [*columns, report.speed()]


def _undefined(found: Found) -> dict[str, int]:
    counts = {}
    for arm, repeats in found.items():
        for name, text in MEASURED.items():
            counts[f"{arm}: maps without {text}"] = results.total(
                repeats, functools.partial(_num_undefined, name=name)
            )
        counts[f"{arm}: images without a prediction"] = results.total(
            repeats, lambda m: m.accuracies.num_undefined
        )
    return counts


def _figures(found: Found) -> dict[str, tuple[str, Any]]:
    # 0 where undefined: who kills its maps must not win.
    axes = (_mean("iou", zero=True), lambda m: m.accuracies.group_balanced)
    points = {
        arm: np.array([results.values(repeats, get) for get in axes]).T
        for arm, repeats in found.items()
    }
    first = {arm: repeats[0].measured.shown for arm, repeats in found.items()}
    images = next(iter(first.values()))
    return {
        "tradeoff": (
            "Agreement with the true mask and accuracy; small points are seeds",
            reporting.tradeoff(
                points,
                x_label="IoU of Grad-CAM with the true mask (0 if undefined)",
                y_label="group-balanced accuracy",
            ),
        ),
        "maps": (
            "Grad-CAM between its minimum and maximum; the true mask outlined",
            reporting.saliency_grid(
                images.inputs,
                {arm: shown.maps["grad_cam"] for arm, shown in first.items()},
                labels=[f"image {i}" for i in range(len(images.inputs))],
                regions=images.region,
            ),
        ),
    }
