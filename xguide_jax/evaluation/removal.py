"""Removing and inserting what a map calls salient, for any number of examples.

Each map is measured in both views, with each fill, and beside random orders of the same
network; `chance` says what the two sides of a comparison are.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from xguide_jax import deprecating, metrics, ops
from xguide_jax.evaluation import chance, chunking
from xguide_jax.metrics import removing
from xguide_jax.types import Array, PredictFn, PRNGKey, PyTree

_takes_correct = deprecating.old_keywords(
    ["correct"], instead="value=", lift=lambda correct: {"value": correct}
)


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


def random_orders_like(
    scores: Array, *, key: PRNGKey, num_orders: int
) -> tuple[Array, ...]:
    """Scores that rank at random whatever a map ranks: tokens, steps, single cells.

    Args:
      scores: float [N, ...], of which the shape is used; float32 or wider.
      key: order j has `fold_in(key, j)`; one key or [N].
      num_orders: how many, at least 1.

    Returns:
      float, shaped like `scores`, each, in [0, 1).

    Raises:
      ValueError: if `num_orders` is below 1.
    """
    if num_orders < 1:
        raise ValueError(f"`num_orders` (={num_orders}) must be at least 1.")
    wide = ops.at_least_float32(scores)
    return tuple(removing.random_scores(wide, key, num_orders))


@_takes_correct
def measure_removal(
    predict_fn: PredictFn,
    inputs: PyTree,
    labels: Array,
    scores: Mapping[str, Array],
    *,
    orders: Sequence[Array],
    fills: Mapping[str, removing.Replacement],
    fractions: Sequence[float],
    key: PRNGKey,
    batch_size: int,
    value: removing.ValueFn | None = None,
    where: Array | None = None,
) -> chance.Removal:
    """Both views of several maps with several fills, each beside chance.

    `removal_curves` of B examples at a time, and `compare_with_chance` of all.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C]; called once a fraction of each
        curve, so compile it.
      inputs: float [N, ...], or a dict of arrays, of which every fill is a removal.
      labels: integer [N], in [0, C); whatever `value` takes.
      scores: {map: float, broadcastable to the inputs}, ranked as they are; of a
        removal of tokens [N, T].
      orders: the random ones, of `random_orders` or `random_orders_like`, at least one.
      fills: {fill: (key, inputs) -> replacement values, or an `ops.Removal`}, at least
        one.
      fractions: static, strictly increasing in [0, 1], at least two.
      key: for the fills; one key or [N].
      batch_size: B, the examples a call of `predict_fn`, at least 1.
      value: as for `metrics.removal_curve`; its default where left out.
      where: as for `metrics.removal_curve`, of all maps and orders alike.

    Returns:
      A `Removal`, on the host.

    Raises:
      ValueError: if there is no order or no fill, or `batch_size` is below 1; and what
        the curves raise.
    """

    def curves(rows: PyTree) -> chance.Curves:
        inputs, labels, scores, orders, keys, where = rows
        return removal_curves(
            predict_fn, inputs, labels, scores, orders=orders, fills=fills,
            fractions=fractions, key=keys, value=value, where=where,
        )  # fmt: skip

    keys = ops.example_keys(key, len(labels))
    rows = (inputs, labels, dict(scores), list(orders), keys, where)
    measured = chunking.map_rows(curves, rows, batch_size=batch_size)
    # Trees sort the keys of a dict; the maps and fills are wanted in the order given.
    in_order = chance.Curves(
        {name: {fill: measured.maps[name][fill] for fill in fills} for name in scores},
        {fill: measured.chance[fill] for fill in fills},
    )
    return chance.compare_with_chance(in_order, fractions=fractions)


@_takes_correct
def removal_curves(
    predict_fn: PredictFn,
    inputs: PyTree,
    labels: Array,
    scores: Mapping[str, Array],
    *,
    orders: Sequence[Array],
    fills: Mapping[str, removing.Replacement],
    fractions: Sequence[float],
    key: PRNGKey,
    value: removing.ValueFn | None = None,
    where: Array | None = None,
) -> chance.Curves:
    """What is read of one batch in both views, by maps and by random orders.

    The curves of a map are `metrics.removal_curve` and `metrics.insertion_curve`; those
    of chance are the mean over random orders, without passes of their own for the
    second view: what is left of a random order is a random order too, so inserting a
    share d of one is removing the share 1 − d of another (but for one feature where d n
    is no whole number). Every curve of a fill sees the same draw of it. All maps share
    the random orders: `metrics.removal_and_insertion`, the same for one map to the bit,
    would draw and predict them for each map again.

    Args:
      predict_fn: as for `measure_removal`.
      inputs: float [B, ...], or a dict of arrays.
      labels: integer [B], in [0, C); whatever `value` takes.
      scores: {map: float}, as for `measure_removal`.
      orders: the random ones, at least one.
      fills: {fill: replacement values or removal}, at least one.
      fractions: static, strictly increasing in [0, 1].
      key: for the fills; one key or [B].
      value: as for `metrics.removal_curve`; its default where left out.
      where: as for `metrics.removal_curve`, of all maps and orders alike.

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
    settings: dict[str, Any] = {"key": key, "where": where}
    if value is not None:
        settings["value"] = value
    curve_fns: chance.Views[Callable[..., Array]] = chance.Views(
        removal=metrics.removal_curve, insertion=metrics.insertion_curve
    )
    columns = _columns(fractions)
    curves = chance.Curves({name: {} for name in scores}, {})
    for fill_name, fill in fills.items():
        remove, insert = (
            functools.partial(fn, predict_fn, inputs, labels, fill=fill, **settings)
            for fn in curve_fns
        )
        removed = np.mean(
            [np.asarray(remove(order, fractions=columns.every)) for order in orders],
            axis=0,
        )
        curves.chance[fill_name] = chance.Views(
            removed[:, columns.of], removed[:, columns.of_rest]
        )
        for name, ranked in scores.items():
            curves.maps[name][fill_name] = chance.Views(
                np.asarray(remove(ranked, fractions=fractions)),
                np.asarray(insert(ranked, fractions=fractions)),
            )
    return curves


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
