"""What `evaluate` found, as text, tables, a figure and a page."""

import functools
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xguide_jax import intervals, tables
from xguide_jax.evaluation import chance, seeds
from xguide_jax.tables import Column, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xguide_jax.evaluation.evaluated import Evaluation, MapNumbers


_CONTROL = "random values"


def text_of(found: "Evaluation") -> str:
    """The maps, and the groups where there are some, aligned for a terminal."""
    shown = [
        f"{table.caption}\n{tables.format_table(table)}"
        for table in _main_tables(found)
    ]
    return "\n\n".join(shown)


def html_of(found: "Evaluation") -> str:
    """The same for a notebook."""
    return "".join(tables.format_html(table) for table in _main_tables(found))


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
        for name in first.localisation
    ]
    if any(each.attribution_error for each in numbers):
        found.append(_Quantity(Column("attribution error", best="min"), _error))
    found += [
        _Quantity(Column(name), functools.partial(_complexity, name))
        for name in first.complexity
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


def _gap_columns(gaps: Sequence[tuple[str, str]]) -> list[Column]:
    return [Column(f"{view} gap, {f}", best="max", signed=True) for f, view in gaps]


def _main_tables(found: "Evaluation") -> list[Table]:
    return [_table_of_maps(found), *([_table_of_groups(found)] if found.groups else [])]


def _table_of_maps(found: "Evaluation") -> Table:
    numbers = [each.numbers for each in found.maps.values()]
    gaps, quantities = _gaps(numbers), _quantities(numbers)
    rows = []
    for name, each in found.maps.items():
        estimates = [
            gap_with_interval(getattr(each.against_chance[fill], view))
            if fill in each.against_chance
            else None
            for fill, view in gaps
        ]
        others = [quantity.of(each.numbers) for quantity in quantities]
        not_ranked = each.numbers.gaps[found.fills[0]].removal.num_undefined
        rows.append([name, *estimates, *others, not_ranked])
    rows.append(
        [
            _CONTROL,
            *[None] * len(gaps),
            *(quantity.of(found.control) for quantity in quantities),
            None,
        ]
    )
    columns = [Column("map"), *_gap_columns(gaps), *(q.column for q in quantities)]
    return Table(
        f"{found.num_examples} examples, accuracy {found.accuracy.mean:.3f}; gaps to "
        "random orders of the same network on the same examples, with 95 % intervals "
        "over examples: above 0 is better than chance",
        [*columns, Column("not ranked", decimals=0)],
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
            *(
                getattr(of_group.gaps[fill], view).mean
                if fill in of_group.gaps
                else None
                for fill, view in gaps
            ),
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


def dict_of(found: "Evaluation") -> dict[str, Any]:
    """Nested plain values; None where undefined."""
    return _plain(
        {
            "num_examples": found.num_examples,
            "control": found.control,
            "accuracy": found.accuracy,
            "groups": found.groups,
            "fractions": found.fractions,
            "maps": {
                name: {
                    "numbers": each.numbers,
                    "by_group": each.by_group,
                    "curves": {
                        fill: {
                            view: {
                                "curve": against.curve,
                                "area": against.area,
                                "chance_curve": against.chance.curve,
                                "chance_area": against.chance.area,
                                "gap": gap_with_interval(against),
                            }
                            for view, against in zip(views._fields, views, strict=True)
                        }
                        for fill, views in each.against_chance.items()
                    },
                }
                for name, each in found.maps.items()
            },
        }
    )


def _plain(value: Any) -> Any:
    """Records as dicts, arrays as lists, NaN and infinities as None."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray | tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def figure_of(found: "Evaluation", *, fill: str | None, view: str) -> "Figure":
    """Curves of all maps with their random orders."""
    from xguide_jax import reporting  # needs the plotting library, an extra

    fill = found.fills[0] if fill is None else fill
    if fill not in found.fills or view not in chance.Views._fields:
        raise ValueError(
            f"`fill` (={fill!r}) must be one of {found.fills} and `view` (={view!r}) "
            f"one of {list(chance.Views._fields)}."
        )
    at = chance.Views._fields.index(view)
    maps = {name: fills[fill][at] for name, fills in found.curves.maps.items()}
    verb = {"removal": "removed", "insertion": "inserted"}[view]
    return reporting.curves(
        maps,
        fractions=np.asarray(found.fractions),
        controls=dict.fromkeys(maps, found.curves.chance[fill][at]),
        interval_fn=functools.partial(intervals.bootstrap_interval, seed=0),
        repetition="example",
        x_label=f"fraction of positions {verb}",
        y_label="share that is right",
        title=f"{view}, fill: {fill}",
    )


def report_of(
    found: "Evaluation", path: str | os.PathLike[str], *, title: str
) -> pathlib.Path:
    """Findings, figures and tables on one page."""
    from xguide_jax import reporting  # needs the plotting library, an extra

    findings = [
        reporting.finding(
            f"Removal gap ({fill})",
            {
                name: gap_with_interval(each.against_chance[fill].removal)
                for name, each in found.maps.items()
            },
            reference="random orders of the same network",
        )
        for fill in found.fills
    ]
    figures = {
        f"{view.capitalize()}, {fill}": figure_of(found, fill=fill, view=view)
        for fill in found.fills
        for view in chance.Views._fields
    }
    undefined = {
        metric: sum(
            int(np.isnan(each.rows[metric]).sum()) for each in found.maps.values()
        )
        for metric in next(iter(found.maps.values())).rows
    }
    return reporting.write_report(
        path,
        title=title,
        findings=findings,
        figures=figures,
        tables=[
            *_main_tables(found),
            *([_table_of_maps_by_group(found)] if found.groups else []),
            _table_of_areas(found),
        ],
        undefined=undefined,
    )
