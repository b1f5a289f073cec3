"""95 % intervals of a mean over seeds or examples.

Rows `R` are the independent repetitions; columns `P` (points of a curve, say) are
treated one by one.
"""

import numpy as np
from scipy import special


def t_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % Student interval of the mean of the rows.

    mean ± t_{0.975, R-1} s / √R with s the sample standard deviation; the factor t is
    2.776 at five rows. For few repetitions, as seeds are.

    Args:
      values: float [R, P].

    Returns:
      low and high, float64 [P]; NaN for fewer than two rows, and in a column that holds
      anything but finite numbers.
    """
    values = _finite_columns(values)
    num_rows = len(values)
    if num_rows < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    error = values.std(axis=0, ddof=1) / np.sqrt(num_rows)
    half_width = special.stdtrit(num_rows - 1, 0.975) * error
    mean = values.mean(axis=0)
    return mean - half_width, mean + half_width


def bootstrap_interval(
    values: np.ndarray, *, seed: int, resamples: int = 1000
) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % percentile bootstrap interval of the mean of the rows.

    The 2.5 % and 97.5 % quantiles of the means of rows drawn with replacement. For many
    repetitions, as examples are; too narrow for a handful.

    Args:
      values: float [R, P].
      seed: of the draws.
      resamples: how many times R rows are drawn.

    Returns:
      low and high, float64 [P]; NaN for fewer than two rows, and in a column that holds
      anything but finite numbers.

    Raises:
      ValueError: if `resamples` is less than 1.
    """
    if resamples < 1:
        raise ValueError(f"`resamples` (={resamples}) must be at least 1.")
    values = _finite_columns(values)
    num_rows = len(values)
    if num_rows < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    # How often each row was drawn is all that its mean needs to know.
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(num_rows, np.full(num_rows, 1 / num_rows), size=resamples)
    low, high = np.quantile(counts @ values / num_rows, (0.025, 0.975), axis=0)
    return low, high


def _finite_columns(values: np.ndarray) -> np.ndarray:
    """In float64, NaN throughout a column that is not finite throughout."""
    values = np.asarray(values, np.float64)
    return np.where(np.isfinite(values).all(axis=0), values, np.nan)
