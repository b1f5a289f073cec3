"""What is said of attention supervision: tables, figures, the finding."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from experiments.attention_supervision import tables, terms
from experiments.attention_supervision.measuring import Measured
from experiments.attention_supervision.tables import Found
from experiments.running import report, results
from experiments.texts import columns, options, showing
from xguide_jax import reporting

LOGGED = {
    "task": "cross-entropy (nats)",
    "guidance/unscaled": "guidance loss",
    "gradient_norm": "gradient norm",
}
SUMMARY = """\
Texts were classified by a transformer whose attention, as the class token reads it in
the last layer, was pulled to the marks: {marked} ({seeds}). 'heads' supervises the
three heads of the published command, 'all_heads' every one, 'divergence' their mean by
a Kullback-Leibler divergence, 'layer' the weights of an extra attention layer that
pools the states in place of the class token; 'unguided_layer' is that network alone.
The weights are the published ones, times 8, because the published code sums over
batches of 8 where a mean over all texts is taken here. Nothing was selected. All arms
of a seed share split, initial weights and batches.

'@permuted' is the control: the marks of a text, or of each text of a pair, are permuted
among its tokens, anew in each step. Agreement is of the texts with marks, and of the
class that the network predicts; 'attention' is the mean over all heads of the layer,
supervised or not. Gradient x input and integrated gradients are explainers that no arm
was trained on. Attention that agrees with people need not be what a prediction rests
on: compare both.
"""


def make_report(found: Found, *, dataset: str) -> report.Report:
    """The report of a finished run.

    Args:
      found: results of all arms.
      dataset: as the flag says.

    Returns:
      A `report.Report`.
    """
    seeds = results.seeds_text(len(next(iter(found.values()))))
    tests, marked = columns.tests(found), columns.marked_tests(found)
    made = {"Accuracy": report.table(tables.accuracies(found), found)}
    if probes := tables.probes(found):
        made["Accuracy on probes of three heuristics, two classes"] = report.table(
            probes, found
        )
    for test in marked:
        made[f"Agreement with the marks, {test}"] = report.table(
            columns.agreements(test), found
        )
        made[f"AUPRC of the marks, {test}, paired by seed"] = report.table(
            tables.plausibility_differences(test),
            found,
            without=[terms.UNGUIDED, terms.UNGUIDED_LAYER],
        )
    made["Where the class token's attention goes"] = report.table(
        tables.attended(found), found
    )
    best: dict[str, Literal["max", "min"]] = dict.fromkeys(tests, "max")
    return report.Report(
        title="Attention supervised by human rationales",
        summary=SUMMARY.format(seeds=seeds, marked=options.MARKED[dataset]),
        findings=_findings(found, tests[-1], marked[-1:]),
        tables={f"{caption} ({seeds})": rows for caption, rows in made.items()},
        figures=_figures(found, tests[-1], marked[-1:]),
        undefined=columns.undefined_counts(found),
        logged=LOGGED,
        best=best,
        apart=[name for name in found if name not in tables.guided(found)],
        texts=showing.marked_texts(found, "attention"),
    )


def _findings(found: Found, test: str, marked: Sequence[str]) -> list[str]:
    """Accuracy where the artefact does not help, and agreement with the marks."""
    numbers: dict[str, results.Get[Measured]] = {
        f"accuracy ({test})": columns.accuracy(test)
    }
    for name in marked:
        numbers[f"agreement of integrated gradients with the marks (AUPRC, {name})"] = (
            columns.agreed(columns.Place(name, "integrated_gradients"))
        )
    return [
        line
        for what, get in numbers.items()
        for line in report.findings(
            found, what, get, guided=tables.guided(found),
            unguided=tables.reference_of, control_of=tables.control_of,
        )
    ]  # fmt: skip


def _figures(found: Found, test: str, marked: Sequence[str]) -> report.Figures:
    if not marked:
        return {}
    agreed = columns.Place(marked[0], "attention")
    axes = (columns.agreed(agreed), columns.accuracy(test))
    points = {
        arm: np.array([results.values(repeats, get) for get in axes]).T
        for arm, repeats in found.items()
    }
    return {
        "tradeoff": (
            f"Agreement of attention with the marks ({marked[0]}) and accuracy "
            f"({test}); small points are seeds",
            reporting.tradeoff(
                points,
                x_label=f"AUPRC of attention ({marked[0]})",
                y_label=f"accuracy ({test})",
            ),
        ),
    }
