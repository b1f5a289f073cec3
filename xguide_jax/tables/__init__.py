"""Tables and numbers as text: for a terminal, a page or a cell of a notebook.

A table is a list of columns, written as data; a text has a score on each of its words.
Nothing is needed beyond NumPy, so that what prints itself needs no plotting library.
"""

from xguide_jax.tables.formatting import estimate_text, fixed, format_value, printable
from xguide_jax.tables.marked_texts import TokenMarks, token_marks
from xguide_jax.tables.rendering import format_html, format_table
from xguide_jax.tables.tabulating import Column, Table, table_of
from xguide_jax.tables.token_layout import MarkedText

__all__ = (
    "Column",
    "MarkedText",
    "Table",
    "TokenMarks",
    "estimate_text",
    "fixed",
    "format_html",
    "format_table",
    "format_value",
    "printable",
    "table_of",
    "token_marks",
)
