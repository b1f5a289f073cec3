"""Values moved to other places of their own example."""

import chex
import jax
import jax.numpy as jnp

from xguide_jax.ops import filling
from xguide_jax.types import Array, PRNGKey


def permute_within(key: PRNGKey, values: Array, groups: Array) -> Array:
    """Values permuted among the places of their group, drawn uniformly.

    The control of an annotation of tokens: as much mass in each text, elsewhere in it.
    `guidance.attention_guided(permuted=True)` does it; for another term replace the
    batch's 'rationale' by its permutation among `segments`, with −1 where a token is
    padding or special, before the step. Gradients follow the values.

    Args:
      key: typed key [] or keys [B]; an example's draw depends on its own only.
      values: [B, T].
      groups: int [B, T], such as the segments of a pair of texts; what is in a negative
        group stays where it is.

    Returns:
      Like `values`; each group holds the values that it held.

    Raises:
      AssertionError: if the shapes differ, or `groups` are no integers.
      ValueError: as `example_keys`.

    Source: the randomised control in the code of Stacey, Belinkov, Rei, AAAI 2022.
    """
    chex.assert_rank([values, groups], 2)
    chex.assert_equal_shape([values, groups])
    chex.assert_type(groups, int)
    places = jnp.arange(values.shape[1])

    def permute(key: PRNGKey, values: Array, groups: Array) -> Array:
        drawn = jax.random.permutation(key, len(places))
        drawn = jnp.where(groups < 0, places, drawn)
        # The n-th place of a group receives what its n-th place in the drawn order had.
        receiving, giving = (jnp.lexsort((order, groups)) for order in (places, drawn))
        return values.at[receiving].set(values[giving])

    return jax.vmap(permute)(filling.example_keys(key, len(values)), values, groups)
