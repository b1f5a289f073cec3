"""What is said of attention supervision: tables, figures, the finding."""

from typing import Literal

import numpy as np

from experiments.attention_supervision import tables, terms
from experiments.attention_supervision.tables import Found
from experiments.running import report, results
from experiments.texts import columns, showing
from xguide_jax import reporting

LOGGED = {
    "task": "cross-entropy (nats)",
    "guidance/unscaled": "guidance loss",
    "gradient_norm": "gradient norm",
}
SUMMARY = """\
Texts were classified by a transformer whose attention, as the class token reads it in
the last layer, was pulled to what people marked ({seeds}). 'heads' supervises the three
heads of the published command, 'all_heads' every one, 'divergence' their mean by a
Kullback-Leibler divergence, 'layer' the weights of an extra attention layer that pools
the states in place of the class token; 'unguided_layer' is that network alone. The
weights are the published ones, times 8, because the published code sums over batches of
8 where a mean is taken here. Nothing was selected. All arms of a seed share split,
initial weights and batches.

'@permuted' is the control: the marks of each text are permuted among its words, anew in
each step. Agreement with the marks is of the class that the network predicts; gradient
x input and integrated gradients are explainers that no arm was trained on. Attention
that agrees with people need not be what a prediction rests on: compare both.
"""


def make_report(found: Found) -> report.Report:
    """The report of a finished run.

    Args:
      found: results of all arms.

    Returns:
      A `report.Report`.
    """
    seeds = results.seeds_text(len(next(iter(found.values()))))
    tests = columns.tests(found)
    made = {"Accuracy": report.table(tables.accuracies(found), found)}
    if probes := tables.probes(found):
        made["Accuracy on probes of three heuristics, two classes"] = report.table(
            probes, found
        )
    for test in tests:
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
        summary=SUMMARY.format(seeds=seeds),
        findings=_findings(found, tests[-1]),
        tables={f"{caption} ({seeds})": rows for caption, rows in made.items()},
        figures=_figures(found, tests[-1]),
        undefined=columns.undefined_counts(found),
        logged=LOGGED,
        best=best,
        apart=[name for name in found if name not in tables.guided(found)],
        texts=showing.marked_texts(found, "attention"),
    )


def _findings(found: Found, test: str) -> list[str]:
    """Accuracy where the artefact does not help, and agreement with people."""
    numbers = {
        f"accuracy ({test})": columns.accuracy(test),
        f"agreement of integrated gradients with the marks (AUPRC, {test})": (
            columns.agreed(columns.Place(test, "integrated_gradients"))
        ),
    }
    return [
        line
        for what, get in numbers.items()
        for line in report.findings(
            found, what, get, guided=tables.guided(found), unguided=terms.UNGUIDED,
            control_of=tables.control_of,
        )
    ]  # fmt: skip


def _figures(found: Found, test: str) -> report.Figures:
    axes = (columns.agreed(columns.Place(test, "attention")), columns.accuracy(test))
    points = {
        arm: np.array([results.values(repeats, get) for get in axes]).T
        for arm, repeats in found.items()
    }
    return {
        "tradeoff": (
            f"Agreement of attention with the marks and accuracy, {test}; small points "
            "are seeds",
            reporting.tradeoff(
                points,
                x_label=f"AUPRC of attention ({test})",
                y_label=f"accuracy ({test})",
            ),
        ),
    }
