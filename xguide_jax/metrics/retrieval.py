"""Retrieval: at which rank a query finds one of the partners that are right for it.

`s` are the similarities [Q, N] of Q queries with N candidates, `right` says which of
them would be found rightly: the query's own partner, and those that nobody could tell
from it, such as images of the same text. The transposed arrays ask the other way round.
"""

import chex
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.types import Array


def retrieval_rank(
    similarities: Array, right: Array, *, where: Array | None = None
) -> Array:
    """The rank of the first right candidate, ties in a random order on average.

    1 + |{j wrong: s_j > s*}| + |{j wrong: s_j = s*}| / (|{j right: s_j = s*}| + 1), s*
    the highest similarity of a right candidate: the mean rank of the first right one
    over all orders of those that are tied with it. Where all N are equal and one is
    right that is (N + 1) / 2, so that a network that tells nothing apart is not first.
    Its gradient is 0.

    Args:
      similarities: float [Q, N], higher is nearer.
      right: bool [Q, N].
      where: bool [Q, N], the candidates that there are; all if None.

    Returns:
      float [Q], at least 1, lower is better; NaN for a query without a right candidate
      and for one with a candidate whose similarity is NaN.

    Raises:
      AssertionError: if the shapes or dtypes differ from the above.

    Source: our definition; with one right candidate and no ties it is the usual rank.
    """
    chex.assert_rank(similarities, 2)
    chex.assert_equal_shape([similarities, right])
    chex.assert_type([similarities, right], [float, bool])
    admitted = jnp.ones_like(right, bool) if where is None else jnp.asarray(where)
    chex.assert_equal_shape([similarities, admitted])
    chex.assert_type(admitted, bool)
    values = ops.at_least_float32(jnp.asarray(similarities))
    partners, wrong = admitted & right, admitted & ~jnp.asarray(right)
    best = jnp.max(jnp.where(partners, values, -jnp.inf), axis=1, keepdims=True)
    count = lambda which: jnp.sum(which, axis=1, dtype=values.dtype)
    ahead, tied = count(wrong & (values > best)), count(wrong & (values == best))
    rank = 1 + ahead + tied / (count(partners & (values == best)) + 1)
    undefined = jnp.any(admitted & jnp.isnan(values), axis=1)
    undefined |= ~jnp.any(partners, axis=1)
    return jnp.where(undefined, jnp.nan, rank)


def recall_at_k(ranks: Array, *, k: int) -> Array:
    """Whether a right candidate is among the first k.

    1 where rank <= k, else 0. With the mean ranks of `retrieval_rank`, N equal
    similarities with one right among them count as found only from N <= 2k − 1 on.

    Args:
      ranks: float [Q], of `retrieval_rank`.
      k: at least 1.

    Returns:
      float [Q], 0 or 1; NaN where the rank is.

    Raises:
      ValueError: if `k` is less than 1.
      AssertionError: if the ranks are not float [Q].
    """
    if k < 1:
        raise ValueError(f"`k` (={k}) must be at least 1.")
    chex.assert_rank(ranks, 1)
    chex.assert_type(ranks, float)
    ranks = ops.at_least_float32(jnp.asarray(ranks))
    found = (ranks <= k).astype(ranks.dtype)
    return jnp.where(jnp.isnan(ranks), jnp.nan, found)
