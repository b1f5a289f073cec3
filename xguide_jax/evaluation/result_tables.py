"""The tables of what `evaluate` found."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xguide_jax import intervals
from xguide_jax.evaluation import chance, measuring, seeds
from xguide_jax.tables import Column, Table

if TYPE_CHECKING:
    from xguide_jax.evaluation.evaluated import Evaluation, MapNumbers

_CONTROL = "random values"
_OWN = measuring.OWN_BASELINE


def gap_with_interval(against: chance.AgainstChance) -> seeds.Estimate:
    """By how much a map's order beats random ones, with its interval over examples.

    Args:
      against: the map beside chance in one view.

    Returns:
      The mean over the examples where it is defined and its 95 % bootstrap interval.
    """
    rows = against.rows[~np.isnan(against.rows)]
    mean = float(rows.mean()) if len(rows) else float("nan")
    low, high = intervals.bootstrap_interval(rows[:, None], seed=0)
    return seeds.Estimate(mean, float(low[0]), float(high[0]), len(rows), len(rows))


class _Quantity(NamedTuple):
    """A column of the tables: what it is called and where it stands in the numbers."""

    column: Column
    of: Callable[["MapNumbers"], float | None]


def _quantities(numbers: Sequence["MapNumbers"]) -> list[_Quantity]:
    """Everything that is known of at least one of the maps, but for the gaps."""
    first = numbers[0]
    found = [
        _Quantity(Column(name, best="max"), functools.partial(_localisation, name))
        for name in measuring.LOCALISATION
        if name in first.localisation  # trees sort the keys of a dict
    ]
    if any(each.attribution_error for each in numbers):
        found.append(_Quantity(Column("attribution error", best="min"), _error))
    found += [
        _Quantity(Column(name, decimals=None), functools.partial(_complexity, name))
        for name in measuring.COMPLEXITY
    ]
    return found


def _localisation(name: str, numbers: "MapNumbers") -> float:
    return numbers.localisation[name].mean


def _complexity(name: str, numbers: "MapNumbers") -> float:
    return numbers.complexity[name].mean


def _error(numbers: "MapNumbers") -> float | None:
    return numbers.attribution_error and numbers.attribution_error.error


def _gaps(numbers: Sequence["MapNumbers"]) -> list[tuple[str, str]]:
    """The fills and views that at least one of the maps has."""
    fills = dict.fromkeys(fill for each in numbers for fill in each.gaps)
    return [(fill, view) for fill in fills for view in chance.Views._fields]


def _gap(numbers: "MapNumbers", fill: str, view: str) -> float | None:
    return getattr(numbers.gaps[fill], view).mean if fill in numbers.gaps else None


def _gap_columns(gaps: Sequence[tuple[str, str]]) -> list[Column]:
    return [Column(f"{view}, {f}", best="max", signed=True) for f, view in gaps]


def main_tables(found: "Evaluation") -> list[Table]:
    """Gaps, the maps themselves, and the groups where there are some.

    Args:
      found: any.

    Returns:
      Tables that fit a terminal with two fills.
    """
    given = found.fills
    own = [name for name, each in found.maps.items() if _OWN in each.against_chance]
    return [
        _table_of_gaps(
            found, list(found.maps), given,
            f"{found.num_examples} examples, accuracy {found.accuracy.mean:.3f}. Gaps "
            "to random orders of the same network on the same examples,\nwith 95 % "
            "intervals over examples: above 0 is better than chance",
        ),
        *(
            [_table_of_gaps(found, own, [_OWN], "The same from and to the baseline")]
            if own
            else []
        ),
        _table_of_quantities(found),
        *([_table_of_groups(found)] if found.groups else []),
    ]  # fmt: skip


def more_tables(found: "Evaluation") -> list[Table]:
    """The maps by group, where there are groups, and all areas.

    Args:
      found: any.

    Returns:
      Tables for a page.
    """
    by_group = [_table_of_maps_by_group(found)] if found.groups else []
    return [*by_group, _table_of_areas(found)]


def _table_of_gaps(
    found: "Evaluation", names: Sequence[str], fills: Sequence[str], caption: str
) -> Table:
    gaps = [(fill, view) for fill in fills for view in chance.Views._fields]
    rows = []
    for name in names:
        against = found.maps[name].against_chance
        estimates = [gap_with_interval(getattr(against[f], view)) for f, view in gaps]
        not_ranked = against[fills[0]].removal.gap.num_undefined
        rows.append([name, *estimates, not_ranked])
    columns = [Column("map"), *_gap_columns(gaps), Column("not ranked", decimals=0)]
    return Table(caption, columns, rows)


def _table_of_quantities(found: "Evaluation") -> Table:
    """All else, beside what a map scores that knows nothing."""
    numbers = {name: each.numbers for name, each in found.maps.items()}
    quantities = _quantities(list(numbers.values()))
    rows = [
        [name, *(quantity.of(each) for quantity in quantities)]
        for name, each in (numbers | {_CONTROL: found.control}).items()
    ]
    return Table(
        "The maps themselves, and random values in place of a map",
        [Column("map"), *(quantity.column for quantity in quantities)],
        rows,
        apart=(_CONTROL,),
    )


def _table_of_groups(found: "Evaluation") -> Table:
    accuracy = found.groups
    assert accuracy is not None
    rows = [
        [str(group), int(count), float(share)]
        for group, (count, share) in enumerate(
            zip(accuracy.num_examples, accuracy.accuracy, strict=True)
        )
    ]
    columns = [Column("group"), Column("examples", decimals=0), Column("accuracy")]
    caption = (
        f"Accuracy by group: in the worst {accuracy.worst:.3f}, groups counted alike "
        f"{accuracy.balanced:.3f}"
    )
    return Table(caption, columns, rows)


def _table_of_maps_by_group(found: "Evaluation") -> Table:
    numbers = [each.numbers for each in found.maps.values()]
    gaps, quantities = _gaps(numbers), _quantities(numbers)
    rows = [
        [
            name,
            str(group),
            *(_gap(of_group, fill, view) for fill, view in gaps),
            *(quantity.of(of_group) for quantity in quantities),
        ]
        for name, each in found.maps.items()
        for group, of_group in enumerate(each.by_group)
    ]
    columns = [
        Column("map"), Column("group"),
        *_gap_columns(gaps), *(quantity.column for quantity in quantities),
    ]  # fmt: skip
    return Table("The maps by group", columns, rows)


def _table_of_areas(found: "Evaluation") -> Table:
    columns = [
        Column("map"),
        Column("fill"),
        Column("view"),
        Column("area"),
        Column("area of chance"),
        Column("gap", signed=True),
        Column("gap, undefined as 0", signed=True),
        Column("examples", decimals=0),
    ]
    rows = [
        [
            name, fill, view, against.area, against.chance.area, against.gap.mean,
            against.gap.mean_or_zero, against.gap.num_defined,
        ]
        for name, each in found.maps.items()
        for fill, views in each.against_chance.items()
        for view, against in zip(views._fields, views, strict=True)
    ]  # fmt: skip
    return Table("Areas under the curves, beside chance", columns, rows)
