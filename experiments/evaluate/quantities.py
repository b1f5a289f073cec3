"""What the page of a finished run shows of one map, and how it is read off."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from xguide_jax import evaluation


class Quantity(NamedTuple):
    """One number of one map.

    Attributes:
      title: of its column.
      get: evaluation of a network -> the number.
      rows: evaluation of a network -> [N], whose mean it is; None where it is of none.
      best: which end is good; None where neither is.
      control: evaluation of a network -> the number of random values, where they have
        one.
      signed: whether it is a difference.
    """

    title: str
    get: Callable[[evaluation.Evaluation], float]
    rows: Callable[[evaluation.Evaluation], np.ndarray] | None = None
    best: Literal["max", "min"] | None = None
    control: Callable[[evaluation.Evaluation], float] | None = None
    signed: bool = False


def of_map(first: evaluation.Evaluation, name: str) -> list[Quantity]:
    """All that is known of a map.

    Args:
      first: of any arm; the others have the same.
      name: of the map.

    Returns:
      Gaps first.
    """
    its = first.maps[name]
    made = [
        _gap(name, fill, view)
        for fill, views in its.against_chance.items()
        for view in views._fields
    ]
    made += [_localisation(name, metric) for metric in its.numbers.localisation]
    if its.numbers.attribution_error is not None:
        made.append(Quantity("attribution error", _error_of(name), best="min"))
    return made + [_complexity(name, metric) for metric in its.numbers.complexity]


def _gap(name: str, fill: str, view: str) -> Quantity:
    its = lambda e: getattr(e.maps[name].against_chance[fill], view)
    return Quantity(
        f"{view} gap, {fill}",
        lambda e: its(e).gap.mean,
        lambda e: its(e).rows,
        best="max",
        signed=True,
    )


def _localisation(name: str, metric: str) -> Quantity:
    return Quantity(
        metric,
        lambda e: e.maps[name].numbers.localisation[metric].mean,
        lambda e: e.maps[name].rows[metric],
        best="max",
        control=lambda e: e.control.localisation[metric].mean,
    )


def _complexity(name: str, metric: str) -> Quantity:
    return Quantity(
        metric,
        lambda e: e.maps[name].numbers.complexity[metric].mean,
        lambda e: e.maps[name].rows[metric],
        control=lambda e: e.control.complexity[metric].mean,
    )


def _error_of(name: str) -> Callable[[evaluation.Evaluation], float]:
    def error(each: evaluation.Evaluation) -> float:
        its = each.maps[name].numbers.attribution_error
        return float("nan") if its is None else its.error

    return error
