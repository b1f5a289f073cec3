"""What is said of saliency-guided training on series, and how it is to be read."""

from collections.abc import Callable
from typing import Any

from experiments.running import report, results, undefined
from experiments.saliency_guided_series import tables, terms
from experiments.saliency_guided_series.measuring import NAMES, Measured
from experiments.saliency_guided_series.tables import Found
from xguide_jax import reporting

JUDGE = "integrated_gradients"
LOGGED = {
    "task": "cross-entropy (nats)",
    "sgt": "consistency loss (nats)",
    "rrr": "squared gradients outside",
    "gradient_norm": "gradient norm",
}
SUMMARY = """\
Series were classified by networks that were trained unguided and with a consistency
loss between the prediction on a series and on the series whose lowest-ranked cells gave
way to uniform noise of their feature's range in the same series ({seeds}). No code of
the method on series was released: filling and fraction are ours. All arms of a seed
share series, initial weights and batches; nothing was selected, and no network was left
out for its accuracy.

Every arm was trained in each of {count} networks and sets. Their mean is taken in each
seed, and arms are compared by it, paired by seed: intervals are over seeds and speak of
these networks and sets alone. 'above in 3 of 4' counts those in which the mean over
seeds is higher.

A gap is by how much a map's order of removal beats random orders of the same network on
the same series, in accuracy; cells are replaced by noise of the range of all test
series that are explained. The rescaled gradient multiplies by how much the gradients
change without a step and without a cell; like integrated gradients, no arm is trained
on it.

'random' replaces cells without looking at saliency; 'k=0' replaces none, and without
dropout its loss is 0: it is the unguided arm again.
"""
KNOWN = """
Recovery is how well the magnitudes of a map agree with the true cells. AUP and AUR are
means of precision and recall over shares of the map's mass from 0.1 to 0.9; their
ceiling is 1, that of the published areas 0.8, so that those are 0.8 times these. AUP
and AUPRC of a map of noise are about the share of true cells, which stands beside them;
of a map that lies on the first or last steps they are lower where the block moves,
which seldom reaches the edges. 'right reasons' knows the true cells of every training
series: what it reaches is a limit, not a competitor.
"""
UNKNOWN = """
The series are read from files, split as given and not normalised. Which of their cells
are true nobody knows: there is no recovery, no arm that is told, and no part to
validate on.
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
    count = len(tables.settings_of(found))
    known = tables.knows_cells(found)
    return report.Report(
        title="Saliency-guided training on series",
        summary=SUMMARY.format(seeds=seeds, count=count)
        + (KNOWN if known else UNKNOWN),
        findings=_findings(found, known),
        tables={
            f"{caption} ({seeds})": rows
            for caption, rows in tables.make_tables(found).items()
        },
        figures=_figures(found),
        undefined=_undefined(found, known),
        logged=LOGGED,
        drawn=list(found)[: len(config.arms)],
        best={"test": "max"},
        apart=(terms.UNGUIDED, terms.RANDOM, "k=0", terms.ORACLE),
    )


def _findings(found: Found, known: bool) -> list[str]:
    settings = tables.settings_of(found)
    numbers: dict[str, tables.Get] = {"test accuracy": lambda m: m.accuracy}
    if known:
        numbers["AUPRC of integrated gradients"] = tables.recovered(JUDGE, "auprc")
        numbers["AUP of integrated gradients"] = tables.recovered(JUDGE, "precision")
    numbers["removal gap of integrated gradients"] = tables.gap(JUDGE, "removal")
    every = tables.pooled(found, settings)
    return [
        line
        for what, get in numbers.items()
        for line in report.findings(
            every, f"{what} (mean over {len(settings)} networks and sets)",
            tables.average(get),
            guided=[arm for arm in every if arm in terms.GUIDED],
            unguided=terms.UNGUIDED, control_of=lambda f, arm: terms.RANDOM,
        )
    ]  # fmt: skip


def _undefined(found: Found, known: bool) -> dict[str, int]:
    def unranked(name: str) -> Callable[[Measured], int]:
        return lambda m: m.removal.maps[name]["data range"].removal.gap.num_undefined

    def without_precision(name: str) -> Callable[[Measured], int]:
        return lambda m: m.recovery[name].precision.summary.num_undefined

    counted = {f"series unranked by {text}": unranked(n) for n, text in NAMES.items()}
    if known:
        for name, text in NAMES.items():
            counted[f"series without an AUP of {text}"] = without_precision(name)
    return undefined.counts(found, counted)


def _figures(found: Found) -> report.Figures:
    """The first set of each network: a strip of every arm, one scale."""
    first = {s.network: s for s in reversed(tables.settings_of(found))}
    figures = {}
    for network, setting in reversed(first.items()):
        shown = {
            arm: repeats[0].measured.shown
            for arm, repeats in tables.within(found, setting).items()
        }
        one = next(iter(shown.values()))
        for name in NAMES:
            outlined = "" if one.region is None else "; true cells are outlined"
            figures[f"strips_{network}_{name}"] = (
                f"{report.sentence(NAMES[name])} of the first test series, one scale, "
                f"{setting.name}{outlined}",
                reporting.series_strips(
                    one.series,
                    {arm: of_arm.maps[name] for arm, of_arm in shown.items()},
                    mask=one.mask,
                    region=one.region,
                    quantile=0.99,
                ),
            )
    return figures
