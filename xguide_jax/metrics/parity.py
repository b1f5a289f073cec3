"""How far groups are apart in what is predicted of them.

Groups are used for evaluation only. Everything here runs on the host, over a whole
evaluation set. A rate that nobody can know, of a group without such examples, is NaN
and counted; taken for 0 it would be the largest gap there is, or hide one.
"""

from typing import NamedTuple

import chex
import numpy as np

from xguide_jax.metrics import groups as by_group
from xguide_jax.types import Array


class GroupGap(NamedTuple):
    """A difference between groups, and the rates that it is one of.

    Attributes:
      gap: in [0, 1], 0 is parity; NaN where it cannot be known.
      rates: float64 [G], or [2, G] by label; NaN of those without an example.
      num_undefined: how many of the rates are NaN. The gap is over the others, and with
        the missing ones it could only be larger.
    """

    gap: float
    rates: np.ndarray
    num_undefined: int


def demographic_parity_gap(
    predicted: Array, groups: Array, *, num_groups: int
) -> GroupGap:
    """Difference between the groups' rates of positive predictions.

    max_g P(Ŷ = 1 | G = g) − min_g P(Ŷ = 1 | G = g), whatever the labels are: groups
    that differ in their labels have a gap under perfect predictions too.

    Args:
      predicted: bool or float [N] in [0, 1], 1 for a positive prediction; NaN where
        there is none.
      groups: int [N], in [0, num_groups).
      num_groups: G, at least 1.

    Returns:
      A `GroupGap`, rates [G]; its gap is NaN if fewer than two groups have a rate, or a
      group has examples and no prediction.

    Raises:
      ValueError: if a prediction is outside [0, 1], `num_groups` below 1, or a group
        out of range.
      AssertionError: if the shapes differ or are not rank 1, or groups are not int.
    """
    _check_predictions(predicted)
    rates, count = by_group.group_mean(predicted, groups, num_groups=num_groups)
    return GroupGap(_range(rates, count), rates, int(np.isnan(rates).sum()))


def equalised_odds_gap(
    predicted: Array, labels: Array, groups: Array, *, num_groups: int
) -> GroupGap:
    """Largest difference between groups in the rates of right and false alarms.

    max_y (max_g P(Ŷ = 1 | Y = y, G = g) − min_g P(Ŷ = 1 | Y = y, G = g)), y of 0 and 1.
    The row `rates[1]` alone is what equal opportunity compares.

    Args:
      predicted: bool or float [N] in [0, 1], 1 for a positive prediction; NaN where
        there is none.
      labels: bool or int [N] of 0 and 1.
      groups: int [N], in [0, num_groups).
      num_groups: G, at least 1.

    Returns:
      A `GroupGap`, rates [2, G]: false and true positive rates; its gap is NaN if for
      either label fewer than two groups have a rate, or a group has examples and no
      prediction.

    Raises:
      ValueError: if a prediction is outside [0, 1], a label not 0 or 1, `num_groups`
        below 1, or a group out of range.
      AssertionError: if the shapes differ or are not rank 1, or groups are not int.

    Source: Hardt, Price, Srebro, "Equality of Opportunity in Supervised Learning",
      NeurIPS 2016. Fairlearn's `equalized_odds_difference` is this maximum; its rate of
      a group without such labels is 0.
    """
    _check_predictions(predicted)
    chex.assert_equal_shape([predicted, labels, groups])
    known = np.asarray(labels)
    if not np.isin(known, (0, 1)).all():
        raise ValueError("`labels` must hold 0 and 1 only.")
    # Numbers of all groups first: a group out of range is refused, and not taken for
    # one of the other label.
    by_group.group_mean(predicted, groups, num_groups=num_groups)
    rows = [
        by_group.group_mean(
            np.asarray(predicted)[known == label],
            np.asarray(groups)[known == label],
            num_groups=num_groups,
        )
        for label in (0, 1)
    ]
    rates = np.stack([row[0] for row in rows])
    gaps = [_range(*row) for row in rows]
    # `max` would pass a NaN over, depending on its place.
    return GroupGap(float(np.max(gaps)), rates, int(np.isnan(rates).sum()))


def _range(rates: np.ndarray, count: np.ndarray) -> float:
    known = rates[~np.isnan(rates)]
    unclear = np.isnan(rates) & (count > 0)
    if len(known) < 2 or unclear.any():
        return float("nan")
    return float(known.max() - known.min())


def _check_predictions(predicted: Array) -> None:
    values = np.asarray(predicted, np.float64)
    if np.any((values < 0) | (values > 1)):
        raise ValueError("`predicted` must lie in [0, 1], NaN where there is none.")
