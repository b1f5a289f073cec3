"""Any number of examples through a function of one batch size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import evaluation


@pytest.mark.parametrize("batch_size", [1, 3, 4, 5, 8])
def test_every_row_comes_back_once_and_every_call_is_of_one_size(batch_size):
    seen = []

    def batch_fn(rows):
        seen.append(rows["a"].shape)
        return {"double": 2 * rows["a"], "both": (rows["b"], rows["b"][:, 0])}

    rows = {"a": jnp.arange(5), "b": np.arange(10.0).reshape(5, 2)}
    made = evaluation.map_rows(batch_fn, rows, batch_size=batch_size)
    np.testing.assert_array_equal(made["double"], [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(made["both"][0], rows["b"])
    np.testing.assert_array_equal(made["both"][1], rows["b"][:, 0])
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(made))
    assert seen == [(batch_size,)] * -(-5 // batch_size)


def test_the_last_batch_is_filled_up_with_its_own_first_row():
    seen = []
    keep = lambda rows: seen.append(rows.tolist()) or rows
    evaluation.map_rows(keep, np.array([1, 2, 3, 4, 5]), batch_size=4)
    assert seen == [[1, 2, 3, 4], [5, 5, 5, 5]]


def test_keys_are_rows():
    keys = jax.random.split(jax.random.key(0), 3)
    draw = jax.vmap(lambda key: jax.random.normal(key, (2,)))
    made = evaluation.map_rows(draw, keys, batch_size=2)
    np.testing.assert_array_equal(made, draw(keys))


def test_errors():
    same = lambda rows: rows
    with pytest.raises(ValueError, match=r"`batch_size` \(=0\) must be at least 1"):
        evaluation.map_rows(same, np.zeros(2), batch_size=0)
    for rows in (np.zeros(0), {}, (np.zeros(2), np.zeros(3)), np.float32(1)):
        with pytest.raises(ValueError, match="every leaf of rows must begin"):
            evaluation.map_rows(same, rows, batch_size=1)
    with pytest.raises(ValueError, match="of 2 examples the function must return 2"):
        evaluation.map_rows(lambda rows: rows[:1], np.zeros(2), batch_size=2)
    with pytest.raises(ValueError, match="every leaf of the result must begin"):
        evaluation.map_rows(lambda rows: rows.sum(), np.zeros(2), batch_size=2)
