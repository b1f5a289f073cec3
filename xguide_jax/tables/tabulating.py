"""Tables as data, and how they are laid out: one number format a column, marks."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from xguide_jax.tables import formatting

Row = Mapping[str, object]


@dataclasses.dataclass(frozen=True)
class Column:
    """How one column of a `Table` is shown.

    Attributes:
      title: above it, with the unit.
      decimals: behind the point of every number in it; None for as many as the numbers
        need at four significant digits, the same for all of them.
      best: 'max' or 'min' marks the best and the worst row; None marks nothing.
      signed: whether numbers above 0 carry a plus, as differences do.
    """

    title: str
    decimals: int | None = 3
    best: Literal["max", "min"] | None = None
    signed: bool = False

    def __post_init__(self) -> None:
        if self.decimals is not None and self.decimals < 0:
            raise ValueError(
                f"`decimals` (={self.decimals}) of {self.title!r} must be at least 0."
            )
        if self.best not in ("max", "min", None):
            raise ValueError(
                f"`best` (={self.best!r}) of {self.title!r} must be 'max', 'min' or "
                "None."
            )


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under columns, as data.

    A cell is a number, an estimate (anything with `value`, `low`, `high`, `num_seeds`
    and `num_given`, shown with its interval), text, or None for a dash.

    Attributes:
      caption: above the table; it says how many seeds the numbers are of.
      columns: at least one; the first names the rows.
      rows: a cell for each column.
      apart: first cells of the rows that are no competitors, such as the unguided arm
        and random controls: they stand below the others and are never marked. Names
        that the table has not are passed over.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[object]]
    apart: Sequence[object] = ()

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError(f"{self.caption!r} has no columns.")
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"{self.caption!r} has a row of {len(row)} cells under "
                    f"{len(self.columns)} columns: {list(row)}."
                )


class Cell(NamedTuple):
    """A cell as it is shown; `mark` is '', 'best' or 'worst'."""

    text: str
    mark: str = ""


class Layout(NamedTuple):
    """A table as it is shown.

    Attributes:
      titles: of the columns.
      to_the_right: of each column, whether it holds numbers.
      rows: the competitors.
      apart: the rows set apart.
    """

    titles: list[str]
    to_the_right: list[bool]
    rows: list[list[Cell]]
    apart: list[list[Cell]]

    @property
    def is_marked(self) -> bool:
        """Whether a best row is marked in any column."""
        return any(cell.mark for row in self.rows for cell in row)


def table_of(caption: str, rows: Sequence[Row]) -> Table:
    """The table of rows that name their columns themselves.

    Args:
      caption: above the table.
      rows: {column: value}; a column that a row lacks is shown as a dash.

    Returns:
      A table of all columns in the order they are first met, where nothing is marked
      or set apart; a single column without a title for no rows.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[row.get(name) for name in names] for row in rows if names]
    columns = [Column(name, decimals=None) for name in names] or [Column("")]
    return Table(caption, columns, cells)


def laid_out(table: Table) -> Layout:
    """Every cell as text, with its mark.

    Args:
      table: any.

    Returns:
      A `Layout`.
    """
    is_apart = [row[0] in table.apart for row in table.rows]
    columns = [
        _shown(column, [row[at] for row in table.rows], is_apart)
        for at, column in enumerate(table.columns)
    ]
    rows = [list(cells) for cells in zip(*columns, strict=True)]
    both = list(zip(rows, is_apart, strict=True))
    return Layout(
        [formatting.printable(column.title) for column in table.columns],
        [
            _is_of_numbers([row[at] for row in table.rows])
            for at in range(len(table.columns))
        ],
        [row for row, apart in both if not apart],
        [row for row, apart in both if apart],
    )


def _shown(
    column: Column, values: Sequence[object], is_apart: Sequence[bool]
) -> list[Cell]:
    decimals = column.decimals
    if decimals is None:
        decimals = _decimals(values)
    texts = [_text(value, decimals, signed=column.signed) for value in values]
    # Two numbers that look the same are equally good to a reader.
    competing = {
        text: number
        for text, number, apart in zip(
            texts, map(_number, values), is_apart, strict=True
        )
        if number is not None and np.isfinite(number) and not apart
    }
    if column.best is None or len(competing) < 2:
        return [Cell(text) for text in texts]
    ordered = sorted(competing, key=lambda text: competing[text])
    worst, best = ordered[0], ordered[-1]
    if column.best == "min":
        worst, best = best, worst
    marks = {best: "best"} if len(competing) == 2 else {best: "best", worst: "worst"}
    return [
        Cell(text, "" if apart else marks.get(text, ""))
        for text, apart in pairs(texts, is_apart)
    ]


def _number(value: object) -> float | None:
    """The number a cell is compared by; None for text and where there is none."""
    value = formatting.plain(getattr(value, "value", value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _text(value: object, decimals: int | None, *, signed: bool) -> str:
    if hasattr(value, "low") and hasattr(value, "num_seeds"):
        return formatting.estimate_text(
            value, digits=3 if decimals is None else decimals, signed=signed
        )
    if (number := _number(value)) is None or decimals is None:
        return formatting.format_value(value)
    return formatting.fixed(number, digits=decimals, signed=signed)


def _decimals(values: Sequence[object]) -> int | None:
    """As many as four significant digits of the finest number; None for too many."""
    numbers = [
        number
        for value in values
        if not hasattr(value, "low")
        and (number := _number(value)) is not None
        and np.isfinite(number)
    ]
    texts = [str(int(n)) if n == int(n) else f"{n:.4g}" for n in numbers]
    if any("e" in text for text in texts):
        return None  # 1e-07 beside 1e+05: no fixed format shows both
    return max((len(text.partition(".")[2]) for text in texts), default=0)


def _is_of_numbers(values: Sequence[object]) -> bool:
    """Whether a column belongs to the right: plain numbers, with few words between."""
    given = [value for value in values if value is not None]
    plain = [v for v in given if not hasattr(v, "low") and _number(v) is not None]
    return bool(plain) and 2 * len(plain) > len(given)


def pairs(one: Sequence[Any], other: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Two columns side by side; an error where one is longer."""
    return list(zip(one, other, strict=True))
