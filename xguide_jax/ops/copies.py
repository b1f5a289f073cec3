"""Measures of many perturbed copies of every example, in the memory of a few."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.ops import checking, reducing
from xguide_jax.types import Array


def measure_copies(
    measure: Callable[[Array, Array], Array],
    inputs: Array,
    *,
    count: int,
    chunk_size: int | None,
) -> Array:
    """A measure of `count` copies, in the memory of `chunk_size` of them.

    The loop, and what it costs to compile, is that of `ops.barriered_sum`.

    Args:
      measure: (inputs, number []) -> the measure of the copy of this number, [...]. It
        must read the inputs as given; more copies at once come by `vmap`.
      inputs: [B, ...].
      count: how many copies, at least 1; static.
      chunk_size: copies measured at once, at least 1; None is 1.

    Returns:
      [count, ...], stacked in order.

    Raises:
      ValueError: if `chunk_size` is less than 1 or traced.
    """
    chunk_size = checking.checked_count(
        "chunk_size", 1 if chunk_size is None else chunk_size
    )

    def chunk(values: Array, numbers: np.ndarray) -> Array:
        places = jnp.asarray(numbers, jnp.int32)
        if len(numbers) == 1:
            found = measure(values, places[0])[None]
        else:
            found = jax.vmap(measure, (None, 0))(values, places)
        # Each chunk fills its own rows, so the sum over the chunks has all of them.
        rows = jnp.zeros((count, *found.shape[1:]), found.dtype)
        return rows.at[places].set(found)

    return reducing.barriered_sum(
        reducing.traced_once(chunk, inputs), inputs, count=count, chunk_size=chunk_size
    )
