"""Losses of a map and a region, as `localisation` calls them.

Of a sequence some places are padding, where map and region are 0. A sum does not see
them; a mean over the cells does, and must be told which count. That a loss is told is
said, by `counted_loss`, and never guessed from its signature.
"""

import functools
from collections.abc import Callable
from typing import Protocol

from xguide_jax.types import Array


class LossWithWhere(Protocol):
    """What `counted_loss` lifts."""

    def __call__(
        self, maps: Array, region: Array, *, where: Array | None = None
    ) -> Array:
        """[B]; maps and region [B, ...], `where` bool, broadcast to them, or None."""


class CountedLoss:
    """A loss that is told which cells count, made by `counted_loss`."""

    def __init__(self, loss: LossWithWhere) -> None:
        functools.update_wrapper(self, loss)
        self._loss = loss

    def __call__(
        self, maps: Array, region: Array, *, where: Array | None = None
    ) -> Array:
        """Calls the loss."""
        return self._loss(maps, region, where=where)


MapLoss = Callable[[Array, Array], Array] | CountedLoss


def counted_loss(loss: LossWithWhere) -> CountedLoss:
    """Says of a loss that it is told which cells count; a decorator.

    Args:
      loss: (maps, region, *, where) -> [B], such as `losses.region_l1`; `where` is None
        where all cells count, those of an image.

    Returns:
      the same function, which terms call with all of these.
    """
    return CountedLoss(loss)


def apply(loss: MapLoss, maps: Array, region: Array, *, where: Array | None) -> Array:
    """Calls a loss with as much as it takes.

    Args:
      loss: lifted or not.
      maps: [B, ...].
      region: shaped like the maps.
      where: bool, broadcast to the maps: the cells that count; None where all do.

    Returns:
      what the loss does, [B].
    """
    if isinstance(loss, CountedLoss):
        return loss(maps, region, where=where)
    return loss(maps, region)
