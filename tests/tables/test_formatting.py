"""Values as text."""

import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import evaluation, reporting
from xguide_jax.tables import formatting


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


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        ((0.41, 0.3, 0.52, 5, 5), "+0.41 [+0.30, +0.52]"),
        ((0.41, 0.3, 0.52, 4, 5), "+0.41 [+0.30, +0.52] (4 of 5 seeds)"),
        ((-0.1, np.nan, np.nan, 1, 1), "-0.10 (one seed, no interval)"),
        ((-0.1, np.nan, np.nan, 1, 5), "-0.10 (1 of 5 seeds, no interval)"),
        ((0.1, -np.inf, np.inf, 5, 5), "+0.10 [unbounded]"),
        ((np.inf, np.nan, np.nan, 2, 2), "+inf (no interval)"),
        ((np.nan, np.nan, np.nan, 0, 5), "undefined"),
    ],
)
def test_an_estimate_comes_with_its_interval_and_its_seeds(estimate, text):
    estimate = evaluation.Estimate(*estimate)
    assert formatting.estimate_text(estimate, digits=2) == text
    unsigned = formatting.estimate_text(estimate, digits=2, signed=False)
    assert unsigned == text.replace("+", "")
    if not text.startswith("undefined"):  # in three decimals, as estimates print it
        assert formatting.estimate_text(estimate) == str(estimate)
