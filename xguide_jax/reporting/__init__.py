"""What comes out of a run: figures for a paper, tables, and one page that holds both.

A page begins with what came out (`finding`), shows pictures, and folds its tables
(`Table`, a list of columns written as data) below. Texts with a score on each word are
`token_marks`.

Everything takes NumPy arrays or plain values and returns a Matplotlib `Figure` or text;
only `write_report` writes a file. Undefined values are counted and shown, not hidden.
This package needs matplotlib and jinja2, of `xguide_jax[experiments]`.
"""

from xguide_jax import deprecating
from xguide_jax.reporting.curve_figures import curves, training_curves
from xguide_jax.reporting.described_images import described_images
from xguide_jax.reporting.findings import finding
from xguide_jax.reporting.map_figures import overlay, saliency_grid
from xguide_jax.reporting.report import write_report
from xguide_jax.reporting.series_strips import series_strips
from xguide_jax.reporting.style import to_png
from xguide_jax.reporting.tradeoff_figures import pareto_front, tradeoff
from xguide_jax.tables import (
    Column,
    MarkedText,
    Table,
    TokenMarks,
    format_table,
    format_value,
    table_of,
    token_marks,
)

__all__ = (
    "Column",
    "MarkedText",
    "Table",
    "TokenMarks",
    "curves",
    "described_images",
    "finding",
    "format_table",
    "format_value",
    "overlay",
    "pareto_front",
    "saliency_grid",
    "series_strips",
    "table_of",
    "to_png",
    "token_marks",
    "tradeoff",
    "training_curves",
    "write_report",
)

__getattr__ = deprecating.old_names(__name__)
