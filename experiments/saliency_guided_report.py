"""Tables, figures and report of saliency-guided training on images.

Everything is drawn from what the run directory holds, so a finished run can be rendered
again without training.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import arms, common, removal
from xguide_jax import reporting, training

CONTROL = "random"  # the arm whose masks look at no saliency
LONG = {
    "gradient": "gradient",
    "smooth_grad": "SmoothGrad",
    "integrated_gradients": "integrated gradients",
}

Results = Mapping[str, Sequence[tuple[dict[str, float], dict[str, np.ndarray]]]]


def write(
    run: common.Run, arm_names: Sequence[str], class_names: Sequence[str]
) -> None:
    """Writes metrics.json, tables, figures and report.html, and prints the summary.

    Args:
      run: a run of which every arm and seed is finished.
      arm_names: the arms, in the order of the tables.
      class_names: what the labels stand for.
    """
    seeds = range(run.config.seed, run.config.seed + run.config.seeds)
    results = {
        arm: [arms.load_result(run, arm, seed) or ({}, {}) for seed in seeds]
        for arm in arm_names
    }
    tables = make_tables(results)
    undefined = {
        f"{arm}: images without a ranking by {LONG[name]}": int(
            sum(numbers[f"undefined/{name}"] for numbers, _ in repeats)
        )
        for arm, repeats in results.items()
        for name in removal.EXPLAINERS
    }
    figures = draw(run, results, class_names)
    for name, (_, png) in figures.items():
        common.write_bytes(run.path / "figures" / f"{name}.png", png)
    numbers = {arm: [n for n, _ in repeats] for arm, repeats in results.items()}
    training.write_json(run.path / "metrics.json", numbers)
    reporting.write_report(
        run.path / "report.html",
        title="Saliency-guided training on images",
        summary=SUMMARY.format(seeds=seeds_text(len(seeds))),
        tables=tables,
        figures=dict(figures.values()),
        config=common.read_json(run.path / "config.json"),
        undefined=undefined,
    )
    texts = [f"{name}\n\n{reporting.format_table(t)}" for name, t in tables.items()]
    common.write_bytes(run.path / "tables.md", "\n\n".join(texts).encode())
    print(
        "",
        *texts[:2],
        f"All tables and figures: {run.path / 'report.html'}",
        sep="\n\n",
    )


SUMMARY = """\
The published CNN was trained unguided and with a consistency loss between the
prediction on an image and on the image whose lowest-ranked pixels were replaced by
noise ({seeds}). All arms of a seed share split, initial weights and batches; nothing
was selected.

Areas are under the accuracy curve as pixels are removed (most salient first; low is
steep) or inserted (high is steep). A gap is by how much the explainer's order beats
random orders of the same network, averaged over draws; it is what compares networks.
'random' replaces pixels without looking at saliency; 'k=0' replaces none, and with
dropout is a consistency regulariser. Training filled with the uniform noise, never with
black.
"""


def seeds_text(count: int) -> str:
    """How many seeds, in words a reader cannot overlook.

    Args:
      count: at least 1.

    Returns:
      'one seed, no interval' or 'N seeds'.
    """
    return "one seed, no interval" if count == 1 else f"{count} seeds"


def make_tables(results: Results) -> dict[str, list[dict[str, Any]]]:
    """The tables of the report.

    Args:
      results: {arm: what was measured of each seed}.

    Returns:
      {caption: rows}; the first two are for the terminal as well.
    """
    numbers = next(iter(results.values()))[0][0]
    places = [
        key.removesuffix("/random")
        for key in numbers
        if key.startswith(tuple(removal.VIEWS)) and key.endswith("/random")
    ]
    seeds = seeds_text(len(next(iter(results.values()))))
    tables = {f"Accuracy, cost and attribution error ({seeds})": accuracies(results)}
    for reference in (CONTROL, "unguided"):
        if reference in results:
            caption = f"Gap minus the gap of the {reference} arm, paired by seed"
            tables[f"{caption} ({seeds})"] = gaps(results, reference, places)
    for place in places:
        view, fill = place.split("/")
        tables[f"Area under the {view} curve, {fill} fill ({seeds})"] = [
            {
                "arm": arm,
                **{LONG[e]: mean(repeats, f"{place}/{e}") for e in LONG},
                "random order": mean(repeats, f"{place}/random"),
                **{f"gap, {LONG[e]}": mean(repeats, f"gap/{place}/{e}") for e in LONG},
            }
            for arm, repeats in results.items()
        ]
    return tables


def accuracies(results: Results) -> list[dict[str, Any]]:
    """Accuracy, completeness error and speed, a row an arm.

    Args:
      results: {arm: what was measured of each seed}.

    Returns:
      Rows.
    """
    return [
        {
            "arm": arm,
            "test accuracy": mean(repeats, "test_accuracy"),
            **{
                f"test, minus {reference}": versus(
                    results, arm, reference, "test_accuracy"
                )
                for reference in (CONTROL, "unguided")
                if reference in results
            },
            "validation accuracy": mean(repeats, "validation_accuracy"),
            "completeness error": mean(repeats, "completeness_error"),
            "images/s": mean(repeats, "images_per_second"),
        }
        for arm, repeats in results.items()
    ]


def gaps(
    results: Results, reference: str, places: Sequence[str]
) -> list[dict[str, Any]]:
    """Every arm's gap to its own random order, minus the reference arm's.

    Args:
      results: {arm: what was measured of each seed}.
      reference: an arm.
      places: '<view>/<fill>'.

    Returns:
      Rows.
    """
    return [
        {
            "arm": arm,
            "view and fill": place.replace("/", ", "),
            **{
                LONG[e]: versus(results, arm, reference, f"gap/{place}/{e}")
                for e in LONG
            },
        }
        for arm in results
        if arm != reference
        for place in places
    ]


def mean(repeats: Sequence[tuple[dict[str, float], Any]], key: str) -> float:
    """Mean of one number over seeds; NaN if a seed has none.

    Args:
      repeats: what was measured of each seed.
      key: of the number.

    Returns:
      The mean.
    """
    return float(np.mean([numbers[key] for numbers, _ in repeats]))


def versus(results: Results, arm: str, reference: str, key: str) -> str:
    """An arm's number minus another's, paired by seed.

    Args:
      results: {arm: what was measured of each seed}.
      arm: the one.
      reference: the other.
      key: of the number.

    Returns:
      The mean difference, with its interval where there are several seeds.
    """
    if arm == reference:
        return "reference"
    values = [[n[key] for n, _ in results[name]] for name in (arm, reference)]
    difference = reporting.paired_difference(*values)
    return f"{difference.value:+.3f}" if len(values[0]) == 1 else str(difference)


def draw(
    run: common.Run, results: Results, class_names: Sequence[str]
) -> dict[str, tuple[str, bytes]]:
    """The figures of the report.

    Args:
      run: for its metrics.jsonl.
      results: {arm: what was measured of each seed}.
      class_names: what the labels stand for.

    Returns:
      {file name: (caption, PNG)}.
    """
    figures: dict[str, tuple[str, Any]] = {}
    first = {arm: repeats[0][1] for arm, repeats in results.items()}
    shown = next(iter(first.values()))
    labels = [class_names[label] for label in shown["labels"]]
    for name, long in LONG.items():
        maps = {arm: arrays[f"maps/{name}"] for arm, arrays in first.items()}
        figures[f"maps_{name}"] = (
            f"{long.capitalize()} of the label's logit, the same test images by every arm, "
            "one scale",
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
            arm: np.stack([a[f"curve/{view}/{fill}/random"] for _, a in repeats])
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
    figures["training"] = ("Training", training_figure(run, results))
    return {
        name: (caption, reporting.to_png(figure))
        for name, (caption, figure) in figures.items()
    }


def training_figure(run: common.Run, results: Results) -> Any:
    """Losses during training, from metrics.jsonl.

    Args:
      run: for its metrics.jsonl.
      results: {arm: what was measured of each seed}.

    Returns:
      A figure.
    """
    records = training.read_records(run.path / "metrics.jsonl")
    steps = sorted({record["step"] for record in records})
    names = {"task": "cross-entropy (nats)", "sgt": "consistency loss (nats)",
             "gradient_norm": "gradient norm"}  # fmt: skip
    series: dict[str, dict[str, np.ndarray]] = {}
    for arm in results:
        mine = [record for record in records if record["arm"] == arm]
        seeds = sorted({record["seed"] for record in mine})
        for name in names:
            rows = [
                [record.get(name) for record in mine if record["seed"] == seed]
                for seed in seeds
            ]
            if rows and rows[0] and rows[0][0] is not None:
                series.setdefault(arm, {})[name] = np.array(rows, float)
    return reporting.training_curves(series, steps=np.asarray(steps), labels=names)
