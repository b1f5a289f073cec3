"""Comparisons over seeds: paired, because all arms of a seed share data and weights."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special


class Estimate(NamedTuple):
    """A comparison with its interval; NaN bounds where there is none.

    Attributes:
      value: the point estimate.
      low: lower bound.
      high: upper bound.
      num_seeds: how many pairs it rests on, undefined ones dropped.
    """

    value: float
    low: float
    high: float
    num_seeds: int

    def __str__(self) -> str:
        if self.num_seeds == 0:
            return "undefined"
        if self.num_seeds == 1:
            return f"{self.value:+.3f} (one seed, no interval)"
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def paired_difference(
    values: Sequence[float], references: Sequence[float], *, confidence: float = 0.95
) -> Estimate:
    """Mean of `values − references` over seeds with its paired t interval.

    d̄ ± t_{n−1} s / √n with d_i = values_i − references_i, s their standard deviation
    (n − 1); t = 2.776 for 95 % and five seeds. With one seed there is no interval.

    Args:
      values: [S], one a seed; pairs with a NaN are dropped and not counted.
      references: [S], of the same seeds in the same order.
      confidence: in (0, 1).

    Returns:
      An `Estimate`; all NaN if no pair is left.

    Raises:
      ValueError: if the lengths differ or `confidence` is outside (0, 1).
    """
    _check(values, references, confidence)
    differences = np.subtract(values, references, dtype=np.float64)
    differences = differences[np.isfinite(differences)]
    count = len(differences)
    if count == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    mean = float(differences.mean())
    if count == 1:
        return Estimate(mean, np.nan, np.nan, 1)
    quantile = special.stdtrit(count - 1, (1 + confidence) / 2)
    half = float(quantile * differences.std(ddof=1) / np.sqrt(count))
    return Estimate(mean, mean - half, mean + half, count)


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
    with the smallest denominator.

    Args:
      numerators: [S], one a seed; pairs with a NaN are dropped and not counted.
      denominators: [S], of the same seeds in the same order.
      seed: of the resampling.
      num_resamples: how many, at least 1.
      confidence: in (0, 1).

    Returns:
      An `Estimate`; without bounds for fewer than two pairs.

    Raises:
      ValueError: if the lengths differ or `confidence` is outside (0, 1).
    """
    _check(numerators, denominators, confidence)
    pairs = np.stack([numerators, denominators], axis=1).astype(np.float64)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    count = len(pairs)
    if count == 0 or pairs[:, 1].sum() == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    ratio = float(pairs[:, 0].sum() / pairs[:, 1].sum())
    if count == 1:
        return Estimate(ratio, np.nan, np.nan, 1)
    draws = np.random.default_rng(seed).integers(count, size=(num_resamples, count))
    sums = pairs[draws].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = sums[:, 0] / sums[:, 1]
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(ratios, [tail, 1 - tail])
    return Estimate(ratio, float(low), float(high), count)


def _check(
    values: Sequence[float], references: Sequence[float], confidence: float
) -> None:
    if len(values) != len(references):
        raise ValueError(
            f"{len(values)} values and {len(references)} references are not pairs."
        )
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` (={confidence}) must lie in (0, 1).")
