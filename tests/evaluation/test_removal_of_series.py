"""The accuracy left without cells of a series, beside chance of the same network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import data, evaluation, ops

FRACTIONS = (0.0, 0.2, 0.5, 0.9)
FILLS = {
    "feature range": ops.fill_leaf(
        "series",
        functools.partial(ops.uniform_data_range_fill, low=-1.0, high=1.0),
    ),
    "zero": ops.fill_leaf("series", functools.partial(ops.constant_fill, value=0.0)),
}


@functools.cache
def planted():
    """Of 10 steps the last two are padding, of values that would break any ranking."""
    dataset = data.planted_series(
        24, layout="rare_time", process="gaussian", seed=0, irregular=False,
        num_steps=10, num_features=10,
    )  # fmt: skip
    mask = np.broadcast_to(np.arange(10) < 8, (24, 10))
    series = np.where(mask[..., None], dataset.inputs["series"], 99.0)
    inputs = {"series": series.astype(np.float32), "mask": mask}
    return dataset._replace(inputs=inputs)


@jax.jit
def predict(inputs):
    """The sign of the sum of the cells in the block of this layout."""
    inside = jnp.asarray(planted().annotations["region"][0])
    counted = jnp.where(inputs["mask"][..., None], inputs["series"], 0.0)
    total = jnp.sum(counted * inside, axis=(1, 2))
    return jnp.stack([-total, total], axis=1)


@functools.cache
def measured():
    dataset = planted()
    region = jnp.asarray(dataset.annotations["region"])
    where = jnp.broadcast_to(dataset.inputs["mask"][..., None], region.shape)
    # Padding is the highest of every map, and must not be chosen for that.
    scores = {
        name: jnp.where(where, values, 9.0)
        for name, values in {"true cells": region, "all others": -region}.items()
    }
    orders = evaluation.random_orders_like(region, key=jax.random.key(1), num_orders=3)
    inputs = jax.tree.map(jnp.asarray, dataset.inputs)
    return evaluation.measure_removal(
        predict, inputs, jnp.asarray(dataset.labels), scores, orders=orders,
        fills=FILLS, fractions=FRACTIONS, key=jax.random.key(2), batch_size=12,
        where=where,
    )  # fmt: skip


@pytest.mark.parametrize("fill", FILLS)
def test_the_true_cells_carry_the_accuracy_and_a_random_order_does_not(fill):
    found = measured()
    assert found.num_undefined == 0
    true, others = (found.maps[name][fill].removal for name in found.maps)
    assert true.gap.mean > 0.1
    assert others.gap.mean < -0.02
    # Nothing is taken out at first, whatever the map.
    assert true.curve[0] == others.curve[0] == found.chance[fill].removal.curve[0]


def test_without_the_true_cells_a_network_guesses():
    """0.2 of 80 cells are 16: the 8 that tell the class and 8 of no effect."""
    curve = measured().maps["true cells"]["zero"].removal.curve
    others = measured().maps["all others"]["zero"].removal.curve
    assert curve[0] > 0.9
    np.testing.assert_allclose(curve[1:], 0.5)
    np.testing.assert_array_equal(others[:3], [others[0]] * 3)
