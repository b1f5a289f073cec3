"""Tokens and steps taken out of inputs that are a dict, in three ways."""

import functools

import hypothesis
import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import ops

KEY = jax.random.key(0)
INPUTS = {
    "tokens": np.array([[101, 7, 8, 9, 102, 0], [101, 5, 6, 102, 0, 0]], np.int32),
    "segments": np.array([[0, 0, 1, 1, 1, 0], [0, 0, 1, 1, 0, 0]], np.int32),
    "mask": np.array([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]], bool),
}
REMOVED = np.array([[0, 1, 0, 1, 0, 0], [0, 1, 1, 0, 0, 0]], bool)
MASKED = ops.fill_leaf("tokens", functools.partial(ops.constant_fill, value=103))
HIDDEN = ops.hide_positions("mask")
DELETED = ops.delete_positions(("tokens", "segments"), mask="mask")
EVERY = {"masked": MASKED, "hidden": HIDDEN, "deleted": DELETED}


def test_another_token_in_the_place():
    found = MASKED(KEY, INPUTS)(REMOVED)
    expected = [[101, 103, 8, 103, 102, 0], [101, 103, 103, 102, 0, 0]]
    np.testing.assert_array_equal(found["tokens"], expected)
    assert found["mask"] is INPUTS["mask"]
    assert found["segments"] is INPUTS["segments"]


def test_hidden_positions_stay_where_they_are():
    found = HIDDEN(KEY, INPUTS)(REMOVED)
    expected = np.array([[1, 0, 1, 0, 1, 0], [1, 0, 0, 1, 0, 0]], bool)
    np.testing.assert_array_equal(found["mask"], expected)
    assert found["tokens"] is INPUTS["tokens"]


def test_behind_deleted_positions_the_others_close_up():
    found = DELETED(KEY, INPUTS)(REMOVED)
    mask = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]], bool)
    np.testing.assert_array_equal(found["mask"], mask)
    expected = [[101, 8, 102, 0, 0, 0], [101, 102, 0, 0, 0, 0]]
    np.testing.assert_array_equal(np.where(mask, found["tokens"], 0), expected)
    expected = [[0, 1, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0]]
    np.testing.assert_array_equal(np.where(mask, found["segments"], 0), expected)


@hypothesis.given(hnp.arrays(bool, (2, 6)))
def test_what_is_left_is_the_text_without_the_removed(removed):
    for removal in (HIDDEN, DELETED):
        found = removal(KEY, INPUTS)(removed)
        assert found.keys() == INPUTS.keys()
        for row in range(2):
            left = INPUTS["mask"][row] & ~removed[row]
            for name in ("tokens", "segments"):
                np.testing.assert_array_equal(
                    found[name][row][found["mask"][row]], INPUTS[name][row][left]
                )
    # Closed up, that is: no gap between what is left.
    assert not np.any(~found["mask"][:, :-1] & found["mask"][:, 1:])


@pytest.mark.parametrize("name", sorted(EVERY))
def test_taking_nothing_out_changes_nothing(name):
    found = EVERY[name](KEY, INPUTS)(np.zeros((2, 6), bool))
    for array, values in INPUTS.items():
        np.testing.assert_array_equal(found[array], values)
        assert found[array].dtype == values.dtype


def test_steps_of_a_series_go_along_with_all_their_features():
    rng = np.random.default_rng(0)
    series = rng.normal(size=(2, 4, 3)).astype(np.float32)
    inputs = {"series": series, "mask": np.ones((2, 4), bool)}
    removed = np.array([[1, 0, 0, 0], [0, 0, 1, 0]], bool)
    found = ops.delete_positions(["series"], mask="mask")(KEY, inputs)(removed)
    np.testing.assert_array_equal(found["series"][0, :3], series[0, 1:])
    np.testing.assert_array_equal(found["series"][1, :3], series[1, [0, 1, 3]])
    noise = functools.partial(ops.uniform_range_fill, axes=1)
    without = ops.fill_leaf("series", noise)(KEY, inputs)
    few, many = without(removed[..., None]), without(np.ones((1, 1, 1), bool))
    kept = ~removed[..., None] & np.ones_like(series, bool)
    np.testing.assert_array_equal(few["series"][kept], series[kept])
    # Drawn once: more of the same values.
    np.testing.assert_array_equal(few["series"][~kept], many["series"][~kept])
    cells = rng.uniform(size=series.shape) < 0.5
    assert np.array_equal(without(cells)["series"] == series, ~cells)


def test_under_jit_it_is_the_same():
    for removal in EVERY.values():
        found = jax.jit(lambda i, r, fn=removal: fn(KEY, i)(r))(INPUTS, REMOVED)
        expected = removal(KEY, INPUTS)(REMOVED)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_gradients_stay_with_what_is_left():
    series, mask = jnp.ones((1, 3, 2)), np.ones((1, 3), bool)
    delete = ops.delete_positions(("series",), mask="mask")

    def total(series):
        left = delete(KEY, {"series": series, "mask": mask})
        left = left(np.array([[False, True, False]]))
        return jnp.sum(jnp.where(left["mask"][..., None], left["series"], 0.0))

    np.testing.assert_array_equal(jax.grad(total)(series)[0, :, 0], [1, 0, 1])


@pytest.mark.parametrize("name", sorted(EVERY))
def test_inputs_that_lack_an_array_are_refused_by_name(name):
    with pytest.raises(
        ValueError, match=r"needs inputs\['\w+'\]; the inputs have \[\]"
    ):
        EVERY[name](KEY, np.ones((2, 6)))
    with pytest.raises(ValueError, match=r"the inputs have \['image'\]"):
        EVERY[name](KEY, {"image": np.ones((2, 6))})


@pytest.mark.parametrize("name", sorted(EVERY))
def test_what_is_removed_must_be_bool_of_the_same_positions(name):
    without = EVERY[name](KEY, INPUTS)
    for removed in (REMOVED.astype(np.float32), REMOVED[:, :4], REMOVED[..., None]):
        with pytest.raises(AssertionError):
            without(removed)
