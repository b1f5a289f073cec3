"""Tables and numbers as text: for a terminal, a page or a cell of a notebook.

A table is a list of columns, written as data. Nothing is needed beyond NumPy, so that
what prints itself needs no plotting library.
"""

from xguide_jax.tables.formatting import estimate_text, fixed, format_value, printable
from xguide_jax.tables.rendering import format_html, format_table
from xguide_jax.tables.tabulating import Column, Table, table_of

__all__ = (
    "Column",
    "Table",
    "estimate_text",
    "fixed",
    "format_html",
    "format_table",
    "format_value",
    "printable",
    "table_of",
)
