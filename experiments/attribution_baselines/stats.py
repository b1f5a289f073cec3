"""Single numbers of attribution baselines, and what they are over seeds."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from experiments.attribution_baselines import judging, photographs
from experiments.attribution_baselines.judging import Judged
from experiments.attribution_baselines.measuring import (
    COMMON,
    Measured,
)
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
