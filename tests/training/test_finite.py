"""Finite or not, at a glance, against a look at each number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xguide_jax.training import finite

_NUMBERS = st.sampled_from(
    (0.0, -1.5, 1e-42, 1e19, 1e30, -3e38, np.inf, -np.inf, np.nan)
)
_all_finite = jax.jit(finite.all_finite)
_faulty = jax.jit(finite.faulty)


def _tree(numbers, dtype=jnp.float32):
    first, second = jnp.split(jnp.array(numbers, dtype), 2)
    return {"a": first, "b": [second], "n": jnp.array(7)}


@given(st.lists(_NUMBERS, min_size=6, max_size=6))
def test_numbers_are_finite_as_numpy_says(numbers):
    expected = bool(np.isfinite(np.float32(numbers)).all())
    assert bool(_all_finite(_tree(numbers))) == expected


@given(*[st.lists(_NUMBERS, min_size=6, max_size=6)] * 2)
def test_a_fault_is_a_new_infinity_or_any_nan(old, new):
    old, new = np.float32(old), np.float32(new)
    same_infinity = np.isinf(new) & (old == new)
    expected = bool((~np.isfinite(new) & ~same_infinity).any())
    assert bool(_faulty(_tree(old), _tree(new))) == expected


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.complex64, jnp.int32])
def test_any_dtype_is_taken(dtype):
    fine = _tree([300, -300, 1, 0], dtype)  # their squares overflow float16
    assert _all_finite(fine)
    assert not _faulty(fine, fine)
    if jnp.issubdtype(dtype, jnp.inexact):
        worse = {**fine, "a": fine["a"].at[1].set(jnp.nan)}
        assert not _all_finite(worse)
        assert _faulty(worse, worse)


def test_no_numbers_are_finite_and_no_fault():
    for tree in ({}, {"n": jnp.arange(3)}, {"a": jnp.zeros((0, 2))}):
        assert _all_finite(tree)
        assert not _faulty(tree, tree)


def test_trees_of_different_structures_are_refused():
    old, new = {"a": jnp.zeros(2), "b": jnp.zeros(2)}, {"a": jnp.zeros(2)}
    for first, second in ((old, new), (new, old)):
        with pytest.raises(ValueError, match=r"'b'"):
            finite.faulty(first, second)


def test_only_a_cpu_takes_squares():
    tree = _tree([1.0, 2.0])
    for platform, squares in {"cpu": True, "cuda": False, "tpu": False}.items():
        for check in (_all_finite.trace(tree), _faulty.trace(tree, tree)):
            text = check.lower(lowering_platforms=(platform,)).as_text()
            assert ("square" in text) == squares
