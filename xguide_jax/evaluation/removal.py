"""Removing and inserting what a map calls salient, beside the network's own chance.

A network that was trained on replaced features takes them better: its curves are
flatter for any order. So a map's curve is compared with random orders of the *same*
network on the *same* examples, and the gap between the two is what compares networks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import metrics, ops
from xguide_jax.evaluation import chunking, summary
from xguide_jax.metrics import faithfulness
from xguide_jax.types import Array, FillFn, PredictFn, PRNGKey

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


def random_orders(inputs: Array, *, key: PRNGKey, num_orders: int) -> tuple[Array, ...]:
    """Scores that rank the positions of each example at random.

    Args:
      inputs: float [N, ...].
      key: order j has `fold_in(key, j)`.
      num_orders: how many, at least 1.

    Returns:
      float [N, ..., 1] each, as `ops.random_rank` draws them.

    Raises:
      ValueError: if `num_orders` is below 1.
    """
    if num_orders < 1:
        raise ValueError(f"`num_orders` (={num_orders}) must be at least 1.")
    keys = (jax.random.fold_in(key, order) for order in range(num_orders))
    return tuple(ops.random_rank(inputs, key=k) for k in keys)


def measure_removal(
    predict_fn: PredictFn,
    inputs: Array,
    labels: Array,
    scores: Mapping[str, Array],
    *,
    orders: Sequence[Array],
    fills: Mapping[str, FillFn],
    fractions: Sequence[float],
    key: PRNGKey,
    batch_size: int,
    correct: faithfulness.CorrectFn | None = None,
) -> Removal:
    """Both views of several maps with several fills, each beside chance.

    `removal_curves` of B examples at a time, and `compare_with_chance` of all.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C]; called once a fraction of each
        curve, so compile it.
      inputs: float [N, ...].
      labels: integer [N], in [0, C); whatever `correct` takes.
      scores: {map: float, broadcastable to the inputs}, ranked as they are.
      orders: the random ones, of `random_orders`, at least one.
      fills: {fill: (key, inputs) -> replacement values}, at least one.
      fractions: static, strictly increasing in [0, 1], at least two.
      key: for the fills; one key or [N].
      batch_size: B, the examples a call of `predict_fn`, at least 1.
      correct: as for `metrics.removal_curve`; its default where left out.

    Returns:
      A `Removal`, on the host.

    Raises:
      ValueError: if there is no order or no fill, or `batch_size` is below 1; and what
        the curves raise.
    """

    def curves(rows: tuple[Array, Array, Mapping, Sequence, PRNGKey]) -> Curves:
        inputs, labels, scores, orders, keys = rows
        return removal_curves(
            predict_fn, inputs, labels, scores,
            orders=orders, fills=fills, fractions=fractions, key=keys, correct=correct,
        )  # fmt: skip

    keys = ops.example_keys(key, len(inputs))
    rows = (inputs, labels, dict(scores), list(orders), keys)
    measured = chunking.map_rows(curves, rows, batch_size=batch_size)
    return compare_with_chance(measured, fractions=fractions)


def removal_curves(
    predict_fn: PredictFn,
    inputs: Array,
    labels: Array,
    scores: Mapping[str, Array],
    *,
    orders: Sequence[Array],
    fills: Mapping[str, FillFn],
    fractions: Sequence[float],
    key: PRNGKey,
    correct: faithfulness.CorrectFn | None = None,
) -> Curves:
    """Correctness of one batch in both views, by maps and by random orders.

    The curves of a map are `metrics.removal_curve` and `metrics.insertion_curve`; those
    of chance are the mean over random orders, without passes of their own for the
    second view: what is left of a random order is a random order too, so inserting a
    share d of one is removing the share 1 − d of another (but for one feature where d n
    is no whole number). Every curve of a fill sees the same draw of it.

    Args:
      predict_fn: as for `measure_removal`.
      inputs: float [B, ...].
      labels: integer [B], in [0, C); whatever `correct` takes.
      scores: {map: float, broadcastable to the inputs}, ranked as they are.
      orders: the random ones, of `random_orders`, at least one.
      fills: {fill: (key, inputs) -> replacement values}, at least one.
      fractions: static, strictly increasing in [0, 1].
      key: for the fills; one key or [B].
      correct: as for `metrics.removal_curve`; its default where left out.

    Returns:
      `Curves`, on the host.

    Raises:
      ValueError: if there is no order or no fill; and what the curves raise.
    """
    if not orders or not fills:
        raise ValueError(
            f"`orders` ({len(orders)} of them) and `fills` ({sorted(fills)}) must hold "
            "at least one each."
        )
    settings = {} if correct is None else {"correct": correct}
    columns = _columns(fractions)
    maps: dict[str, dict[str, Views[np.ndarray]]] = {name: {} for name in scores}
    chance: dict[str, Views[np.ndarray]] = {}
    for fill_name, fill in fills.items():

        def curve(
            curve_fn: Callable[..., Array],
            ranked: Array,
            at: Sequence[float],
            fill: FillFn = fill,
        ) -> np.ndarray:
            values = curve_fn(
                predict_fn, inputs, labels, ranked,
                fractions=at, fill=fill, key=key, **settings,
            )  # fmt: skip
            return np.asarray(values)

        removed = np.mean(
            [curve(metrics.removal_curve, o, columns.every) for o in orders], axis=0
        )
        chance[fill_name] = Views(removed[:, columns.of], removed[:, columns.of_rest])
        for name, ranked in scores.items():
            maps[name][fill_name] = Views(
                curve(metrics.removal_curve, ranked, fractions),
                curve(metrics.insertion_curve, ranked, fractions),
            )
    return Curves(maps, chance)


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
                _against(views.removal, chance.removal, defined, -1.0, fractions),
                _against(views.insertion, chance.insertion, defined, 1.0, fractions),
            )
    return Removal(
        maps=maps,
        chance={
            fill: Views(*(_mean_curve(rows[usual], fractions) for rows in views))
            for fill, views in curves.chance.items()
        },
        num_undefined=int(np.sum(~usual)),
    )


class _Columns(NamedTuple):
    """Which fractions chance is measured at, and where to find those asked for."""

    every: tuple[float, ...]
    of: list[int]
    of_rest: list[int]


def _columns(fractions: Sequence[float]) -> _Columns:
    # 1 − 0.7 is 0.30000000000000004 unless it is rounded, and a fraction of its own.
    rest = [round(1 - fraction, 12) for fraction in fractions]
    every = sorted({*fractions, *rest})
    return _Columns(
        tuple(every),
        [every.index(f) for f in fractions],
        [every.index(f) for f in rest],
    )


def _against(
    correct: np.ndarray,
    chance: np.ndarray,
    defined: np.ndarray,
    sign: float,
    fractions: Sequence[float],
) -> AgainstChance:
    """One map in one view; `sign` is 1 where a higher curve is better, else −1."""
    own = _mean_curve(correct[defined], fractions)
    other = _mean_curve(chance[defined], fractions)
    gap = sign * (own.area - other.area)
    share = float(np.mean(defined)) if len(defined) else float("nan")
    rows = np.asarray(_area(sign * (correct - chance), fractions))
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
