"""Values and tables as text."""

import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import reporting
from xguide_jax.reporting import formatting


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (np.float32(0.5), "0.5"),
        (np.array(2.0), "2"),
        (float("nan"), "undefined"),
        (np.float32("nan"), "undefined"),
        (jnp.float32(np.nan), "undefined"),
        (jnp.bfloat16(np.nan), "undefined"),
        (jnp.float32(0.123456), "0.1235"),
        (jnp.bfloat16(0.5), "0.5"),
        (np.asarray(jnp.bfloat16(0.5)), "0.5"),
        (jnp.int32(7), "7"),
        (float("inf"), "inf"),
        (-np.float32("inf"), "-inf"),
        (1e-7, "1e-07"),
        (123456, "123456"),
        (np.int64(7), "7"),
        (True, "True"),
        (None, "\u2013"),
        ("0.70 \u00b1 0.02", "0.70 \u00b1 0.02"),
    ],
)
def test_values_are_shown_for_a_reader(value, text):
    assert reporting.format_value(value) == text


def test_control_characters_are_written_out_and_other_text_is_kept():
    assert formatting.printable("a\x00b\x1b[31mc\x7f\x9b") == (
        r"a\x00b\x1b[31mc\x7f\x9b"
    )
    # The first would reverse what follows, the second cannot be encoded.
    assert formatting.printable("\u202egpj.exe \ud800") == r"\u202egpj.exe \ud800"
    kept = "two\nlines\tand \u00e9 \u4e2d \U0001f469\u200d\U0001f52c"
    assert formatting.printable(kept) == kept


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
