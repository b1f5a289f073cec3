"""Intervals of a mean over seeds or examples.

Rows `R` are the independent repetitions; columns `P` (points of a curve, say) are
treated one by one.
"""

import numpy as np
from scipy import special

from xguide_jax import deprecating


def t_interval(
    values: np.ndarray, *, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """The Student interval of the mean of the rows.

    mean ± t_{(1 + c) / 2, R−1} s / √R with c the confidence and s the sample standard
    deviation; the factor t is 2.776 for 95 % and five rows. For few repetitions, as
    seeds are.

    Args:
      values: float [R, P].
      confidence: in (0, 1).

    Returns:
      low and high, float64 [P]; NaN for fewer than two rows, and in a column that holds
      anything but finite numbers.

    Raises:
      ValueError: if `confidence` is outside (0, 1).
    """
    check_confidence(confidence)
    values = _finite_columns(values)
    num_rows = len(values)
    if num_rows < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    error = values.std(axis=0, ddof=1) / np.sqrt(num_rows)
    half_width = special.stdtrit(num_rows - 1, (1 + confidence) / 2) * error
    mean = values.mean(axis=0)
    return mean - half_width, mean + half_width


@deprecating.old_keywords(
    ("resamples",),
    instead="num_resamples=",
    lift=lambda resamples: {"num_resamples": resamples},
)
def bootstrap_interval(
    values: np.ndarray,
    *,
    seed: int,
    num_resamples: int = 1000,
    confidence: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """The percentile bootstrap interval of the mean of the rows.

    The (1 − c) / 2 and (1 + c) / 2 quantiles, c the confidence, of the means of rows
    drawn with replacement. For many repetitions, as examples are; too narrow for a
    handful.

    Args:
      values: float [R, P].
      seed: of the draws.
      num_resamples: how many times R rows are drawn, at least 1.
      confidence: in (0, 1).

    Returns:
      low and high, float64 [P]; NaN for fewer than two rows, and in a column that holds
      anything but finite numbers.

    Raises:
      ValueError: if `num_resamples` is below 1 or `confidence` is outside (0, 1).
    """
    check_num_resamples(num_resamples)
    check_confidence(confidence)
    values = _finite_columns(values)
    num_rows = len(values)
    if num_rows < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    # How often each row was drawn is all that its mean needs to know.
    rng = np.random.default_rng(seed)
    shares = np.full(num_rows, 1 / num_rows)
    counts = rng.multinomial(num_rows, shares, size=num_resamples)
    # (1 − 0.95) / 2 is 0.025000000000000022 unless it is rounded.
    tails = (round((1 - confidence) / 2, 12), (1 + confidence) / 2)
    low, high = np.quantile(counts @ values / num_rows, tails, axis=0)
    return low, high


def check_confidence(confidence: float) -> None:
    """Refuses what is no probability strictly between 0 and 1.

    Args:
      confidence: of an interval.

    Raises:
      ValueError: if it is outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` (={confidence}) must lie in (0, 1).")


def check_num_resamples(num_resamples: int) -> None:
    """Refuses a bootstrap without draws.

    Args:
      num_resamples: how many.

    Raises:
      ValueError: if there are none.
    """
    if num_resamples < 1:
        raise ValueError(f"`num_resamples` (={num_resamples}) must be at least 1.")


def _finite_columns(values: np.ndarray) -> np.ndarray:
    """In float64, NaN throughout a column that is not finite throughout."""
    values = np.asarray(values, np.float64)
    return np.where(np.isfinite(values).all(axis=0), values, np.nan)
