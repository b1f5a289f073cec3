"""A map's curves beside the network's own chance.

A network that was trained on replaced features takes them better: its curves are
flatter for any order. So a map's curve is compared with random orders of the *same*
network on the *same* examples, and the gap between the two is what compares networks.
"""

from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np

from xguide_jax import metrics
from xguide_jax.evaluation import summary
from xguide_jax.types import Array

T = TypeVar("T")


class Views(NamedTuple, Generic[T]):
    """Something of both views of an order.

    Attributes:
      removal: of taking the most salient away first; a faithful map falls fast.
      insertion: of putting the most salient back first; a faithful map rises fast.
    """

    removal: T
    insertion: T


class Curves(NamedTuple):
    """Correctness of each example at each fraction; NaN where undefined.

    Attributes:
      maps: {map: {fill: [N, F] in both views}}.
      chance: {fill: [N, F] in both views}, the mean over random orders.
    """

    maps: dict[str, dict[str, Views[np.ndarray]]]
    chance: dict[str, Views[np.ndarray]]


class Chance(NamedTuple):
    """The random orders in one view with one fill.

    Attributes:
      curve: float [F], the mean over the examples where it is defined; NaN if none is.
      area: under that curve.
    """

    curve: np.ndarray
    area: float


class AgainstChance(NamedTuple):
    """A map in one view with one fill, beside random orders on the same examples.

    Attributes:
      curve: float [F], the mean over the examples that the map ranks; NaN if none.
      area: under that curve.
      chance: the random orders on those examples alone.
      gap: by how much the map's order beats the random ones, higher is better in both
        views; an example that the map does not rank counts as 0 in `mean_or_zero`.
      rows: float [N], the gap of each example, NaN where undefined.
    """

    curve: np.ndarray
    area: float
    chance: Chance
    gap: summary.Summary
    rows: np.ndarray


class Removal(NamedTuple):
    """What removal and insertion say of several maps of one network.

    Attributes:
      maps: {map: {fill: both views}}.
      chance: {fill: both views} of the random orders, on every example where these are
        defined.
      num_undefined: examples where the random orders are undefined: a label that is
        no class, or a prediction that is none.
    """

    maps: dict[str, dict[str, Views[AgainstChance]]]
    chance: dict[str, Views[Chance]]
    num_undefined: int


def compare_with_chance(curves: Curves, *, fractions: Sequence[float]) -> Removal:
    """Mean curves, areas and gaps; both sides of a gap rest on the same examples.

    gap = area(chance) − area(map) of removal, and area(map) − area(chance) of
    insertion, over the examples that are defined throughout: one with a NaN anywhere,
    in either view, with any fill, in the map's curves or in those of chance, is left
    out of every curve and gap of that map.

    Args:
      curves: of all examples.
      fractions: F of them, strictly increasing in [0, 1], at least two.

    Returns:
      A `Removal`.

    Raises:
      ValueError: if a map has other fills than chance, or the fractions do not fit.
    """
    usual = _defined(curves.chance)
    maps: dict[str, dict[str, Views[AgainstChance]]] = {}
    for name, fills in curves.maps.items():
        if fills.keys() != curves.chance.keys():
            raise ValueError(
                f"`curves.maps`[{name!r}] must have the fills of chance, "
                f"{sorted(curves.chance)}; it has {sorted(fills)}."
            )
        defined = usual & _defined(fills)
        maps[name] = {}
        for fill, views in fills.items():
            chance = curves.chance[fill]
            maps[name][fill] = Views(
                # A faithful map is below chance where it removes, above as it inserts.
                _against(views.removal, chance.removal, defined, 1.0, fractions),
                _against(views.insertion, chance.insertion, defined, -1.0, fractions),
            )
    return Removal(
        maps=maps,
        chance={
            fill: Views(*(_mean_curve(rows[usual], fractions) for rows in views))
            for fill, views in curves.chance.items()
        },
        num_undefined=int(np.sum(~usual)),
    )


def _against(
    correct: np.ndarray,
    chance: np.ndarray,
    defined: np.ndarray,
    sign: float,
    fractions: Sequence[float],
) -> AgainstChance:
    """One map in one view; `sign` is 1 where a lower curve is better, else −1."""
    own = _mean_curve(correct[defined], fractions)
    other = _mean_curve(chance[defined], fractions)
    gap = sign * (other.area - own.area)
    share = float(np.mean(defined)) if len(defined) else float("nan")
    rows = np.asarray(_area(sign * (chance - correct), fractions))
    return AgainstChance(
        curve=own.curve,
        area=own.area,
        chance=other,
        gap=summary.Summary(
            mean=gap,
            # A map that orders nothing beats no random order.
            mean_or_zero=gap * share if share else 0.0,
            num_defined=int(defined.sum()),
            num_values=len(defined),
        ),
        rows=np.where(defined, rows, np.nan),
    )


def _defined(fills: Mapping[str, Views[np.ndarray]]) -> np.ndarray:
    """The examples whose curves are defined everywhere, bool [N]."""
    every = [rows for views in fills.values() for rows in views]
    return ~np.any([np.isnan(rows).any(axis=1) for rows in every], axis=0)


def _mean_curve(rows: np.ndarray, fractions: Sequence[float]) -> Chance:
    """The mean of the rows, NaN of none, and the area under it."""
    empty = np.full(rows.shape[1:], np.nan, rows.dtype)
    curve = rows.mean(axis=0) if len(rows) else empty
    return Chance(curve, float(_area(curve, fractions)))


def _area(values: np.ndarray, fractions: Sequence[float]) -> Array:
    return metrics.area_under_curve(jnp.asarray(values), fractions=fractions)
