"""The tables of saliency-guided training on images, most of them lists of columns."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.running import report, results, undefined
from experiments.saliency_guided_images.measures import VIEWS, Measured
from xguide_jax import evaluation

Found = Mapping[str, Sequence[results.Result[Measured]]]
Rows = list[dict[str, Any]]
# (view, fill): ('removal', 'black')
Place = tuple[str, str]

CONTROL = "random"  # the arm whose masks look at no saliency
LONG = {
    "gradient": "gradient",
    "smooth_grad": "SmoothGrad",
    "integrated_gradients": "integrated gradients",
}


def against(measured: Measured, place: Place, name: str) -> evaluation.AgainstChance:
    """One explainer in one view with one fill.

    Args:
      measured: of one network.
      place: view and fill.
      name: of the explainer.

    Returns:
      The record.
    """
    view, fill = place
    return getattr(measured.removal.maps[name][fill], view)


def places(found: Found) -> list[Place]:
    """Every view with every fill that was measured.

    Args:
      found: results of all arms.

    Returns:
      [(view, fill)].
    """
    fills = next(iter(found.values()))[0].measured.removal.chance
    return [(view, fill) for fill in fills for view in VIEWS]


def make_tables(found: Found) -> dict[str, Rows]:
    """The tables of the report.

    Args:
      found: results of all arms.

    Returns:
      {caption: rows}.
    """
    made = {"Accuracy, cost and attribution error": report.table(_costs(found), found)}
    lost = any(_all_unranked(r.measured) for rs in found.values() for r in rs)
    for reference in (CONTROL, "unguided"):
        if reference in found:
            caption = f"Gap minus the gap of the {reference} arm, paired by seed"
            made[caption] = _gaps(found, reference, zero=False)
            if lost:
                caption = "The same with a gap of 0 for undefined images, minus the"
                made[f"{caption} {reference} arm"] = _gaps(found, reference, zero=True)
    for view, fill in places(found):
        caption = f"Area under the {view} curve, {fill} fill"
        made[caption] = report.table(_areas(view, fill), found)
    return made


def undefined_counts(found: Found) -> dict[str, int]:
    """How often an image has no ranking, no prediction or no completeness error.

    Args:
      found: results of all arms.

    Returns:
      {'arm: what is lacking': count}.
    """
    return undefined.counts(
        found,
        {
            **{
                f"images without a ranking by {long}": (
                    functools.partial(_unranked, name=name)
                )
                for name, long in LONG.items()
            },
            "images without a prediction in random orders": (
                lambda m: m.removal.num_undefined
            ),
            "images without a completeness error": (
                lambda m: m.completeness.num_values - m.completeness.num_defined
            ),
        },
    )


def _unranked(measured: Measured, name: str) -> int:
    """Images that an explainer cannot rank, whatever they are filled with."""
    fills = measured.removal.maps[name]
    return next(iter(fills.values())).removal.gap.num_undefined


def _all_unranked(measured: Measured) -> int:
    return sum(_unranked(measured, name) for name in LONG)


def _costs(found: Found) -> list[report.Column]:
    test = lambda m: m.test_accuracy
    area = lambda fill: lambda m: against(m, ("removal", fill), "gradient").area
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
        report.total("undefined rankings", _all_unranked),
        report.speed(),
    ]


def _areas(view: str, fill: str) -> list[report.Column]:
    area = lambda name: lambda m: against(m, (view, fill), name).area
    chance = lambda m: getattr(m.removal.chance[fill], view).area
    return [
        *(report.mean(long, area(name)) for name, long in LONG.items()),
        report.mean("random order", chance),
        *(
            report.mean(f"gap, {long}{text}", _gap((view, fill), name, zero=zero))
            for zero, text in {False: "", True: ", undefined as 0"}.items()
            for name, long in LONG.items()
        ),
    ]


def _gaps(found: Found, reference: str, *, zero: bool) -> Rows:
    """Every arm's gap to its own random order, minus the reference arm's."""

    def rows(place: Place, name: str) -> Callable[[Measured], Any] | None:
        return None if zero else lambda m: against(m, place, name).rows

    def cell(arm: str, place: Place, name: str) -> str:
        get = _gap(place, name, zero=zero)
        return results.versus(found, arm, reference, get, rows=rows(place, name))

    return [
        {
            "arm": arm,
            "view and fill": ", ".join(place),
            **{long: cell(arm, place, name) for name, long in LONG.items()},
        }
        for arm in found
        if arm != reference
        for place in places(found)
    ]


def _gap(place: Place, name: str, *, zero: bool) -> Callable[[Measured], float]:
    part = "mean_or_zero" if zero else "mean"
    return lambda measured: getattr(against(measured, place, name).gap, part)
