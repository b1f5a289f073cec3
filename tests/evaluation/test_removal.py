"""A map's curves beside random orders of the same network, on the same examples."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import evaluation, metrics, ops

FRACTIONS = tuple(np.round(np.arange(0.0, 0.95, 0.1), 1).tolist())
UNIFORM = functools.partial(ops.uniform_range_fill, axes=(1, 2))
BLACK = functools.partial(ops.constant_fill, value=0.0)
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def area(curve):
    return np.trapezoid(curve, FRACTIONS, axis=-1) / 0.9


@pytest.fixture(scope="module")
def problem():
    """A linear network on 100 pixels, of which every fraction is a whole number."""
    keys = jax.random.split(jax.random.key(0), 3)
    kernel = jax.random.normal(keys[1], (100, 3))
    predict = jax.jit(lambda x: x.reshape(len(x), -1) @ kernel)
    inputs = jax.random.normal(keys[0], (40, 10, 10, 1))
    labels = jax.random.randint(keys[2], (40,), 0, 3)
    return predict, inputs, labels


def test_inserting_a_part_of_a_random_order_is_removing_the_rest(problem):
    predict, inputs, labels = problem
    (order,) = evaluation.random_orders(inputs, key=jax.random.key(3), num_orders=1)
    for fractions in (FRACTIONS, (0.0, 0.3, 0.5, 1.0), (0.25, 0.9)):
        settings = {"fractions": fractions, "key": jax.random.key(4)}
        found = evaluation.measure_removal(
            predict, inputs, labels, {},
            orders=[order], fills={"u": UNIFORM}, batch_size=40, **settings,
        )  # fmt: skip
        removed = metrics.removal_curve(
            predict, inputs, labels, order, fill=UNIFORM, **settings
        )
        inserted = metrics.insertion_curve(
            predict, inputs, labels, -order, fill=UNIFORM, **settings
        )
        for view, rows in zip(found.chance["u"], (removed, inserted), strict=True):
            expected = np.mean(np.asarray(rows), axis=0)
            assert len(np.unique(expected)) > 1
            np.testing.assert_allclose(view.curve, expected)
            curve = jnp.asarray(expected)
            expected = metrics.area_under_curve(curve, fractions=fractions)
            np.testing.assert_allclose(view.area, expected, rtol=1e-6)


def test_curves_are_those_of_the_metrics_and_chance_is_a_mean_over_orders(problem):
    predict, inputs, labels = problem
    scores = {"good": inputs, "bad": -inputs}
    orders = evaluation.random_orders(inputs, key=jax.random.key(3), num_orders=2)
    fills = {"u": UNIFORM, "b": BLACK}
    settings = {"fractions": FRACTIONS, "key": jax.random.key(4)}
    found = evaluation.measure_removal(
        predict,
        inputs,
        labels,
        scores,
        orders=orders,
        fills=fills,
        batch_size=40,
        **settings,
    )
    assert set(found.maps) == set(scores)
    assert found.num_undefined == 0
    for fill_name, fill in fills.items():
        curve = lambda fn, s, fill=fill: np.asarray(
            fn(predict, inputs, labels, s, fill=fill, **settings)
        )
        chance = np.mean([curve(metrics.removal_curve, o) for o in orders], axis=0)
        close(found.chance[fill_name].removal.curve, chance.mean(axis=0))
        for name, score in scores.items():
            views = found.maps[name][fill_name]
            removed = curve(metrics.removal_curve, score)
            inserted = curve(metrics.insertion_curve, score)
            close(views.removal.curve, removed.mean(axis=0))
            close(views.insertion.curve, inserted.mean(axis=0))
            close(views.removal.rows, area(chance) - area(removed))
            close(views.removal.gap.mean, np.mean(area(chance) - area(removed)))


def test_maps_and_fills_come_back_in_the_order_given(problem):
    predict, inputs, labels = problem
    found = evaluation.measure_removal(
        predict, inputs, labels, {"z": inputs, "a": -inputs},
        orders=evaluation.random_orders(inputs, key=jax.random.key(3), num_orders=1),
        fills={"u": UNIFORM, "b": BLACK}, fractions=(0.0, 0.5),
        key=jax.random.key(4), batch_size=40,
    )  # fmt: skip
    assert list(found.maps) == ["z", "a"]
    assert list(found.maps["z"]) == list(found.chance) == ["u", "b"]


def test_what_is_read_is_handed_on(problem):
    predict, inputs, labels = problem
    found = evaluation.measure_removal(
        predict, inputs, labels, {"map": inputs},
        orders=evaluation.random_orders(inputs, key=jax.random.key(3), num_orders=1),
        fills={"b": BLACK}, fractions=(0.0, 0.5), key=jax.random.key(4), batch_size=4,
        value=lambda logits, labels: jnp.full(len(labels), 0.25),
    )  # fmt: skip
    close(found.maps["map"]["b"].removal.curve, 0.25)
    close(found.chance["b"].insertion.curve, 0.25)


@pytest.mark.parametrize("batch_size", [7, 64])
def test_curves_do_not_depend_on_the_batch_size(problem, batch_size):
    predict, inputs, labels = problem
    measure = functools.partial(
        evaluation.measure_removal, predict, inputs, labels, {"map": jnp.abs(inputs)},
        orders=evaluation.random_orders(inputs, key=jax.random.key(3), num_orders=2),
        fills={"u": UNIFORM}, fractions=FRACTIONS, key=jax.random.key(4),
    )  # fmt: skip
    sizes = []
    counted = lambda x: sizes.append(len(x)) or predict(x)
    chunked = measure(batch_size=batch_size)
    chex.assert_trees_all_close(chunked, measure(batch_size=40), rtol=1e-6)
    evaluation.measure_removal(
        counted, *measure.args[1:], **measure.keywords, batch_size=batch_size
    )
    assert set(sizes) == {batch_size}


def test_a_random_map_is_no_better_than_itself(problem):
    predict, inputs, labels = problem
    (order,) = evaluation.random_orders(inputs, key=jax.random.key(3), num_orders=1)
    found = evaluation.measure_removal(
        predict, inputs, labels, {"random": order},
        orders=[order], fills={"u": UNIFORM}, fractions=FRACTIONS,
        key=jax.random.key(4), batch_size=40,
    )  # fmt: skip
    assert found.maps["random"]["u"].removal.gap == (0.0, 0.0, 40, 40)
    assert f"{found.maps['random']['u'].removal.gap.mean:+.1f}" == "+0.0"
    np.testing.assert_array_equal(found.maps["random"]["u"].removal.rows, np.zeros(40))


def test_a_perfect_map_beats_chance_and_an_inverted_one_loses_in_both_views(problem):
    predict, inputs, _ = problem
    # Of a linear network whose top class is the label, weight times input is the truth.
    labels = jnp.argmax(predict(inputs), axis=-1)
    weights = predict(jnp.eye(100).reshape(100, 10, 10, 1)).T
    truth = inputs * weights[labels].reshape(inputs.shape)
    found = evaluation.measure_removal(
        predict, inputs, labels, {"truth": truth, "inverted": -truth},
        orders=evaluation.random_orders(inputs, key=jax.random.key(3), num_orders=3),
        fills={"b": BLACK}, fractions=FRACTIONS, key=jax.random.key(4), batch_size=40,
    )  # fmt: skip
    for name, sign in {"truth": 1, "inverted": -1}.items():
        for view in found.maps[name]["b"]:
            assert sign * view.gap.mean > 0.05


def test_random_orders_differ_and_more_of_them_begin_alike():
    inputs = jnp.zeros((2, 4, 4, 3))
    two, three = (
        evaluation.random_orders(inputs, key=jax.random.key(0), num_orders=n)
        for n in (2, 3)
    )
    assert [order.shape for order in three] == [(2, 4, 4, 1)] * 3
    np.testing.assert_array_equal(two[1], three[1])
    assert np.any(three[0] != three[1])
    with pytest.raises(ValueError, match=r"`num_orders` \(=0\) must be at least 1"):
        evaluation.random_orders(inputs, key=jax.random.key(0), num_orders=0)


def test_a_label_that_is_no_class_is_undefined_for_chance(problem):
    predict, inputs, labels = problem
    found = evaluation.measure_removal(
        predict, inputs[:4], labels[:4].at[1].set(3), {"map": inputs[:4]},
        orders=evaluation.random_orders(
            inputs[:4], key=jax.random.key(3), num_orders=1
        ),
        fills={"b": BLACK}, fractions=(0.0, 0.5), key=jax.random.key(4), batch_size=4,
    )  # fmt: skip
    assert found.num_undefined == 1
    assert np.isnan(found.maps["map"]["b"].removal.rows).tolist() == [0, 1, 0, 0]


def test_errors(problem):
    predict, inputs, labels = problem
    measure = functools.partial(
        evaluation.measure_removal, predict, inputs, labels, {},
        fractions=FRACTIONS, key=jax.random.key(0), batch_size=20,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"`orders` \(0 of them\)"):
        measure(orders=[], fills={"b": BLACK})
    with pytest.raises(ValueError, match=r"`fills` \(\[\]\) must hold"):
        measure(orders=[inputs], fills={})


def test_a_random_order_costs_one_pass_a_fraction_and_the_last(problem):
    predict, inputs, labels = problem
    passes = []
    evaluation.measure_removal(
        lambda x: passes.append(len(x)) or predict(x), inputs, labels, {},
        orders=evaluation.random_orders(inputs, key=jax.random.key(3), num_orders=1),
        fills={"b": BLACK}, fractions=FRACTIONS, key=jax.random.key(4), batch_size=40,
    )  # fmt: skip
    # 1 - 0.7 is 0.30000000000000004, which is not another fraction.
    assert len(passes) == 11


def test_numbers_from_another_library_will_do(problem):
    predict, inputs, labels = problem
    kernel = np.asarray(predict(jnp.eye(100).reshape(100, 10, 10, 1)))
    orders = evaluation.random_orders(inputs, key=jax.random.key(3), num_orders=1)
    settings = {
        "fills": {"b": BLACK}, "fractions": FRACTIONS, "key": jax.random.key(4),
        "batch_size": 16,
    }  # fmt: skip
    expected = evaluation.measure_removal(
        predict, inputs, labels, {"map": inputs}, orders=orders, **settings
    )
    host = lambda x: np.asarray(x).reshape(len(x), -1) @ kernel
    found = evaluation.measure_removal(
        host, np.asarray(inputs), np.asarray(labels), {"map": np.asarray(inputs)},
        orders=[np.asarray(order) for order in orders], **settings,
    )  # fmt: skip
    chex.assert_trees_all_close(found, expected, rtol=1e-6)
