"""Comprehensiveness and sufficiency of any number of examples, beside chance.

As with curves, a network may simply be fragile, or used to texts with holes: then every
order of the tokens makes it fall, or none. So each map stands beside random orders of
the *same* network on the *same* examples, and the gap between the two compares
networks.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from xguide_jax import metrics, ops
from xguide_jax.evaluation import chunking, summary
from xguide_jax.metrics import removing
from xguide_jax.types import Array, PredictFn, PRNGKey, PyTree


class BesideChance(NamedTuple):
    """One measure of a map, and of random orders on the same examples.

    Attributes:
      value: of the map.
      chance: of the mean over the random orders, on the examples of `value`.
      gap: by how much the map is better, higher is better in both measures; an example
        that the map does not rank counts as 0 in `mean_or_zero`.
      rows: float [N], the gap of each example, NaN where undefined.
    """

    value: summary.Summary
    chance: summary.Summary
    gap: summary.Summary
    rows: np.ndarray


class Erasure(NamedTuple):
    """What a prediction loses without what a map names, and with it alone.

    Attributes:
      comprehensiveness: how much the score falls without; higher is better.
      sufficiency: how much it falls with nothing else; lower is better.
    """

    comprehensiveness: BesideChance
    sufficiency: BesideChance


def measure_erasure(
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
    value: removing.ValueFn,
    where: Array | None = None,
) -> dict[str, dict[str, Erasure]]:
    """Both measures of several maps, with several ways of removal, beside chance.

    `metrics.comprehensiveness` and `metrics.sufficiency` of B examples at a time. The
    gap is map − chance of the one and chance − map of the other. The network is called
    2 (F + 1) times for each map, each random order and each fill.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C]; compile it.
      inputs: [N, ...], or a dict of such, of which every fill is a removal.
      labels: integer [N], the class of which the score is.
      scores: {map: float}, as `metrics.comprehensiveness` takes them.
      orders: random ones, of `random_orders_like`, at least one; five say how much one
        of them varies.
      fills: {name: replacement values or removal}, at least one.
      fractions: static, strictly increasing in [0, 1].
      key: for the fills; one key or [N].
      batch_size: B, at least 1.
      value: (logits, labels) -> [B], the score; of ERASER the probability.
      where: bool, as `metrics.comprehensiveness` takes it.

    Returns:
      {map: {fill: `Erasure`}}, on the host.

    Raises:
      ValueError: if there is no order or no fill, or `batch_size` is below 1; and what
        the metrics raise.
    """
    if not orders or not fills:
        raise ValueError(
            f"`orders` ({len(orders)} of them) and `fills` ({sorted(fills)}) must hold "
            "at least one each."
        )

    def measure(rows: PyTree) -> PyTree:
        inputs, labels, ranked, keys, where = rows

        def both(each: Array, fill: removing.Replacement) -> tuple[Array, ...]:
            settings = {"fractions": fractions, "fill": fill, "key": keys}
            arguments = (predict_fn, inputs, labels, each)
            return tuple(
                function(*arguments, **settings, value=value, where=where)
                for function in (metrics.comprehensiveness, metrics.sufficiency)
            )

        return {name: [both(each, fill) for each in ranked] for name, fill in by_name}

    by_name = list(fills.items())
    keys = ops.example_keys(key, len(labels))
    ranked = [*scores.values(), *orders]
    rows = (inputs, labels, ranked, keys, where)
    found = chunking.map_rows(measure, rows, batch_size=batch_size)

    def beside_chance(fill: str, place: int) -> Erasure:
        sides = []
        # [maps and orders, N] of each measure, and what is better.
        for values, sign in zip(zip(*found[fill], strict=True), (1, -1), strict=True):
            own, chance = values[place], np.mean(values[len(scores) :], axis=0)
            gap = sign * (own - chance)
            pair = summary.summarise_pair(own, chance)
            sides.append(BesideChance(*pair, summary.summarise(gap), gap))
        return Erasure(*sides)

    return {
        name: {fill: beside_chance(fill, place) for fill in fills}
        for place, name in enumerate(scores)
    }
