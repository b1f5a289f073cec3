"""Values and tables as text that is safe to print, paste and publish."""

import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

Row = Mapping[str, object]

# Joiners that some scripts and emoji cannot be written without.
_HARMLESS = frozenset("\n\t\u200c\u200d")


def printable(text: str) -> str:
    r"""Text with every control character written out, e.g. an escape as `\x1b`.

    Control characters drive terminals, invisible ones reverse the direction of what
    follows, and lone surrogates cannot be encoded. Line breaks and tabs stay.

    Args:
      text: anything.

    Returns:
      Text without control, formatting or surrogate characters.
    """
    if text.isprintable():  # quick, as the megabytes of an embedded figure need it
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in ("Cc", "Cf", "Cs")
        and character not in _HARMLESS
        else character
        for character in text
    )


def format_value(value: object) -> str:
    """One value for a reader: four significant digits, and NaN as 'undefined'.

    Args:
      value: a number or an array without axes, of any type, text, None (shown as a
        dash), or anything with a `str`.

    Returns:
      Printable text.
    """
    value = _plain(value)
    if value is None:
        return "\u2013"  # a dash
    if isinstance(value, float):
        return "undefined" if np.isnan(value) else f"{value:.4g}"
    return printable(str(value))


def fixed(value: float, *, digits: int = 3) -> str:
    """A number with a fixed count of decimals, and NaN as 'undefined'.

    Args:
      value: the number.
      digits: behind the point.

    Returns:
      Text.
    """
    return "undefined" if np.isnan(value) else f"{value:.{digits}f}"


def columns_of(rows: Sequence[Row]) -> list[str]:
    """All keys of the rows, in the order they are first met.

    Args:
      rows: {column: value}.

    Returns:
      Column names, each once.
    """
    return list(dict.fromkeys(key for row in rows for key in row))


def is_numeric(rows: Sequence[Row], column: str) -> bool:
    """Whether a column holds numbers only, and so belongs to the right.

    Args:
      rows: {column: value}; a row may lack the column or hold None there.
      column: its name.

    Returns:
      False as well where no row has a value.
    """
    values = [row[column] for row in rows if row.get(column) is not None]
    kinds = [np.asarray(_plain(value)).dtype.kind for value in values]
    return bool(kinds) and set(kinds) <= set("iuf")


def format_table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table that is also aligned for a terminal.

    Args:
      rows: {column: value}; a column that a row lacks is shown as a dash.

    Returns:
      Lines of equal width, numbers to the right, without a line break at the end; the
      empty text for no rows.
    """
    columns = columns_of(rows)
    if not columns:
        return ""
    body = [[_cell(format_value(row.get(key))) for key in columns] for row in rows]
    cells = [[_cell(printable(key)) for key in columns], *body]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    right = [is_numeric(rows, key) for key in columns]
    marks = [
        "-" * (width - 1) + ":" if numeric else "-" * width
        for width, numeric in zip(widths, right, strict=True)
    ]
    lines = [cells[0], marks, *cells[1:]]
    return "\n".join(
        "| "
        + " | ".join(
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(line, widths, right, strict=True)
        )
        + " |"
        for line in lines
    )


def _plain(value: object) -> object:
    """A number of NumPy or JAX as Python's; anything else as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "dtype"):
        return np.asarray(value).item()
    return value


def _cell(text: str) -> str:
    """A bar or a line break inside a cell would end it."""
    return " ".join(text.split()).replace("|", r"\|")
