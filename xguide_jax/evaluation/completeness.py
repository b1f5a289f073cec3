"""How far the attributions of a data set are from adding up, as one number."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from xguide_jax.types import Array


class Completeness(NamedTuple):
    """The error of a set of attributions that should add up.

    Attributes:
      error: as a fraction of what was to be explained, at least 0; 0 is complete.
      num_defined: the examples it rests on.
      num_values: how many there were.
    """

    error: float
    num_defined: int
    num_values: int


def completeness_of(gap: Array, change: Array) -> Completeness:
    """The gap of a whole data set as a fraction of the scores' change.

    Σ_i |gap_i| / Σ_i |f(x_i) − f(b_i)|: a ratio of sums, since an example whose score
    hardly changes has a large error of its own with nothing wrong. An example that is
    undefined on either side is left out of both sums.

    Args:
      gap: float [N], of `attributions.completeness_gap`.
      change: float [N], f(x) − f(b): the attributions' sum minus the gap.

    Returns:
      A `Completeness`; NaN if no score changes or nothing is defined.
    """
    error, unclear = _relative(gap, change)
    return Completeness(float(error), len(gap) - int(unclear), len(gap))


@jax.jit
def _relative(gap: Array, change: Array) -> tuple[Array, Array]:
    unclear = jnp.isnan(gap) | jnp.isnan(change)
    total = lambda values: jnp.sum(jnp.where(unclear, 0.0, jnp.abs(values)))
    return total(gap) / total(change), jnp.sum(unclear)
