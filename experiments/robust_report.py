"""Tables, figures and report of robust explanation supervision."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments import common, tables
from xguide_jax import reporting

MEASURED = {
    "iou": "IoU", "precision": "precision", "recall": "recall", "f1": "F1",
    "epg": "EPG", "epg/integrated_gradients": "EPG, integrated gradients",
}  # fmt: skip
AGREEMENT = (
    "iou", "iou/zero", "precision", "recall", "f1", "epg",
    "epg/integrated_gradients", "epg/integrated_gradients/zero",
)  # fmt: skip
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


def write(run: common.Run, arm_names: Sequence[str]) -> None:
    """Writes metrics.json, tables, figures and report.html, and prints the summary.

    Args:
      run: a run of which every arm and seed is finished.
      arm_names: the arms, in the order of the tables.
    """
    results = tables.collect(run, arm_names)
    seeds = tables.seeds_text(run.config.seeds)
    figures = draw(results)
    shown = [arm for arm in results if arm.partition("@")[2] in ("", "strong", "other")]
    figures["training"] = (
        "Training of some arms",
        tables.training_figure(run, (shown or list(results))[:7], LOGGED),
    )
    tables.finish(
        run,
        results,
        title="Robust explanation supervision",
        summary=SUMMARY.format(seeds=seeds),
        tables={
            f"Agreement of Grad-CAM with the true mask ({seeds})": agreement(results),
            **{
                f"{MEASURED[key]} with the true mask{text}, paired by seed ({seeds})": (
                    comparisons(results, f"{key}{suffix}")
                )
                for suffix, text in {"": "", "/zero": ", undefined maps as 0"}.items()
                for key in ("iou", "f1")
            },
            f"Agreement, undefined maps counted as 0, and their number ({seeds})": (
                undefined_as_zero(results)
            ),
            f"Accuracy ({seeds})": accuracies(results),
        },
        figures=figures,
        undefined={
            f"{arm}: {text}": tables.total(results, arm, f"undefined/{name}")
            for arm in results
            for name, text in {
                **{name: f"maps without {text}" for name, text in MEASURED.items()},
                "predictions": "images without a prediction",
            }.items()
        },
        num_printed=2,
    )


def agreement(results: tables.Results) -> list[dict[str, Any]]:
    """Agreement with the true mask, a row an arm.

    Args:
      results: {arm: what was measured of each seed}.

    Returns:
      Rows.
    """
    names = {
        **MEASURED,
        "iou/zero": "IoU, undefined as 0",
        "epg/integrated_gradients/zero": "EPG, undefined as 0",
    }
    return [
        {
            "arm": arm,
            **{names[key]: tables.mean(results, arm, key) for key in AGREEMENT},
        }
        for arm in results
    ]


def undefined_as_zero(results: tables.Results) -> list[dict[str, Any]]:
    """The agreement with 0 for undefined maps and their number, a row an arm.

    Args:
      results: {arm: what was measured of each seed}.

    Returns:
      Rows.
    """
    return [
        {
            "arm": arm,
            **{
                text: tables.as_zero(
                    results, arm, f"{key}/zero", undefined=f"undefined/{key}"
                )
                for key, text in MEASURED.items()
            },
        }
        for arm in results
    ]


def comparisons(results: tables.Results, key: str) -> list[dict[str, Any]]:
    """Every arm's number minus that of references, at the same noise.

    Args:
      results: {arm: what was measured of each seed}.
      key: of the number.

    Returns:
      Rows.
    """
    rows = []
    for arm in results:
        term, _, noise = arm.partition("@")
        if term == "unguided":
            continue
        row: dict[str, Any] = {"arm": arm}
        for name, reference in {
            "unguided": "unguided",
            "its term with masks of other images": f"{term}@other",
            "GRADIA at the same noise": f"gradia@{noise}",
        }.items():
            row[f"minus {name}"] = (
                tables.versus(results, arm, reference, key)
                if reference in results
                else "-"
            )
        rows.append(row)
    return rows


def accuracies(results: tables.Results) -> list[dict[str, Any]]:
    """Accuracies, a row an arm.

    Args:
      results: {arm: what was measured of each seed}.

    Returns:
      Rows.
    """
    rows = []
    for arm in results:
        row: dict[str, Any] = {"arm": arm}
        for name in ("in_distribution", "group_balanced", "worst_group"):
            row[name.replace("_", " ")] = tables.mean(results, arm, name)
        if "unguided" in results:
            row["group balanced, minus unguided"] = tables.versus(
                results, arm, "unguided", "group_balanced"
            )
        row["images/s"] = tables.mean(results, arm, "images_per_second")
        rows.append(row)
    return rows


def draw(results: tables.Results) -> dict[str, tuple[str, Any]]:
    """The figures of the report.

    Args:
      results: {arm: what was measured of each seed}.

    Returns:
      {file name: (caption, figure)}.
    """
    points = {
        arm: np.stack(
            [
                # 0 where undefined: who kills its maps must not win.
                tables.values(results, arm, "iou/zero"),
                tables.values(results, arm, "group_balanced"),
            ],
            axis=1,
        )
        for arm in results
    }
    first = {arm: repeats[0][1] for arm, repeats in results.items()}
    shown = first[next(iter(first))]
    maps = {arm: arrays["maps/grad_cam"] for arm, arrays in first.items()}
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
                shown["inputs"],
                maps,
                labels=[f"image {i}" for i in range(len(shown["inputs"]))],
                regions=shown["region"],
            ),
        ),
    }
