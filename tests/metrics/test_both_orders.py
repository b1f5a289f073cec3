"""Both curves of a map and of random orders, by one sort and few passes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, evaluation, metrics, ops

TENTHS = tuple(step / 10 for step in range(11))
KEY = jax.random.key(0)
NOISE = functools.partial(ops.uniform_range_fill, axes=1)
BLANK = functools.partial(ops.constant_fill, value=0.0)
KERNEL = jax.random.normal(jax.random.key(1), (20, 3))
INPUTS = jax.random.normal(jax.random.key(2), (64, 20))
PROBABILITY = attributions.target_probability


@jax.jit
def predict(inputs):
    return inputs @ KERNEL


LABELS = jnp.argmax(predict(INPUTS), axis=-1)
TRUTH = INPUTS * KERNEL.T[LABELS]  # of a linear network


def both(maps=TRUTH, inputs=INPUTS, labels=LABELS, **settings):
    predict_fn = settings.pop("predict_fn", predict)
    settings = {
        "fractions": TENTHS, "fill": BLANK, "key": KEY, "num_random_orders": 3,
    } | settings  # fmt: skip
    return metrics.removal_and_insertion(predict_fn, inputs, labels, maps, **settings)


@pytest.mark.parametrize("fractions", [TENTHS, (0.17, 0.5, 0.98)])
@pytest.mark.parametrize("value", [None, PROBABILITY])
def test_the_curves_of_the_map_are_those_of_the_metrics(fractions, value):
    settings = {"fractions": fractions, "fill": NOISE, "key": KEY}
    settings |= {} if value is None else {"value": value}
    found = both(**settings)
    arguments = (predict, INPUTS, LABELS, TRUTH)
    removed = metrics.removal_curve(*arguments, **settings)
    np.testing.assert_array_equal(found.removal, removed)
    inserted = metrics.insertion_curve(*arguments, **settings)
    np.testing.assert_array_equal(found.insertion, inserted)


def test_random_orders_are_nested_and_of_the_right_size():
    seen = []

    def predict_fn(inputs):
        seen.append(np.asarray(inputs) == 0)
        return predict(inputs)

    both(
        jnp.ones((64, 20)), predict_fn=predict_fn, num_random_orders=1,
        fractions=(0.2, 0.5),
    )  # fmt: skip
    # 4 and 16 by the map, 4 and 16 at random; 10 are the 10 others at random too.
    sizes = [mask.sum(axis=1) for mask in seen]
    np.testing.assert_array_equal(np.array(sizes)[:, 0], [4, 16, 4, 16, 10, 10, 10])
    by_map, at_random = seen[0], seen[2]
    np.testing.assert_array_equal(by_map[:, :4], True)
    assert np.all(seen[3][at_random])
    assert np.all(seen[6][at_random])
    assert len({row.tobytes() for row in at_random}) > 32


def test_a_random_order_costs_one_view_and_the_ends_are_shared():
    calls = []
    counted = lambda inputs: calls.append(len(inputs)) or predict(inputs)
    both(predict_fn=counted, num_random_orders=3)
    # Two views of a map and one of each order, 9 steps each; the two ends.
    assert len(calls) == (2 + 3) * 9 + 2


def test_the_ends_are_the_intact_and_the_blank_input():
    found = both(value=PROBABILITY)
    clean, blank = PROBABILITY(predict(INPUTS), LABELS), np.full(64, 1 / 3)
    rows = (found.removal, found.random_removal[0], found.random_removal[2])
    for curve in rows:
        np.testing.assert_allclose(curve[:, 0], clean, rtol=1e-6)
        np.testing.assert_allclose(curve[:, -1], blank, rtol=1e-6)
    for curve in (found.insertion, found.random_insertion[1]):
        np.testing.assert_allclose(curve[:, 0], blank, rtol=1e-6)
        np.testing.assert_allclose(curve[:, -1], clean, rtol=1e-6)


def gap(found, view):
    """How far each order's area lies above the mean of the random ones."""
    area = functools.partial(metrics.area_under_curve, fractions=TENTHS)
    chance = area(getattr(found, f"random_{view}")).mean(axis=0)
    return np.asarray(area(getattr(found, view)) - chance)


@pytest.mark.parametrize("value", [PROBABILITY, attributions.target_logit])
def test_a_perfect_map_an_inverted_one_and_a_random_one(value):
    by_map = {
        "true": TRUTH, "inverted": -TRUTH,
        "random": jax.random.normal(jax.random.key(9), TRUTH.shape),
    }  # fmt: skip
    gaps = {name: both(maps, value=value) for name, maps in by_map.items()}
    for view, sign in (("removal", -1), ("insertion", 1)):
        found = {name: sign * gap(each, view) for name, each in gaps.items()}
        for name, side in (("true", 1), ("inverted", -1)):
            interval = evaluation.t_interval(found[name])
            assert min(side * bound for bound in interval) > 0
        low, high = evaluation.t_interval(found["random"])
        assert low < 0 < high


def test_a_map_that_orders_nothing_is_undefined_and_chance_is_not():
    maps = TRUTH.at[0].set(1.0).at[1, 3].set(jnp.nan)
    found, expected = both(maps), both()
    for curve in (found.removal, found.insertion):
        undefined = np.isnan(curve)
        np.testing.assert_array_equal(undefined.all(axis=1), undefined.any(axis=1))
        np.testing.assert_array_equal(undefined[:, 0], np.arange(64) < 2)
    chex.assert_trees_all_equal(found[2:], expected[2:])
    np.testing.assert_array_equal(found.removal[2:], expected.removal[2:])


def test_each_example_has_the_curves_it_has_alone_and_under_jit():
    keys = ops.example_keys(KEY, 3)
    settings = {"fractions": (0.3, 0.6), "fill": NOISE, "num_random_orders": 2}
    some = (TRUTH[:3], INPUTS[:3], LABELS[:3])
    together = both(*some, key=keys, **settings)
    compiled = jax.jit(functools.partial(both, **settings))(*some, key=keys)
    chex.assert_trees_all_close(compiled, together)
    alone = both(*(x[1:2] for x in some), key=keys[1:2], **settings)
    np.testing.assert_array_equal(alone.removal, together.removal[1:2])
    np.testing.assert_array_equal(alone.random_removal, together.random_removal[:, 1:2])
    more = both(*some, key=keys, **(settings | {"num_random_orders": 3}))
    np.testing.assert_array_equal(more.random_insertion[:2], together.random_insertion)


def test_positions_go_together_at_random_too():
    seen = []

    def predict_fn(inputs):
        seen.append(np.asarray(inputs) == 0)
        return jnp.zeros((2, 2))

    maps = np.arange(32, dtype=np.float32).reshape(2, 4, 4, 1)
    both(
        jnp.asarray(maps, jnp.bfloat16), np.ones((2, 4, 4, 3), np.float32),
        np.array([0, 1]), predict_fn=predict_fn, fractions=(0.3,),
    )  # fmt: skip
    for mask in seen:
        assert np.all(mask == mask[..., :1])
    assert sorted(int(mask[0, ..., 0].sum()) for mask in seen) == [4] * 4 + [12] * 4


def test_errors():
    with pytest.raises(ValueError, match=r"`num_random_orders` \(=0\)"):
        both(num_random_orders=0)
    with pytest.raises(ValueError, match="must increase strictly"):
        both(fractions=(0.5, 0.1))
