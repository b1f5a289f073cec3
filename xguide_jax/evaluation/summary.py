"""From one value an example to a number that says what it left out.

A metric is NaN where it is undefined. A mean over what is defined favours a method that
fails often and well; a mean that counts a failure as 0 punishes what is no failure.
Both are kept, beside how many examples each rests on.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from xguide_jax.types import Array


class Summary(NamedTuple):
    """The values of a set of examples, as numbers.

    Attributes:
      mean: of the defined values; NaN if there is none.
      mean_or_zero: of all values, an undefined one counted as 0; NaN of no values.
      num_defined: how many values are defined.
      num_values: how many there are.
    """

    mean: float
    mean_or_zero: float
    num_defined: int
    num_values: int

    @property
    def num_undefined(self) -> int:
        """How many values the mean leaves out."""
        return self.num_values - self.num_defined


def summarise(values: Array | np.ndarray | Sequence[float]) -> Summary:
    """The mean of what is defined, and what it leaves out.

    mean = Σ_{i defined} v_i / |defined| and mean_or_zero = Σ_{i defined} v_i / N. What
    is infinite is defined. Floats are added in their own precision, float32 at least;
    integers and bools in float64.

    Args:
      values: float, int or bool [N], NaN where undefined.

    Returns:
      A `Summary`, on the host.

    Raises:
      ValueError: if the values are not of rank 1.
    """
    array = _checked(values)
    defined = ~np.isnan(array)
    return Summary(
        mean=_mean(array[defined]),
        mean_or_zero=_mean(np.where(defined, array, np.zeros((), array.dtype))),
        num_defined=int(defined.sum()),
        num_values=len(array),
    )


def summarise_pair(
    first: Array | np.ndarray | Sequence[float],
    second: Array | np.ndarray | Sequence[float],
) -> tuple[Summary, Summary]:
    """Two measurements of the same examples, on those that are defined in both.

    A mean over what is defined in each would compare different examples: whichever
    fails on the hard ones looks better. The difference of the two means is the mean
    difference; an example that is undefined in either counts as 0 in `mean_or_zero` of
    both.

    Args:
      first: float, int or bool [N], NaN where undefined.
      second: the same of the same examples, in the same order.

    Returns:
      A `Summary` of each.

    Raises:
      ValueError: if the values are not of rank 1 or the lengths differ.
    """
    sides = [_checked(values) for values in (first, second)]
    if len(sides[0]) != len(sides[1]):
        raise ValueError(
            f"{len(sides[0])} and {len(sides[1])} values are not of the same examples."
        )
    lost = np.isnan(sides[0]) | np.isnan(sides[1])
    one, other = (summarise(np.where(lost, np.nan, values)) for values in sides)
    return one, other


def _checked(values: Array | np.ndarray | Sequence[float]) -> np.ndarray:
    """[N] on the host; a thousand ones in float16 would add up to less."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(
            f"`values` (shaped {list(array.shape)}) must be [N], one an example."
        )
    is_float = jnp.issubdtype(array.dtype, jnp.floating)
    wide = np.promote_types(array.dtype, np.float32) if is_float else np.float64
    return array.astype(wide)


def _mean(values: np.ndarray) -> float:
    """NaN of nothing, without NumPy's warning; NaN also of both infinities."""
    with np.errstate(invalid="ignore"):  # inf − inf
        return float(values.mean()) if values.size else float("nan")
