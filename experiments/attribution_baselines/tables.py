"""The tables of attribution baselines: rows of numbers, means over seeds."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.attribution_baselines import (
    convergence,
    photographs,
    stats,
)
from experiments.attribution_baselines.measuring import (
    BASELINES,
    COMMON,
    LAYERS,
    Measured,
)
from experiments.attribution_baselines.methods import INPUT
from experiments.running import results


def by_layer(
    repeats: Sequence[results.Result[Measured]],
    numbers: Mapping[str, stats.Number],
    *,
    baseline: str = COMMON,
) -> stats.Rows:
    """A row a method; for each number a column a layer.

    Args:
      repeats: of an arm.
      numbers: {what it says: number}.
      baseline: for the methods that are told one.

    Returns:
      Rows.
    """
    return [
        {"method": method}
        | {
            f"{text}: {layer}": stats.cell(
                stats.over_seeds(repeats, method, layer, number, baseline=baseline)
            )
            for text, number in numbers.items()
            for layer in LAYERS
        }
        for method in stats.methods_of(repeats[0].measured)
    ]


def baselines(repeats: Sequence[results.Result[Measured]]) -> stats.Rows:
    """A row a baseline: how neutral it is, and what it makes of errors.

    Args:
      repeats: of an arm.

    Returns:
      Rows.
    """
    measured = [result.measured for result in repeats]
    told = dict.fromkeys(
        judged.method for judged in measured[0].judged if judged.baseline == COMMON
    )
    path = [m for m in told if any(_has(measured[0], m, b) for b in BASELINES[1:])]
    exact = integrated_of(measured[0])
    return [
        {
            "baseline": name,
            "nats from the prior": stats.cell([m.neutrality[name] for m in measured]),
            "mean |f(x) - f(b)|": stats.cell(
                [float(np.abs(m.targets[name]).mean()) for m in measured], digits=2
            ),
            **{
                f"{method}, own error": stats.cell(
                    stats.over_seeds(
                        repeats, method, INPUT, stats.own_error, baseline=name
                    )
                )
                for method in path
            },
            f"{exact}, judged against {COMMON!r}": stats.cell(
                stats.over_seeds(
                    repeats, exact, INPUT, stats.common_error, baseline=name
                )
            ),
        }
        for name in BASELINES
    ]


def wrong_baseline(repeats: Sequence[results.Result[Measured]]) -> stats.Rows:
    """Integrated gradients made with one baseline and judged against another.

    Args:
      repeats: of an arm.

    Returns:
      A row the baseline of the map, a column the one it is judged against.
    """
    exact = integrated_of(repeats[0].measured)
    return [
        {"made with": made}
        | {
            f"against {common}": stats.cell(
                stats.over_seeds(
                    repeats,
                    exact,
                    INPUT,
                    stats.common_error,
                    baseline=made,
                    common=common,
                ),
                digits=2,
            )
            for common in BASELINES
        }
        for made in BASELINES
    ]


def against_every_baseline(
    repeats: Sequence[results.Result[Measured]],
) -> stats.Rows:
    """Every method at every layer, judged against every baseline.

    A method that is told a baseline is told the one it is judged against, where it was
    made with that; else its map is that of `COMMON`. One that is told none has one map.

    Args:
      repeats: of an arm.

    Returns:
      A row a method and layer, a column a baseline.
    """

    def errors(method: str, layer: str, name: str) -> list[float]:
        ask = functools.partial(
            stats.over_seeds, repeats, method, layer, stats.common_error, common=name
        )
        told = ask(baseline=name)
        return ask(baseline=COMMON) if np.isnan(told).all() else told

    places = dict.fromkeys((j.method, j.layer) for j in repeats[0].measured.judged)
    return [
        {"method": method, "layer": layer}
        | {
            name: stats.cell(errors(method, layer, name), digits=2)
            for name in BASELINES
        }
        for method, layer in places
    ]


def disagreement(repeats: Sequence[results.Result[Measured]]) -> list[float]:
    """How far apart baselines are: the error of a map against another's target.

    Args:
      repeats: of an arm.

    Returns:
      [S], the median over pairs of baselines of the error of integrated gradients.
    """
    exact = integrated_of(repeats[0].measured)
    pairs = [
        stats.over_seeds(
            repeats, exact, INPUT, stats.common_error, baseline=made, common=common
        )
        for made in BASELINES
        for common in BASELINES
        if made != common
    ]
    return [float(value) for value in np.median(pairs, axis=0)]


def converging(found: stats.Found) -> stats.Rows:
    """A row an arm, layer and rule; a column a number of points; the slope.

    Args:
      found: results of all arms.

    Returns:
      Rows.
    """
    rows = []
    for arm, repeats in found.items():
        for layer in LAYERS:
            for rule in convergence.RULES:
                errors = [r.measured.convergence[layer][rule] for r in repeats]
                counts = [2**n for n in range(len(errors[0]))]
                rows.append(
                    {"arm": arm, "layer": layer, "points": rule}
                    | {
                        str(n): f"{np.mean([e[i] for e in errors]):.2g}"
                        for i, n in enumerate(counts)
                    }
                    | {
                        "slope, 8 to 128": stats.cell(
                            [convergence.slope(e, tuple(counts)) for e in errors],
                            digits=2,
                        )
                    }
                )
    return rows


def of_photographs(seen: photographs.Photographs) -> stats.Rows:
    """A row a method and layer of the packaged network.

    Args:
      seen: what was measured.

    Returns:
      Rows; the energy is of the photographs with a mask.
    """
    ask = lambda method, layer, number: stats.number_of(
        seen, method, layer, number,
        baseline=photographs.COMMON, common=photographs.COMMON,
    )  # fmt: skip
    numbers: dict[str, stats.Number] = {
        "error, own": stats.own_error,
        "too much": stats.own_excess,
        f"error, {photographs.COMMON}": stats.common_error,
        "energy in the mask": stats.energy,
    }
    places = dict.fromkeys((judged.method, judged.layer) for judged in seen.judged)
    return [
        {"method": method, "layer": layer}
        | {text: stats.cell([ask(method, layer, n)]) for text, n in numbers.items()}
        for method, layer in places
    ]


def integrated_of(measured: Measured) -> str:
    """Integrated gradients with the most points.

    Args:
      measured: of one network.

    Returns:
      Its name.
    """
    return [m for m in stats.methods_of(measured) if m.startswith("integrated")][-1]


def _has(measured: Measured, method: str, baseline: str) -> bool:
    return any((j.method, j.baseline) == (method, baseline) for j in measured.judged)
