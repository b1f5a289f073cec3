"""What is said of saliency-guided training on tokens, and how it is to be read."""

from typing import Literal

import numpy as np

from experiments.running import report, results
from experiments.saliency_guided_text import tables, terms
from experiments.saliency_guided_text.tables import Found
from experiments.texts import columns, options, showing
from xguide_jax import reporting

JUDGE = "integrated_gradients"
LOGGED = {
    "task": "cross-entropy (nats)",
    "sgt": "consistency loss (nats)",
    "gradient_norm": "gradient norm",
}
SUMMARY = """\
Texts were classified by a transformer that was trained unguided and with a consistency
loss between the prediction on a text and on the text whose lowest-ranked tokens gave
way to the last salient token before them ({seeds}), or the next one where a text of a
pair has none before. The gradient at the word embeddings was summed over their
features; [CLS], [SEP] and padding are never replaced and never counted. No code of the
method on texts was released: layer, filling and fraction are ours. All arms of a seed
share split, initial weights and batches; nothing was selected.

Recovery is how well the magnitudes of a map agree with the marks: {marked}. A gap is by
how much a map beats random orders of the same network on the same texts, in probability
of the predicted class, averaged over 1, 5, 10, 20 and 50 % of the tokens; a text that a
map does not rank counts as 0. 'random' replaces tokens without looking at saliency;
'k=0' replaces none, and without dropout its loss is 0: it is the unguided arm again.
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
    tests = columns.tests(found)
    made = {"Accuracy": report.table(tables.accuracies(found), found)}
    for test in tests:
        if test in columns.marked_tests(found):
            made[f"Recovery of the evidence, {test}"] = report.table(
                columns.agreements(test), found
            )
        for removal in ("deleted", "masked"):
            made[f"Gap to random orders, tokens {removal}, {test}"] = report.table(
                tables.gaps(test, removal), found
            )
        for reference in (terms.UNGUIDED, terms.RANDOM):
            if reference in found:
                caption = f"{test}, minus the {reference} arm, paired by seed"
                made[report.sentence(caption)] = report.table(
                    tables.differences(found, test, reference),
                    found,
                    without=[reference],
                )
    best: dict[str, Literal["max", "min"]] = dict.fromkeys(tests, "max")
    return report.Report(
        title="Saliency-guided training on tokens",
        summary=SUMMARY.format(seeds=seeds, marked=options.MARKED[dataset]),
        findings=_findings(found, tests[0]),
        tables={f"{caption} ({seeds})": rows for caption, rows in made.items()},
        figures=_figures(found, tests[0]),
        undefined=tables.undefined_counts(found),
        logged=LOGGED,
        best=best,
        apart=(terms.UNGUIDED, terms.RANDOM, "k=0"),
        texts=showing.marked_texts(found, JUDGE),
    )


def _findings(found: Found, test: str) -> list[str]:
    numbers = {
        f"recovery of the evidence by integrated gradients (AUPRC, {test})": (
            columns.agreed(columns.Place(test, JUDGE))
        ),
        f"comprehensiveness gap of integrated gradients ({test})": (
            tables.gap(test, JUDGE, "deleted", "comprehensiveness")
        ),
    }
    return [
        line
        for what, get in numbers.items()
        for line in report.findings(
            found, what, get,
            guided=[a for a in found if a in ("signed", "magnitude", "mean_magnitude")],
            unguided=terms.UNGUIDED, control_of=lambda f, arm: terms.RANDOM,
        )
    ]  # fmt: skip


def _figures(found: Found, test: str) -> report.Figures:
    axes = (
        columns.agreed(columns.Place(test, JUDGE)),
        tables.gap(test, JUDGE, "deleted", "comprehensiveness"),
    )
    points = {
        arm: np.array([results.values(repeats, get) for get in axes]).T
        for arm, repeats in found.items()
    }
    return {
        "tradeoff": (
            f"Recovery of the evidence and faithfulness, {test}; small points are "
            "seeds",
            reporting.tradeoff(
                points,
                x_label="AUPRC of integrated gradients with the evidence",
                y_label="comprehensiveness above random orders",
            ),
        ),
    }
