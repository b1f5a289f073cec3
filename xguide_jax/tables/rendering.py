"""Tables as text: Markdown that is aligned for a terminal, HTML for a notebook."""

import html
from collections.abc import Sequence

from xguide_jax.tables import formatting, tabulating
from xguide_jax.tables.tabulating import Cell, Row, Table, pairs


def format_table(table: Table | Sequence[Row]) -> str:
    """A table as Markdown that is also aligned for a terminal.

    The best of a column is followed by an asterisk. Rows set apart stand below an empty
    row.

    Args:
      table: a `Table`, or rows {column: value}.

    Returns:
      Lines of equal width, numbers to the right, without a line break at the end and
      without the caption; the empty text for no rows.
    """
    if not isinstance(table, Table):
        table = tabulating.table_of("", table)
    if not table.rows:
        return ""
    layout = tabulating.laid_out(table)
    space = [[Cell("")] * len(layout.titles)] if layout.rows and layout.apart else []
    body = [*layout.rows, *space, *layout.apart]
    has_best = [
        any(row[at].mark == "best" for row in body) for at in range(len(layout.titles))
    ]
    # A space where the others have the asterisk keeps decimal points below each other.
    cells = [
        [
            _one_line(title) + " " * best
            for title, best in pairs(layout.titles, has_best)
        ],
        *(
            [
                _one_line(cell.text) + ("*" if cell.mark == "best" else " ") * best
                for cell, best in pairs(row, has_best)
            ]
            for row in body
        ),
    ]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = [
        "-" * (width - 1) + ":" if right else "-" * width
        for width, right in pairs(widths, layout.to_the_right)
    ]
    return "\n".join(
        "| "
        + " | ".join(
            text.rjust(width) if right else text.ljust(width)
            for (text, width), right in pairs(pairs(line, widths), layout.to_the_right)
        )
        + " |"
        for line in (cells[0], rule, *cells[1:])
    )


def format_html(table: Table) -> str:
    """A table as HTML that a notebook shows, its caption above it.

    The best of a column is bold. Every text is escaped.

    Args:
      table: any.

    Returns:
      A `<table>` element.
    """
    layout = tabulating.laid_out(table)
    tag = lambda name, text: f"<{name}>{text}</{name}>"
    shown = lambda cell: (
        tag("b", html.escape(cell.text))
        if cell.mark == "best"
        else html.escape(cell.text)
    )
    head = "".join(tag("th", html.escape(title)) for title in layout.titles)
    lines = [
        tag("tr", "".join(tag("td", shown(cell)) for cell in row))
        for row in [*layout.rows, *layout.apart]
    ]
    caption = tag("caption", html.escape(formatting.printable(table.caption)))
    return tag("table", caption + tag("tr", head) + "".join(lines))


def _one_line(text: str) -> str:
    """A bar or a line break inside a cell would end it."""
    return " ".join(text.split()).replace("|", r"\|")
