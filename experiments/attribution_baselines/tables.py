"""The tables of attribution baselines: rows of numbers, means over seeds."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from experiments.attribution_baselines import convergence, judging, photographs
from experiments.attribution_baselines.judging import Judged
from experiments.attribution_baselines.measuring import (
    BASELINES,
    COMMON,
    LAYERS,
    Measured,
)
from experiments.attribution_baselines.methods import INPUT
from experiments.running import results
from xguide_jax import intervals

Found = Mapping[str, Sequence[results.Result[Measured]]]
Rows = Sequence[Mapping[str, object]]
# What one map set says, beside the target that all are compared on.
Number = Callable[[Judged, np.ndarray], float]


def own_error(judged: Judged, common: np.ndarray) -> float:
    """Attribution error against a method's own baseline; a `Number`."""
    return judging.error(judged.totals, judged.own)


def common_error(judged: Judged, common: np.ndarray) -> float:
    """Attribution error against the common baseline; a `Number`.

    Undefined for the methods that should add up to nothing.
    """
    if np.isnan(judged.own).all():
        return float("nan")
    return judging.error(judged.totals, common)


def own_excess(judged: Judged, common: np.ndarray) -> float:
    """What is attributed above a method's own target; a `Number`."""
    return judging.excess(judged.totals, judged.own)


def energy(judged: Judged, common: np.ndarray) -> float:
    """Positive attribution in the region, mean of where it is defined; a `Number`."""
    defined = judged.energy[~np.isnan(judged.energy)]
    return float(defined.mean()) if len(defined) else float("nan")


def methods_of(measured: Measured | photographs.Photographs) -> list[str]:
    """The methods in the order they were judged in.

    Args:
      measured: of one network.

    Returns:
      Their names, those of layers alone behind those of the input.
    """
    return list(dict.fromkeys(judged.method for judged in measured.judged))


def number_of(
    measured: Measured | photographs.Photographs,
    method: str,
    layer: str,
    number: Number,
    *,
    baseline: str,
    common: str,
) -> float:
    """One number of one method at one layer.

    Args:
      measured: of one network.
      method: its name.
      layer: its name.
      number: which.
      baseline: for the methods that are told one.
      common: the baseline that all are compared on.

    Returns:
      The number; NaN where the method does not explain the layer.
    """
    for judged in measured.judged:
        if (judged.method, judged.layer) == (method, layer) and judged.baseline in (
            baseline,
            judging.IMPLICIT,
        ):
            return number(judged, measured.targets[common])
    return float("nan")


def over_seeds(
    repeats: Sequence[results.Result[Measured]],
    method: str,
    layer: str,
    number: Number,
    *,
    baseline: str = COMMON,
    common: str = COMMON,
) -> list[float]:
    """`number_of`, of every seed.

    Args:
      repeats: of an arm.
      method: its name.
      layer: its name.
      number: which.
      baseline: for the methods that are told one.
      common: the baseline that all are compared on.

    Returns:
      [S].
    """
    return [
        number_of(r.measured, method, layer, number, baseline=baseline, common=common)
        for r in repeats
    ]


def cell(values: Sequence[float], *, digits: int = 3) -> str:
    """A mean over seeds with the half width of its interval.

    Args:
      values: one a seed, NaN where undefined.
      digits: behind the point.

    Returns:
      '0.123 ± 0.004'; without the interval for one seed, '-' for none.
    """
    defined = np.array([value for value in values if not np.isnan(value)])
    if not len(defined):
        return "-"
    # Never a negative zero.
    text = f"{round(float(defined.mean()), digits) + 0.0:.{digits}f}"
    if len(defined) == 1:
        return text
    low, high = intervals.t_interval(defined[:, None])
    return f"{text} ± {float(high[0] - low[0]) / 2:.{digits}f}"


def by_layer(
    repeats: Sequence[results.Result[Measured]],
    numbers: Mapping[str, Number],
    *,
    baseline: str = COMMON,
) -> Rows:
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
            f"{text}: {layer}": cell(
                over_seeds(repeats, method, layer, number, baseline=baseline)
            )
            for text, number in numbers.items()
            for layer in LAYERS
        }
        for method in methods_of(repeats[0].measured)
    ]


def baselines(repeats: Sequence[results.Result[Measured]]) -> Rows:
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
            "nats from the prior": cell([m.neutrality[name] for m in measured]),
            "mean |f(x) - f(b)|": cell(
                [float(np.abs(m.targets[name]).mean()) for m in measured], digits=2
            ),
            **{
                f"{method}, own error": cell(
                    over_seeds(repeats, method, INPUT, own_error, baseline=name)
                )
                for method in path
            },
            f"{exact}, judged against {COMMON!r}": cell(
                over_seeds(repeats, exact, INPUT, common_error, baseline=name)
            ),
        }
        for name in BASELINES
    ]


def wrong_baseline(repeats: Sequence[results.Result[Measured]]) -> Rows:
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
            f"against {common}": cell(
                over_seeds(
                    repeats, exact, INPUT, common_error, baseline=made, common=common
                ),
                digits=2,
            )
            for common in BASELINES
        }
        for made in BASELINES
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
        over_seeds(repeats, exact, INPUT, common_error, baseline=made, common=common)
        for made in BASELINES
        for common in BASELINES
        if made != common
    ]
    return [float(value) for value in np.median(pairs, axis=0)]


def converging(found: Found) -> Rows:
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
                        "slope, 8 to 128": cell(
                            [convergence.slope(e, tuple(counts)) for e in errors],
                            digits=2,
                        )
                    }
                )
    return rows


def of_photographs(seen: photographs.Photographs) -> Rows:
    """A row a method and layer of the packaged network.

    Args:
      seen: what was measured.

    Returns:
      Rows; energy is of the photographs with a mask.
    """
    ask = lambda method, layer, number: number_of(
        seen, method, layer, number,
        baseline=photographs.COMMON, common=photographs.COMMON,
    )  # fmt: skip
    numbers: dict[str, Number] = {
        "error, own": own_error,
        "too much": own_excess,
        f"error, {photographs.COMMON}": common_error,
        "energy in the mask": energy,
    }
    places = dict.fromkeys((judged.method, judged.layer) for judged in seen.judged)
    return [
        {"method": method, "layer": layer}
        | {text: cell([ask(method, layer, n)]) for text, n in numbers.items()}
        for method, layer in places
    ]


def integrated_of(measured: Measured) -> str:
    """Integrated gradients with the most points.

    Args:
      measured: of one network.

    Returns:
      Its name.
    """
    return [m for m in methods_of(measured) if m.startswith("integrated")][-1]


def _has(measured: Measured, method: str, baseline: str) -> bool:
    return any((j.method, j.baseline) == (method, baseline) for j in measured.judged)
