"""Fills that must know the region: what surrounds other objects, in place of noise.

Any other fill, `ops.uniform_range_fill` or one of yours, is a function of a key and of
what it replaces. That a fill takes the region as well is said, by `region_fill`, and
never guessed from its signature: a fill whose region is bound, by `functools.partial`,
keeps the one that it has.
"""

import functools
from typing import Protocol

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.types import Array, PRNGKey


class FillWithRegion(Protocol):
    """What `region_fill` lifts."""

    def __call__(
        self,
        key: PRNGKey,
        inputs: Array,
        *,
        region: Array,
        present: Array | None = None,
        axis_name: str | None = None,
    ) -> Array:
        """Replacement values, shaped and typed like the inputs [B, H, W, C].

        `region` is float [B, H, W], above 0 inside; `present` bool [B], False for
        padding; `axis_name` the mapped axis that shares the batch.
        """


class RegionFill:
    """A fill that is given the region of each example, made by `region_fill`."""

    def __init__(self, fill: FillWithRegion) -> None:
        functools.update_wrapper(self, fill)
        self._fill = fill

    def __call__(
        self,
        key: PRNGKey,
        inputs: Array,
        *,
        region: Array,
        present: Array | None = None,
        axis_name: str | None = None,
    ) -> Array:
        """Calls the fill."""
        return self._fill(
            key, inputs, region=region, present=present, axis_name=axis_name
        )


def region_fill(fill: FillWithRegion) -> RegionFill:
    """Says of a fill that it takes the region; a decorator.

    Args:
      fill: (key or keys [B], inputs [B, H, W, C], *, region, present, axis_name) ->
        replacement values, shaped and typed like the inputs.

    Returns:
      the same function, which terms call with all of these.
    """
    return RegionFill(fill)


@region_fill
def other_backgrounds(
    key: PRNGKey,
    inputs: Array,
    *,
    region: Array,
    present: Array | None = None,
    axis_name: str | None = None,
) -> Array:
    """For each image, another annotated image of the batch without its object.

    That image's own region is filled by the mean of its background, each channel by
    itself, so that no other object comes in. The partner is drawn uniformly from the
    others that have both a region and a background, among the examples of all devices;
    never the image itself. Where there is no other, the image keeps its own background.
    The draw depends on the example's key and on who is annotated, never on how many
    devices share the batch.

    Args:
      key: typed key [] or keys [B].
      inputs: float [B, H, W, C].
      region: float or bool [B, H, W], above 0 on the object; empty where unknown.
      present: bool [B], False for padding, which lends nothing; all if None.
      axis_name: the mapped axis that shares the batch, or None. Then `key` must be one
        key an example.

    Returns:
      float, shaped and typed like `inputs`.

    Raises:
      AssertionError: if the shapes differ from the above.
      ValueError: as `ops.example_keys`.
    """
    chex.assert_rank([inputs, region], [4, 3])
    chex.assert_equal_shape_prefix([inputs, region], 3)
    inside = region > 0
    mean = ops.masked_pool(inputs, ~inside).astype(inputs.dtype)
    lent = ops.replace(
        inputs,
        inside[..., None],
        jnp.broadcast_to(mean[:, None, None], inputs.shape),
    )
    lends = jnp.any(inside, axis=(1, 2)) & ~jnp.all(inside, axis=(1, 2))
    if present is not None:
        lends &= present
    own = ops.example_indices(len(inputs), axis_name=axis_name)
    if axis_name is not None:
        lent, lends = jax.lax.all_gather((lent, lends), axis_name, tiled=True)

    # Lenders are numbered in the order of the batch, and a partner is so many ahead of
    # the lender that is the image itself or comes before it: 1 to n - 1, or 1 to n for
    # an image that lends nothing, of which that lender is a partner too.
    mine, lenders = lends[own], jnp.argsort(~lends, stable=True)
    count = jnp.sum(lends, dtype=jnp.int32)
    number = jnp.cumsum(lends, dtype=jnp.int32)[own] - 1
    last = jnp.where(mine, jnp.maximum(count, 2), count + 1)
    ahead = jax.vmap(lambda key, last: jax.random.randint(key, (), 1, last, jnp.int32))(
        ops.example_keys(key, len(inputs)), last
    )
    found = lent[lenders[(number + ahead) % jnp.maximum(count, 1)]]
    others = (count > mine.astype(jnp.int32))[:, None, None, None]
    return jnp.where(others, found, lent[own])
