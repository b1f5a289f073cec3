"""Tables, figures and report of saliency-guided training on images.

Everything is drawn from what the run directory holds, so a finished run can be rendered
again without training.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments import common, removal, tables
from xguide_jax import reporting

CONTROL = "random"  # the arm whose masks look at no saliency
LONG = {
    "gradient": "gradient",
    "smooth_grad": "SmoothGrad",
    "integrated_gradients": "integrated gradients",
}
LOGGED = {
    "task": "cross-entropy (nats)",
    "sgt": "consistency loss (nats)",
    "gradient_norm": "gradient norm",
}


def write(
    run: common.Run, arm_names: Sequence[str], class_names: Sequence[str]
) -> None:
    """Writes metrics.json, tables, figures and report.html, and prints the summary.

    Args:
      run: a run of which every arm and seed is finished.
      arm_names: the arms, in the order of the tables.
      class_names: what the labels stand for.
    """
    results = tables.collect(run, arm_names)
    undefined = {
        f"{arm}: {text}": tables.total(results, arm, f"undefined/{name}")
        for arm in results
        for name, text in {
            **{e: f"images without a ranking by {LONG[e]}" for e in removal.EXPLAINERS},
            "random": "images without a prediction in random orders",
            "completeness_error": "images without a completeness error",
        }.items()
    }
    figures = draw(results, class_names)
    figures["training"] = ("Training", tables.training_figure(run, arm_names, LOGGED))
    tables.finish(
        run,
        results,
        title="Saliency-guided training on images",
        summary=SUMMARY.format(seeds=tables.seeds_text(run.config.seeds)),
        tables=make_tables(results),
        figures=figures,
        undefined=undefined,
        num_printed=num_printed(results),
    )


SUMMARY = """\
The published CNN was trained unguided and with a consistency loss between the
prediction on an image and on the image whose lowest-ranked pixels were replaced by
noise ({seeds}). All arms of a seed share split, initial weights and batches; nothing
was selected.

Areas are under the accuracy curve as pixels are removed (most salient first; low is
steep) or inserted (high is steep). A gap is by how much the explainer's order beats
random orders of the same network on the same images, averaged over draws; it is what
compares networks. An image that an explainer cannot rank is left out of its curve, of
the random order that is subtracted, and of both arms of a comparison; 'undefined as 0'
gives it a gap of 0.
'random' replaces pixels without looking at saliency; 'k=0' replaces none, and with
dropout is a consistency regulariser. Training filled with the uniform noise, never with
black.
"""


def make_tables(results: tables.Results) -> dict[str, list[dict[str, Any]]]:
    """The tables of the report.

    Args:
      results: {arm: what was measured of each seed}.

    Returns:
      {caption: rows}; the first `num_printed` are for the terminal as well.
    """
    numbers = next(iter(results.values()))[0][0]
    places = [
        key.removesuffix("/random")
        for key in numbers
        if key.startswith(tuple(removal.VIEWS)) and key.endswith("/random")
    ]
    seeds = tables.seeds_text(len(next(iter(results.values()))))
    made = {f"Accuracy, cost and attribution error ({seeds})": accuracies(results)}
    for reference in (CONTROL, "unguided"):
        if reference in results:
            caption = f"Gap minus the gap of the {reference} arm, paired by seed"
            made[f"{caption} ({seeds})"] = gaps(results, reference, places)
            if any_undefined(results):
                caption = "The same with a gap of 0 for undefined images, minus the"
                made[f"{caption} {reference} arm ({seeds})"] = gaps(
                    results, reference, places, suffix="/zero"
                )
    for place in places:
        view, fill = place.split("/")
        made[f"Area under the {view} curve, {fill} fill ({seeds})"] = [
            {
                "arm": arm,
                **{LONG[e]: tables.mean(results, arm, f"{place}/{e}") for e in LONG},
                "random order": tables.mean(results, arm, f"{place}/random"),
                **{
                    f"gap, {LONG[e]}{text}": tables.mean(
                        results, arm, f"gap/{place}/{e}{suffix}"
                    )
                    for suffix, text in {"": "", "/zero": ", undefined as 0"}.items()
                    for e in LONG
                },
            }
            for arm in results
        ]
    return made


def any_undefined(results: tables.Results) -> bool:
    """Whether an explainer left an image without a ranking.

    Args:
      results: {arm: what was measured of each seed}.

    Returns:
      True if there is one, in any arm and seed.
    """
    return any(
        tables.total(results, arm, f"undefined/{name}")
        for arm in results
        for name in removal.EXPLAINERS
    )


def num_printed(results: tables.Results) -> int:
    """How many tables a terminal shows.

    Args:
      results: {arm: what was measured of each seed}.

    Returns:
      Two, and where images are undefined the second with 0 for them as well.
    """
    return 3 if any_undefined(results) else 2


def accuracies(results: tables.Results) -> list[dict[str, Any]]:
    """Accuracy, removal by the gradient, completeness error and speed, a row an arm.

    Args:
      results: {arm: what was measured of each seed}.

    Returns:
      Rows.
    """
    return [
        {
            "arm": arm,
            "test accuracy": tables.mean(results, arm, "test_accuracy"),
            **{
                f"test, minus {reference}": tables.versus(
                    results, arm, reference, "test_accuracy"
                )
                for reference in (CONTROL, "unguided")
                if reference in results
            },
            "validation accuracy": tables.mean(results, arm, "validation_accuracy"),
            **{
                f"removal area, {fill}": tables.mean(
                    results, arm, f"removal/{fill}/gradient"
                )
                for fill in ("black", "uniform")
            },
            "completeness error": tables.mean(results, arm, "completeness_error"),
            "undefined rankings": sum(
                tables.total(results, arm, f"undefined/{e}") for e in removal.EXPLAINERS
            ),
            "images/s": tables.mean(results, arm, "images_per_second"),
        }
        for arm in results
    ]


def gaps(
    results: tables.Results, reference: str, places: Sequence[str], *, suffix: str = ""
) -> list[dict[str, Any]]:
    """Every arm's gap to its own random order, minus the reference arm's.

    Args:
      results: {arm: what was measured of each seed}.
      reference: an arm.
      places: '<view>/<fill>'.
      suffix: '/zero' for the gaps that count undefined images as 0.

    Returns:
      Rows.
    """
    return [
        {
            "arm": arm,
            "view and fill": place.replace("/", ", "),
            **{
                LONG[e]: tables.versus(
                    results, arm, reference, f"gap/{place}/{e}{suffix}"
                )
                for e in LONG
            },
        }
        for arm in results
        if arm != reference
        for place in places
    ]


def draw(
    results: tables.Results, class_names: Sequence[str]
) -> dict[str, tuple[str, Any]]:
    """The figures of the report.

    Args:
      results: {arm: what was measured of each seed}.
      class_names: what the labels stand for.

    Returns:
      {file name: (caption, figure)}.
    """
    figures: dict[str, tuple[str, Any]] = {}
    first = {arm: repeats[0][1] for arm, repeats in results.items()}
    shown = next(iter(first.values()))
    labels = [class_names[label] for label in shown["labels"]]
    for name, long in LONG.items():
        maps = {arm: arrays[f"maps/{name}"] for arm, arrays in first.items()}
        figures[f"maps_{name}"] = (
            f"{long.capitalize()} of the label's logit, the same test images by every "
            "arm, one scale",
            reporting.saliency_grid(
                shown["inputs"], maps, labels=labels, quantile=0.995
            ),
        )
    for key in sorted(shown):
        if not key.startswith("curve/") or key.endswith("/random"):
            continue
        _, view, fill, name = key.split("/")
        rows = {
            f"{arm}": np.stack([arrays[key] for _, arrays in repeats])
            for arm, repeats in results.items()
        }
        chance = {
            arm: np.stack([arrays[f"{key}/random"] for _, arrays in repeats])
            for arm, repeats in results.items()
        }
        verb = "removed" if view == "removal" else "inserted"
        figures[f"{view}_{fill}_{name}"] = (
            f"{view.capitalize()} by {LONG[name]}, {fill} fill; dashed: random orders "
            "of the same network",
            reporting.curves(
                rows,
                fractions=np.asarray(removal.FRACTIONS),
                controls=chance,
                x_label=f"fraction of pixels {verb}, most salient first",
                y_label="accuracy",
            ),
        )
    return figures
