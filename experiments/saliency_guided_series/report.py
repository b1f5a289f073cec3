"""What is said of saliency-guided training on series, and how it is to be read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.running import report, results, undefined
from experiments.saliency_guided_series import terms
from experiments.saliency_guided_series.measuring import NAMES, Measured
from xguide_jax import reporting

Found = Mapping[str, Sequence[results.Result[Measured]]]

RECOVERY = {"precision": "AUP", "recall": "AUR", "auprc": "AUPRC"}
JUDGE = "integrated_gradients"
LOGGED = {
    "task": "cross-entropy (nats)",
    "sgt": "consistency loss (nats)",
    "rrr": "squared gradients outside",
    "gradient_norm": "gradient norm",
}
SUMMARY = """\
Series were classified by a network ({network}) that was trained unguided and with a
consistency loss between the prediction on a series and on the series whose
lowest-ranked cells gave way to uniform noise of their feature's range in the same
series ({seeds}). The set: layout {layout}, process {process}. No code of the method on
series was released: filling and fraction are ours. All arms of a seed share series,
initial weights and batches; nothing was selected, and no network was left out for its
accuracy.

Recovery is how well the magnitudes of a map agree with the true cells. AUP and AUR are
means of precision and recall over shares of the map's mass, at most 1; the published
areas are 0.8 times these. A gap is by how much a map's order of removal beats random
orders of the same network on the same series, in accuracy; cells are replaced by noise
of the range of all test series.

'random' replaces cells without looking at saliency; 'k=0' replaces none, and without
dropout its loss is 0: it is the unguided arm again. 'right reasons' knows the true
cells of every training series: what it reaches is a limit, not a competitor.
"""


def make_report(found: Found, config: Any) -> report.Report:
    """The report of a finished run.

    Args:
      found: results of all arms.
      config: the flags.

    Returns:
      A `report.Report`.
    """
    seeds = results.seeds_text(len(next(iter(found.values()))))
    tables = {
        "Accuracy": [
            report.mean("test", lambda m: m.accuracy),
            report.mean("validation", lambda m: m.validation),
            report.speed(),
        ],
        "Recovery of the true cells": [
            report.mean(f"{text}, {RECOVERY[what]}", recovered(name, what))
            for what in RECOVERY
            for name, text in NAMES.items()
        ],
        "Gap to random orders": [
            report.mean(f"{text}, {view}", gap(name, view))
            for view in ("removal", "insertion")
            for name, text in NAMES.items()
        ],
    }
    made = {name: report.table(columns, found) for name, columns in tables.items()}
    for reference in (terms.UNGUIDED, terms.RANDOM):
        if reference in found:
            columns = [
                report.minus(f"{text}, {what}", reference, get)
                for name, text in NAMES.items()
                for what, get in (
                    ("AUP", recovered(name, "precision")),
                    ("AUR", recovered(name, "recall")),
                    ("removal gap", gap(name, "removal")),
                )
            ]
            rows = report.table(columns, found, without=[reference])
            made[f"Minus the {reference} arm, paired by seed"] = rows
    return report.Report(
        title="Saliency-guided training on series",
        summary=SUMMARY.format(
            seeds=seeds,
            network=config.network,
            layout=config.layout,
            process=config.process,
        ),
        findings=_findings(found),
        tables={f"{caption} ({seeds})": rows for caption, rows in made.items()},
        figures=_figures(found),
        undefined=undefined.counts(
            found,
            {
                f"series without an AUP of {text}": _without_precision(name)
                for name, text in NAMES.items()
            },
        ),
        logged=LOGGED,
        best={"test": "max"},
        apart=(terms.UNGUIDED, terms.RANDOM, "k=0", terms.ORACLE),
    )


def recovered(explainer: str, what: str) -> Callable[[Measured], float]:
    """Agreement with the true cells, averaged over series, 0 where undefined.

    Args:
      explainer: its name.
      what: of `RECOVERY`.

    Returns:
      What a column shows of a measurement.
    """
    return lambda m: getattr(m.recovery[explainer], what).summary.mean_or_zero


def gap(explainer: str, view: str) -> Callable[[Measured], float]:
    """By how much a map beats random orders of the same network.

    Args:
      explainer: its name.
      view: 'removal' or 'insertion'.

    Returns:
      What a column shows of a measurement; an unranked series counts as 0.
    """
    return lambda m: (
        getattr(m.removal.maps[explainer]["data range"], view).gap.mean_or_zero
    )


def _without_precision(explainer: str) -> Callable[[Measured], int]:
    return lambda m: m.recovery[explainer].precision.summary.num_undefined


def _findings(found: Found) -> list[str]:
    numbers = {
        "AUP of integrated gradients": recovered(JUDGE, "precision"),
        "AUR of integrated gradients": recovered(JUDGE, "recall"),
        "removal gap of integrated gradients": gap(JUDGE, "removal"),
    }
    return [
        line
        for what, get in numbers.items()
        for line in report.findings(
            found, what, get,
            guided=[arm for arm in found if arm in terms.GUIDED],
            unguided=terms.UNGUIDED, control_of=lambda f, arm: terms.RANDOM,
        )
    ]  # fmt: skip


def _figures(found: Found) -> report.Figures:
    first = {arm: repeats[0].measured for arm, repeats in found.items()}
    one = next(iter(first.values()))
    return {
        f"strips_{name}": (
            f"{text} of the first test series, one scale; true cells are outlined",
            reporting.series_strips(
                one.series[0],
                {arm: measured.maps[name][0] for arm, measured in first.items()},
                region=one.region[0],
                quantile=0.99,
            ),
        )
        for name, text in NAMES.items()
    }
