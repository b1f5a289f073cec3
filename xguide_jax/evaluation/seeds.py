"""Comparisons over seeds: paired, because all arms of a seed share data and weights."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from xguide_jax import intervals


class Estimate(NamedTuple):
    """A comparison with its interval; NaN bounds where there is none.

    Attributes:
      value: the point estimate; NaN if undefined.
      low: lower bound; −inf if the interval is unbounded.
      high: upper bound; inf if the interval is unbounded.
      num_seeds: how many pairs it rests on, undefined ones dropped.
      num_given: how many there were.
    """

    value: float
    low: float
    high: float
    num_seeds: int
    num_given: int

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "undefined"
        complete = self.num_seeds == self.num_given
        seeds = f"{self.num_seeds} of {self.num_given} seeds"
        if self.num_seeds == 1:
            seeds = "one seed" if complete else seeds
            return f"{self.value:+.3f} ({seeds}, no interval)"
        if np.isnan([self.low, self.high]).any():
            seeds = "" if complete else f"{seeds}, "
            return f"{self.value:+.3f} ({seeds}no interval)"
        unbounded = np.isinf([self.low, self.high]).all()
        bounds = "unbounded" if unbounded else f"{self.low:+.3f}, {self.high:+.3f}"
        return f"{self.value:+.3f} [{bounds}]" + ("" if complete else f" ({seeds})")


def paired_difference(
    values: Sequence[float], references: Sequence[float], *, confidence: float = 0.95
) -> Estimate:
    """Mean of `values − references` over seeds with its paired t interval.

    d̄ ± t_{n−1} s / √n with d_i = values_i − references_i, s their standard deviation
    (n − 1); t = 2.776 for 95 % and five seeds. With one seed there is no interval.

    Args:
      values: [S], one a seed; pairs with a NaN on either side are dropped, and
        `num_seeds` falls short of `num_given`. What is infinite is kept.
      references: [S], of the same seeds in the same order.
      confidence: in (0, 1).

    Returns:
      An `Estimate`; NaN if no pair is left, without bounds where one is infinite.

    Raises:
      ValueError: if the lengths differ or `confidence` is outside (0, 1).
    """
    pairs = _defined(values, references, confidence)
    with np.errstate(invalid="ignore"):  # inf − inf
        differences = pairs[:, 0] - pairs[:, 1]
    count, given = len(differences), len(values)
    mean = float(differences.mean()) if count else np.nan
    if count < 2 or not np.isfinite(differences).all():
        return Estimate(mean, np.nan, np.nan, count, given)
    quantile = special.stdtrit(count - 1, (1 + confidence) / 2)
    half = float(quantile * differences.std(ddof=1) / np.sqrt(count))
    return Estimate(mean, mean - half, mean + half, count, given)


def ratio_of_means(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    seed: int = 0,
    num_resamples: int = 10_000,
    confidence: float = 0.95,
) -> Estimate:
    """Σ numerators / Σ denominators with a paired bootstrap over seeds.

    Seeds are drawn with replacement, numerator and denominator together; the bounds are
    percentiles of the resampled ratios. A mean of ratios would be dominated by the seed
    with the smallest denominator. Where the resampled denominators' own interval holds
    0, the data do not say which sign the ratio has nor how large it is: the interval is
    unbounded. Resamples whose denominators sum to 0, at most a few in a hundred
    otherwise, are left out.

    Args:
      numerators: [S], one a seed; pairs with a NaN on either side are dropped, and
        `num_seeds` falls short of `num_given`. What is infinite is kept.
      denominators: [S], of the same seeds in the same order.
      seed: of the resampling.
      num_resamples: how many, at least 1.
      confidence: in (0, 1).

    Returns:
      An `Estimate`; NaN if no pair is left or the denominators sum to 0, without bounds
      for fewer than two pairs and where one is infinite.

    Raises:
      ValueError: if the lengths differ, `confidence` is outside (0, 1) or
        `num_resamples` is below 1.
    """
    intervals.check_num_resamples(num_resamples)
    pairs = _defined(numerators, denominators, confidence)
    count, given = len(pairs), len(numerators)
    with np.errstate(invalid="ignore"):  # inf − inf, inf / inf
        top, bottom = pairs.sum(axis=0)
        ratio = float(top / bottom) if bottom != 0 else np.nan
    if count < 2 or not np.isfinite(pairs).all():
        return Estimate(ratio, np.nan, np.nan, count, given)
    draws = np.random.default_rng(seed).integers(count, size=(num_resamples, count))
    sums = pairs[draws].sum(axis=1)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    least, most = np.quantile(sums[:, 1], tails)
    if least <= 0 <= most:
        return Estimate(ratio, -np.inf, np.inf, count, given)
    sums = sums[sums[:, 1] != 0]
    low, high = np.quantile(sums[:, 0] / sums[:, 1], tails)
    return Estimate(ratio, float(low), float(high), count, given)


def _defined(
    values: Sequence[float], references: Sequence[float], confidence: float
) -> np.ndarray:
    """The pairs without a NaN, float64 [S', 2]."""
    if len(values) != len(references):
        raise ValueError(
            f"{len(values)} values and {len(references)} references are not pairs."
        )
    intervals.check_confidence(confidence)
    sides = [np.asarray(side, np.float64) for side in (values, references)]
    pairs = np.stack(sides, axis=1)
    return pairs[~np.isnan(pairs).any(axis=1)]
