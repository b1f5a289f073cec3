"""What `evaluate` found, as text, tables, a figure and a page."""

import functools
import math
import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xguide_jax import intervals, tables
from xguide_jax.evaluation import chance, result_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xguide_jax.evaluation.evaluated import Evaluation


def text_of(found: "Evaluation") -> str:
    """The maps, and the groups where there are some, aligned for a terminal."""
    shown = [
        f"{table.caption}\n{tables.format_table(table)}"
        for table in result_tables.main_tables(found)
    ]
    return "\n\n".join(shown)


def html_of(found: "Evaluation") -> str:
    """The same for a notebook."""
    return "".join(
        tables.format_html(table) for table in result_tables.main_tables(found)
    )


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
                                "gap": result_tables.gap_with_interval(against),
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
                name: result_tables.gap_with_interval(each.against_chance[fill].removal)
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
            *result_tables.main_tables(found),
            *result_tables.more_tables(found),
        ],
        undefined=undefined,
    )
