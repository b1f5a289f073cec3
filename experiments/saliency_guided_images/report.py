"""What is said of saliency-guided training on images: tables and figures."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.running import report, results
from experiments.saliency_guided_images import measures
from experiments.saliency_guided_images.measures import EXPLAINERS, VIEWS, Measured
from xguide_jax import evaluation, reporting

Found = Mapping[str, Sequence[results.Result[Measured]]]

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


def make_report(found: Found) -> report.Report:
    """The report of a finished run.

    Args:
      found: results of all arms.

    Returns:
      A `report.Report`.
    """
    seeds = results.seeds_text(len(next(iter(found.values()))))
    gap = lambda m: against(m, "removal", "black", "integrated_gradients").gap
    return report.Report(
        title="Saliency-guided training on images",
        summary=SUMMARY.format(seeds=seeds),
        findings=report.findings(
            found,
            "gap of integrated gradients, removal with black, 0 where undefined,",
            lambda m: gap(m).mean_or_zero,
            guided=[a for a in found if a in ("signed", "magnitude")],
            unguided="unguided",
            control_of=lambda f, arm: CONTROL,
        ),
        tables={f"{n} ({seeds})": rows for n, rows in make_tables(found).items()},
        figures=draw(found),
        undefined=_undefined(found),
        logged=LOGGED,
        best={"test accuracy": "max"},
        apart=("unguided", CONTROL, "k=0"),
    )


def against(
    measured: Measured, view: str, fill: str, explainer: str
) -> evaluation.AgainstChance:
    """One explainer in one view with one fill.

    Args:
      measured: of one network.
      view: 'removal' or 'insertion'.
      fill: its name.
      explainer: its name.

    Returns:
      The record.
    """
    return getattr(measured.removal.maps[explainer][fill], view)


def _places(found: Found) -> list[tuple[str, str]]:
    fills = next(iter(found.values()))[0].measured.removal.chance
    return [(view, fill) for fill in fills for view in VIEWS]


def _unranked(measured: Measured, explainer: str) -> int:
    fills = measured.removal.maps[explainer]
    return next(iter(fills.values())).removal.gap.num_undefined


def make_tables(found: Found) -> dict[str, list[dict[str, Any]]]:
    """The tables of the report.

    Args:
      found: results of all arms.

    Returns:
      {caption: rows}.
    """
    made = {"Accuracy, cost and attribution error": report.table(_costs(found), found)}
    lost = any(
        _unranked(r.measured, e)
        for rs in found.values()
        for r in rs
        for e in EXPLAINERS
    )
    for reference in (CONTROL, "unguided"):
        if reference in found:
            caption = f"Gap minus the gap of the {reference} arm, paired by seed"
            made[caption] = _gaps(found, reference, zero=False)
            if lost:
                caption = "The same with a gap of 0 for undefined images, minus the"
                made[f"{caption} {reference} arm"] = _gaps(found, reference, zero=True)
    for place in _places(found):
        caption = f"Area under the {place[0]} curve, {place[1]} fill"
        made[caption] = report.table(_areas(*place), found)
    return made


def _get(place: tuple[str, str], e: str, *, zero: bool) -> Callable[[Measured], float]:
    part = "mean_or_zero" if zero else "mean"
    return lambda m: getattr(against(m, *place, e).gap, part)


def _areas(view: str, fill: str) -> list[report.Column]:
    own = lambda e: lambda m: against(m, view, fill, e).area
    chance = lambda m: getattr(m.removal.chance[fill], view).area
    return [
        *(report.mean(LONG[e], own(e)) for e in LONG),
        report.mean("random order", chance),
        *(
            report.mean(f"gap, {LONG[e]}{text}", _get((view, fill), e, zero=zero))
            for zero, text in {False: "", True: ", undefined as 0"}.items()
            for e in LONG
        ),
    ]


def _costs(found: Found) -> list[report.Column]:
    test = lambda m: m.test_accuracy
    area = lambda fill: lambda m: against(m, "removal", fill, "gradient").area
    unranked = lambda m: sum(_unranked(m, e) for e in EXPLAINERS)
    return [
        report.mean("test accuracy", test),
        *(
            report.minus(f"test, minus {other}", other, test)
            for other in (CONTROL, "unguided")
            if other in found
        ),
        report.mean("validation accuracy", lambda m: m.validation_accuracy),
        *(report.mean(f"removal area, {f}", area(f)) for f in ("black", "uniform")),
        report.mean("completeness error", lambda m: m.completeness.error),
        report.total("undefined rankings", unranked),
        report.speed(),
    ]


def _gaps(found: Found, reference: str, *, zero: bool) -> list[dict[str, Any]]:
    """Every arm's gap to its own random order, minus the reference arm's."""

    def rows(place: tuple[str, str], e: str) -> Callable[[Measured], Any] | None:
        view, fill = place
        return None if zero else lambda m: against(m, view, fill, e).rows

    cell = lambda arm, place, e: results.versus(
        found, arm, reference, _get(place, e, zero=zero), rows=rows(place, e)
    )
    return [
        {
            "arm": arm,
            "view and fill": ", ".join(place),
            **{LONG[e]: cell(arm, place, e) for e in LONG},
        }
        for arm in found
        if arm != reference
        for place in _places(found)
    ]


def _undefined(found: Found) -> dict[str, int]:
    counts = {}
    for arm, rs in found.items():
        for e in EXPLAINERS:
            counts[f"{arm}: images without a ranking by {LONG[e]}"] = results.total(
                rs, functools.partial(_unranked, explainer=e)
            )
        counts[f"{arm}: images without a prediction in random orders"] = results.total(
            rs, lambda m: m.removal.num_undefined
        )
        counts[f"{arm}: images without a completeness error"] = results.total(
            rs, lambda m: m.completeness.num_values - m.completeness.num_defined
        )
    return counts


def draw(found: Found) -> dict[str, tuple[str, Any]]:
    """The figures of the report.

    Args:
      found: results of all arms.

    Returns:
      {file name: (caption, figure)}.
    """
    figures: dict[str, tuple[str, Any]] = {}
    first = {arm: repeats[0].measured.shown for arm, repeats in found.items()}
    shown = next(iter(first.values()))
    for name, long in LONG.items():
        maps = {arm: s.maps[name] for arm, s in first.items()}
        figures[f"maps_{name}"] = (
            f"{long[0].upper()}{long[1:]} of the label's logit, the same test images "
            "by every arm, one scale",
            reporting.saliency_grid(
                shown.inputs, maps, labels=shown.labels, quantile=0.995
            ),
        )
    for view, fill in sorted(_places(found), key=lambda p: (p[0], p[1])):
        for name in sorted(LONG):
            of = {
                arm: [against(r.measured, view, fill, name) for r in rs]
                for arm, rs in found.items()
            }
            verb = "removed" if view == "removal" else "inserted"
            figures[f"{view}_{fill}_{name}"] = (
                f"{view.capitalize()} by {LONG[name]}, {fill} fill; dashed: random "
                "orders of the same network",
                reporting.curves(
                    {arm: np.stack([o.curve for o in os]) for arm, os in of.items()},
                    fractions=np.asarray(measures.FRACTIONS),
                    controls={
                        arm: np.stack([o.chance.curve for o in os])
                        for arm, os in of.items()
                    },
                    x_label=f"fraction of pixels {verb}, most salient first",
                    y_label="accuracy",
                ),
            )
    return figures
