"""Removal, insertion and their random control of one map, by one sort."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.metrics import faithfulness, masking, removing
from xguide_jax.ops import checking
from xguide_jax.types import Array, PredictFn, PRNGKey, PyTree


class RemovalAndInsertion(NamedTuple):
    """What is read of the predictions as features go and as they come back.

    Attributes:
      removal: float [B, F], by the map; a faithful map falls fast.
      insertion: float [B, F], by the map; a faithful map rises fast.
      random_removal: float [R, B, F], by R random orders.
      random_insertion: float [R, B, F], by the same orders from their other end.
    """

    removal: Array
    insertion: Array
    random_removal: Array
    random_insertion: Array


def removal_and_insertion(
    predict_fn: PredictFn,
    inputs: PyTree,
    labels: Array,
    attributions: Array,
    *,
    fractions: Sequence[float],
    fill: removing.Replacement,
    key: PRNGKey,
    num_random_orders: int,
    value: removing.ValueFn = faithfulness._top_class_is_label,
    where: Array | None = None,
) -> RemovalAndInsertion:
    """Both curves of a map and those of random orders, with the same replacements.

    `removal_curve` and `insertion_curve` of the map, to the bit; all orders are sorted
    at once. A random order costs one view: what it leaves is a random set as well, so
    inserting the k features at its end is removing the n − k others. The intact and the
    blank input are predicted once for all. The better the map, the further its
    removal lies below the random ones and its insertion above.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C]; called at most (2 + R) F times (R
        random orders, and 2 R F where no share of the features is the rest of another,
        or with `where`), so compile it.
      inputs: [B, ...], or a dict of such with an `ops.Removal` for `fill`.
      labels: integer [B], in [0, C); whatever `value` takes, [B, ...].
      attributions: float, of the inputs' rank and broadcastable to them.
      fractions: static, strictly increasing in [0, 1].
      fill: (key, inputs) -> replacement values like `inputs`, or a removal.
      key: for the fill, and folded with 0, 1, … for the random orders; one key or [B].
      num_random_orders: R, at least 1.
      value: as for `removal_curve`.
      where: as for `removal_curve`.

    Returns:
      `RemovalAndInsertion`; the map's rows NaN where `removal_curve` has it, those of
      the random orders where `value` or the logits are NaN alone.

    Raises:
      AssertionError: as `removal_curve`.
      ValueError: as `removal_curve`, and if `num_random_orders` is below 1.
    """
    removing.check(inputs, labels, attributions, fill=fill)
    fractions = removing.checked_fractions(fractions)
    count = checking.checked_count("num_random_orders", num_random_orders)
    size = len(attributions)
    # Uniform numbers in a narrow float would tie, and ties go by place.
    maps = ops.at_least_float32(attributions)
    scores = jnp.concatenate([maps, *removing.random_scores(maps, key, count)])
    if where is not None:
        where = jnp.tile(
            masking.valid_cells(maps, where), (1 + count, *[1] * (maps.ndim - 1))
        )
    order = removing.Order(scores, where)
    without = removing.without(fill, key, inputs)
    read = faithfulness._reader(predict_fn, without, labels, value)
    num_features = order.count(1.0)
    known: dict[tuple[object, ...], Array] = {}

    def read_without(number: int, first: int | Array, last: int | Array) -> Array:
        """Of order `number`, with the features from `first` to before `last` gone."""
        rows = slice(number * size, (number + 1) * size)
        read_rows = lambda: read(order.between(first, last)[rows])
        if where is not None:  # numbers of their own for each example
            return read_rows()
        some = first < last and last - first < num_features
        # The intact and the blank input are the same of every order.
        name = (number, first, last) if some else (last > first,)
        if name not in known:
            known[name] = read_rows()
        return known[name]

    removal, insertion, random_removal, random_insertion = [], [], [], []
    for fraction in fractions:
        k = order.count(fraction)
        removal.append(read_without(0, 0, k))
        insertion.append(read_without(0, k, num_features))
        for number in range(1, count + 1):
            random_removal.append(read_without(number, 0, k))
            random_insertion.append(read_without(number, 0, num_features - k))
    by_order = (len(fractions), count, size)
    return RemovalAndInsertion(
        faithfulness._curve(removal, order.defined[:size]),
        faithfulness._curve(insertion, order.defined[:size]),
        *(
            jnp.moveaxis(jnp.stack(rows).reshape(by_order), 0, -1)
            for rows in (random_removal, random_insertion)
        ),
    )
