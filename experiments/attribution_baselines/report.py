"""What is said of attribution baselines: tables, figures and findings."""

from experiments.attribution_baselines import figures, findings, stats, tables
from experiments.attribution_baselines.measuring import COMMON
from experiments.attribution_baselines.stats import Found
from experiments.running import report, results

SUMMARY = """\
An attribution shares out a difference, f(x) - f(b), of the centred logit of the label.
The attribution error of a data set is Σ |sum of the map - difference| / Σ |difference|:
0 if every map adds up, and necessary but not sufficient, since noise can be rescaled to
it. What is attributed too much is the same with its sign; the two are equal for a
method that over-attributes everywhere. Each method is judged against the baseline that
is its own (the one it was given; 0 for products with the gradient and class activation
maps; f(x) itself for LRP; the background for expected gradients; none for the gradient,
SmoothGrad, occlusion and RISE, whose sums mean nothing) and against one that all are
compared on.

Digits on photographs of grass and gravel ({seeds}). {common!r} is the same canvas
before the digit was pasted on it: the digit's absence, and nothing else. 'crop' is
another canvas, 'zeros' grey of the mean brightness. At a layer every baseline is
carried there from the input, so that the difference is the same at each: behind the
average pooling of these networks the head is affine, and 'features' is the layer where
every method that multiplies a gradient with a difference is exact. 'untrained' is the
network before its first step; 'energy_cam' was guided by boxes on its Grad-CAM.

± is half the 95 % t interval over seeds. Convergence is measured on half of the images.
"""


def make_report(found: Found) -> report.Report:
    """The report of a finished run.

    Args:
      found: results of all arms.

    Returns:
      A `report.Report`.
    """
    first = next(iter(found))
    seeds = results.seeds_text(len(found[first]))
    errors = {"own": stats.own_error, COMMON: stats.common_error}
    rows: dict[str, stats.Rows] = {
        f"Attribution error against a method's own baseline and {COMMON!r}, {arm}": (
            tables.by_layer(repeats, errors)
        )
        for arm, repeats in found.items()
    }
    for arm, repeats in found.items():
        caption = f"Attributed too much, as a share of a method's own target, {arm}"
        rows[caption] = tables.by_layer(repeats, {"too much": stats.own_excess})
    rows[f"Baselines at the input, {first}"] = tables.baselines(found[first])
    rows["Integrated gradients made with one baseline, judged against another, at the "
         f"input, {first}"] = tables.wrong_baseline(found[first])  # fmt: skip
    for arm, repeats in found.items():
        caption = f"Error of every method at every layer against every baseline, {arm}"
        rows[caption] = tables.against_every_baseline(repeats)
    rows["Error of integrated gradients by number and place of points"] = (
        tables.converging(found)
    )
    for arm, repeats in found.items():
        # From 'no digit' the difference is 0 outside of the box, whatever the method.
        rows[f"Energy in the box, baseline 'zeros', {arm}"] = tables.by_layer(
            repeats, {"energy": stats.energy}, baseline="zeros"
        )
    rows["Accuracy on the balanced test"] = [
        {"arm": arm, "accuracy": results.mean(repeats, lambda m: m.accuracy)}
        for arm, repeats in found.items()
    ]
    tables_of_seeds = {f"{name} ({seeds})": r for name, r in rows.items()}
    seen = found[first][0].measured.photographs
    if seen is not None and seen.judged:
        caption = f"EfficientNet-Lite0 on {len(seen.names)} photographs"
        tables_of_seeds[caption] = tables.of_photographs(seen)
    return report.Report(
        title="Attribution baselines",
        summary=SUMMARY.format(seeds=seeds, common=COMMON),
        findings=findings.findings(found),
        tables=tables_of_seeds,
        figures=figures.make_figures(found),
        undefined={},
        logged={"task": "cross-entropy (nats)"},
    )
