"""Tables as text: one number format a column, the best marked, controls set apart."""

import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import evaluation, reporting, tables
from xguide_jax.tables import tabulating

Column, Table = reporting.Column, reporting.Table


def marks(table):
    """{first cell: the marks of the others}, of all rows."""
    layout = tabulating.laid_out(table)
    return {
        row[0].text: [cell.mark for cell in row[1:]]
        for row in [*layout.rows, *layout.apart]
    }


def test_a_table_is_aligned_and_is_markdown():
    rows = [{"arm": "guided", "accuracy": 0.5}, {"arm": "no", "seeds": 5}]
    assert reporting.format_table(rows).split("\n") == [
        "| arm    | accuracy | seeds |",
        "| ------ | -------: | ----: |",
        "| guided |      0.5 |     \u2013 |",
        "| no     |        \u2013 |     5 |",
    ]


def test_no_cell_breaks_out_of_its_table():
    rows = [{"a|b": "x | y\nz\x1b[2J"}]
    lines = reporting.format_table(rows).split("\n")
    assert lines[0] == r"| a\|b               |".replace("               ", " " * 12)
    assert lines[2] == r"| x \| y z\x1b[2J |"
    assert len({len(line) for line in lines}) == 1


def test_numbers_of_any_kind_stand_to_the_right():
    rows = [{"a": jnp.bfloat16(0.5), "b": jnp.float32(np.nan), "c": "0.5 (1 of 2)"}]
    assert reporting.format_table(rows).split("\n")[1:] == [
        "| --: | --------: | ------------ |",
        "| 0.5 | undefined | 0.5 (1 of 2) |",
    ]


def test_no_rows_give_no_table():
    assert reporting.format_table([]) == ""


def test_a_column_has_one_number_format():
    rows = [
        {"arm": "a", "x": 0.952, "n": 3, "rate": 1e-7, "mixed": 0.41},
        {"arm": "b", "x": 0.95, "n": 1200, "rate": 0.5, "mixed": "reference"},
    ]
    lines = reporting.format_table(rows).split("\n")
    assert lines[2:] == [
        "| a   | 0.952 |    3 | 1e-07 | 0.41      |",
        "| b   | 0.950 | 1200 |   0.5 | reference |",
    ]
    table = Table("t", [Column("arm"), Column("x", 2), Column("d", 1, signed=True)], [
        ("a", 0.952, 0.25), ("b", 1, -3), ("c", float("nan"), 0), ("d", None, "none"),
    ])  # fmt: skip
    assert reporting.format_table(table).split("\n")[2:] == [
        "| a   |      0.95 | +0.2 |",
        "| b   |      1.00 | -3.0 |",
        "| c   | undefined | +0.0 |",
        "| d   |         \u2013 | none |",
    ]


def test_the_best_and_the_worst_are_marked_among_competitors_only():
    table = Table(
        "t",
        [Column("arm"), Column("accuracy", 2, "max"), Column("error", 2, "min")],
        [
            ("unguided", 0.99, 0.0), ("a", 0.5, 0.3), ("b", 0.7, 0.1),
            ("c", 0.6, 0.2), ("a@random", 0.0, 9.0), ("d", np.nan, np.inf),
        ],
        apart=("unguided", "a@random", "absent"),
    )  # fmt: skip
    assert marks(table) == {
        "a": ["worst", "worst"],
        "b": ["best", "best"],
        "c": ["", ""],
        "d": ["", ""],
        "unguided": ["", ""],
        "a@random": ["", ""],
    }
    assert reporting.format_table(table).split("\n") == [
        "| arm      |  accuracy  | error  |",
        "| -------- | ---------: | -----: |",
        "| a        |      0.50  |  0.30  |",
        "| b        |      0.70* |  0.10* |",
        "| c        |      0.60  |  0.20  |",
        "| d        | undefined  |   inf  |",
        "|          |            |        |",
        "| unguided |      0.99  |  0.00  |",
        "| a@random |      0.00  |  9.00  |",
    ]


def test_what_looks_the_same_is_marked_the_same_and_no_difference_is_no_mark():
    of = lambda *values: marks(
        Table("t", [Column("arm", 0), Column("x", 2, "max")], [*enumerate(values)])
    )
    assert of(0.501, 0.502, 0.3, 0.1) == {
        "0": ["best"], "1": ["best"], "2": [""], "3": ["worst"],
    }  # fmt: skip
    assert of(0.501, 0.502) == {"0": [""], "1": [""]}
    assert of(0.5) == {"0": [""]}
    assert of(0.5, 0.6) == {"0": [""], "1": ["best"]}  # of two, the other is no worst


def test_estimates_are_compared_by_their_value_and_shown_with_their_interval():
    estimate = lambda value: evaluation.Estimate(value, value - 0.1, value + 0.1, 5, 5)
    table = Table(
        "t",
        [Column("arm"), Column("difference", 1, "max", signed=True)],
        [("a", estimate(0.5)), ("b", estimate(-0.5)), ("c", "reference")],
    )
    assert marks(table) == {"a": ["best"], "b": [""], "c": [""]}
    assert reporting.format_table(table).split("\n")[2:] == [
        "| a   | +0.5 [+0.4, +0.6]* |",
        "| b   | -0.5 [-0.6, -0.4]  |",
        "| c   | reference          |",
    ]


def test_a_table_that_is_none_is_refused():
    with pytest.raises(ValueError, match="'t' has a row of 1 cells under 2 columns"):
        Table("t", [Column("a"), Column("b")], [(1,)])
    with pytest.raises(ValueError, match="'t' has no columns"):
        Table("t", [], [])
    with pytest.raises(ValueError, match=r"`decimals` \(=-1\) of 'a'"):
        Column("a", -1)
    with pytest.raises(ValueError, match=r"`best` \(='most'\) of 'a'"):
        Column("a", best="most")


def test_a_table_as_html_is_escaped_and_its_best_is_bold():
    columns = [Column("map"), Column("gap", decimals=1, best="max")]
    table = Table("a < b", columns, [["<i>", 0.25], ["fine", 0.5]])
    assert tables.format_html(table) == (
        "<table><caption>a &lt; b</caption>"
        "<tr><th>map</th><th>gap</th></tr>"
        "<tr><td>&lt;i&gt;</td><td>0.2</td></tr>"
        "<tr><td>fine</td><td><b>0.5</b></td></tr></table>"
    )
