"""Scores to rank the positions of an input by, from attributions of its channels.

Each takes attributions [B, ..., C] and returns scores [B, ..., 1], so that a mask of
the scores covers all channels of a position. The literature means different orders by
the "least important" features, and they train different networks: choose one by name.
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from xguide_jax.ops import filling, precision
from xguide_jax.types import Array, PRNGKey, RankFn


def signed_channel_mean(attributions: Array) -> Array:
    """Signed mean over the channels: the lowest speak most against the explained score.

    score = (1/C) Σ_c a_c, in float32 or wider; linear in the attributions.

    Args:
      attributions: float [B, ..., C].

    Returns:
      float [B, ..., 1].

    Raises:
      AssertionError: if the attributions have no batch and channel axis.

    Source: the default of the code published with Ismail, Corrada Bravo, Feizi,
      "Improving Deep Learning Interpretability by Saliency Guided Training", NeurIPS
      2021 (their prose speaks of small gradients).
    """
    _check(attributions)
    return jnp.mean(precision.at_least_float32(attributions), axis=-1, keepdims=True)


def magnitude_of_mean(attributions: Array) -> Array:
    """Magnitude of the channels' mean: opposite channels cancel.

    score = |(1/C) Σ_c a_c|, in float32 or wider; its gradient at 0 is one-sided.

    Args:
      attributions: float [B, ..., C].

    Returns:
      float [B, ..., 1], at least 0.

    Raises:
      AssertionError: if the attributions have no batch and channel axis.

    Source: the `--abs` option of the code published with Ismail, Corrada Bravo, Feizi,
      NeurIPS 2021.
    """
    return jnp.abs(signed_channel_mean(attributions))


def mean_magnitude(attributions: Array) -> Array:
    """Mean of the channels' magnitudes: nothing cancels.

    score = (1/C) Σ_c |a_c|, in float32 or wider; its gradient at 0 is one-sided.

    Args:
      attributions: float [B, ..., C].

    Returns:
      float [B, ..., 1], at least 0.

    Raises:
      AssertionError: if the attributions have no batch and channel axis.
    """
    _check(attributions)
    return signed_channel_mean(jnp.abs(attributions))


class KeyedRank:
    """A rank that needs randomness, made by `keyed`."""

    def __init__(self, rank: Callable[..., Array]) -> None:
        functools.update_wrapper(self, rank)
        self._rank = rank

    def __call__(self, attributions: Array, *, key: PRNGKey) -> Array:
        """Calls the rank."""
        return self._rank(attributions, key=key)


def keyed(rank: Callable[..., Array]) -> KeyedRank:
    """Says of a rank that it draws; a decorator.

    Terms give such a rank one key an example. Any other rank takes attributions alone,
    also one whose key is bound, by `functools.partial`.

    Args:
      rank: (attributions [B, ...], *, key) -> scores.

    Returns:
      the same function, which terms call with keys [B].
    """
    return KeyedRank(rank)


@keyed
def random_rank(attributions: Array, *, key: PRNGKey) -> Array:
    """Uniform scores that ignore the attributions: the control of every order.

    Args:
      attributions: float [B, ..., C], of which only the shape is used.
      key: typed key [] or keys [B]; the scores of example i depend on its own only.

    Returns:
      float32 [B, ..., 1], in [0, 1).

    Raises:
      AssertionError: if the attributions have no batch and channel axis.
      ValueError: as `example_keys`.
    """
    _check(attributions)
    keys = filling.example_keys(key, attributions.shape[0])
    shape = (*attributions.shape[1:-1], 1)
    return jax.vmap(lambda key: jax.random.uniform(key, shape, jnp.float32))(keys)


def by_feature(rank: RankFn) -> RankFn:
    """A rank of positions made one of single features, the cells of a series.

    Every feature is ranked as a position of one channel: `signed_channel_mean` gives
    the attributions themselves, `mean_magnitude` their magnitudes, `random_rank` a
    score for each.

    Args:
      rank: attributions [B, ..., C] -> scores [B, ..., 1], keyed or not.

    Returns:
      attributions [B, ...] -> scores of the same shape; keyed if the rank is.
    """

    def each(attributions: Array, **arguments: PRNGKey) -> Array:
        return rank(attributions[..., None], **arguments)[..., 0]

    each.__name__ = f"by_feature({getattr(rank, '__name__', rank)})"
    return keyed(each) if isinstance(rank, KeyedRank) else each


def _check(attributions: Array) -> None:
    chex.assert_type(attributions, float)
    chex.assert_axis_dimension_gt(attributions, 1, 0)
