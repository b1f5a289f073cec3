"""What is said of robust explanation supervision: tables, figures, the finding."""

from typing import Literal

import numpy as np

from experiments.robust_explanations import columns
from experiments.robust_explanations.columns import MEASURED, UNGUIDED, Found
from experiments.running import report, results
from xguide_jax import reporting

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
            report.table(columns.comparisons(name, as_zero), found, without=[UNGUIDED])
        )
        for as_zero, text in {False: "", True: ", undefined maps as 0"}.items()
        for name in ("iou", "f1")
    }
    tables = {
        "Agreement of Grad-CAM with the true mask": report.table(
            columns.AGREEMENT, found
        ),
        **comparisons,
        "Agreement, undefined maps counted as 0, and their number": (
            report.table(columns.AS_ZERO, found)
        ),
        "Accuracy": report.table(columns.accuracies(found), found),
    }
    return report.Report(
        title="Robust explanation supervision",
        summary=SUMMARY.format(seeds=seeds),
        findings=report.findings(
            found,
            "agreement with the true mask (IoU, 0 where undefined)",
            columns.mean("iou", zero=True),
            guided=[a for a in found if noise[a] not in (None, "other")],
            unguided=UNGUIDED, control_of=columns.control_of,
        ),
        tables={f"{name} ({seeds})": rows for name, rows in tables.items()},
        figures=_figures(found),
        undefined=columns.undefined_counts(found),
        logged=LOGGED,
        drawn=[a for a in found if noise[a] in (None, "strong", "other")][:7],
        best=BEST,
        apart=[a for a in found if noise[a] in (None, "other")],
    )  # fmt: skip


def _figures(found: Found) -> report.Figures:
    # 0 where undefined: who kills its maps must not win.
    axes = (columns.mean("iou", zero=True), lambda m: m.accuracies.group_balanced)
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
