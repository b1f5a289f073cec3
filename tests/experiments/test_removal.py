"""Random orders that serve both views."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from experiments import removal
from xguide_jax import attributions, metrics, ops
from xguide_jax.types import ModelOutput, TrainState


def linear_network(params, model_state, inputs, *, train, key=None, overrides=None):
    del train, key, overrides
    return ModelOutput(inputs.reshape(len(inputs), -1) @ params["kernel"]), model_state


def test_inserting_a_part_of_a_random_order_is_removing_the_rest():
    keys = jax.random.split(jax.random.key(0), 4)
    # 100 pixels, of which every fraction is a whole number.
    inputs = jax.random.normal(keys[0], (40, 10, 10, 1))
    labels = jax.random.randint(keys[1], (40,), 0, 3)
    params = {"kernel": jax.random.normal(keys[2], (100, 3))}
    fill = functools.partial(ops.uniform_range_fill, axes=(1, 2))
    protocol = removal.Protocol(
        score_fn=attributions.target_logit,
        fills={"uniform": fill},
        baseline=0.0,
        sigma=0.1,
        num_points=2,
        num_draws=1,
    )
    state = TrainState(None, {"model": params}, (), {}, None, None, None)
    measure = removal.make_measurement(linear_network, protocol)
    numbers, arrays = measure(state, inputs, labels, keys[3])

    _, order_key, fill_key = jax.random.split(keys[3], 3)
    order = ops.random_rank(inputs, key=jax.random.fold_in(order_key, 0))
    predict = lambda x: linear_network(params, (), x, train=False)[0].logits
    for view, scores in {"removal": order, "insertion": -order}.items():
        curve = removal.VIEWS[view](
            predict, inputs, labels, scores,
            fractions=removal.FRACTIONS, fill=fill, key=fill_key,
        )  # fmt: skip
        expected = np.mean(np.asarray(curve), axis=0)
        assert len(np.unique(expected)) > 5
        np.testing.assert_allclose(arrays[f"curve/{view}/uniform/random"], expected)
        area = metrics.area_under_curve(
            jnp.asarray(expected), fractions=removal.FRACTIONS
        )
        np.testing.assert_allclose(numbers[f"{view}/uniform/random"], area, rtol=1e-6)


FRACTIONS = np.asarray(removal.FRACTIONS)
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def area(curve):
    return np.trapezoid(curve, FRACTIONS, axis=-1) / 0.9


def curves(*rows):
    return np.stack([np.full(10, height, np.float32) for height in rows])


def test_a_gap_compares_the_same_images():
    # The map orders nothing in the first two images, which nothing can change.
    by_chance = {"removal/black": curves(1.0, 1.0, 0.25, 0.75)}
    by_score = {"gradient": {"removal/black": curves(np.nan, np.nan, 0.5, 0.75)}}
    numbers, arrays = removal.compare(by_score, by_chance)
    # (.25 + .75) / 2 - (.5 + .75) / 2; over all images chance would be .75: +.125.
    close(numbers["gap/removal/black/gradient"], -0.125)
    close(numbers["removal/black/gradient"], 0.625)
    close(numbers["removal/black/random"], 0.75)
    assert numbers["undefined/gradient"] == 2
    assert numbers["undefined/random"] == 0
    # A gap of 0 for the two: -.125 * 2 / 4.
    close(numbers["gap/removal/black/gradient/zero"], -0.0625)
    close(arrays["curve/removal/black/gradient/random"], 0.5)
    close(arrays["rows/gap/removal/black/gradient"], [np.nan, np.nan, -0.25, 0.0])


def test_forty_images_of_which_twenty_are_saturated():
    rng = np.random.default_rng(0)
    chance = np.sort(rng.uniform(size=(40, 10)).astype(np.float32))[:, ::-1]
    correct = np.sort(rng.integers(2, size=(40, 10)).astype(np.float32))[:, ::-1]
    chance[:20], correct[:20] = 1.0, np.nan
    numbers, _ = removal.compare(
        {"gradient": {"removal/black": correct, "insertion/black": correct}},
        {"removal/black": chance, "insertion/black": chance},
    )
    expected = np.mean(area(chance[20:]) - area(correct[20:]))
    across = np.mean(area(chance)) - np.mean(area(correct[20:]))
    assert across > expected + 0.2
    for view, sign in {"removal": 1, "insertion": -1}.items():
        gap = numbers[f"gap/{view}/black/gradient"]
        close(gap, sign * expected)
        zero = numbers[f"gap/{view}/black/gradient/zero"]
        close(zero, sign * expected / 2)
    assert numbers["undefined/gradient"] == 20


def test_an_image_that_is_undefined_anywhere_is_left_out_everywhere():
    chance = {
        "removal/a": curves(1.0, 1.0, 1.0, 0.5),
        "insertion/a": curves(*[0.5] * 4),
    }
    one = {"removal/a": curves(0.0, 0.5, 1.0, 1.0), "insertion/a": curves(*[1.0] * 4)}
    two = {place: rows.copy() for place, rows in one.items()}
    one["removal/a"][0, 7] = np.nan  # a prediction that is none, at one fraction
    chance["insertion/a"][1, 3] = np.nan
    numbers, arrays = removal.compare({"one": one, "two": two}, chance)
    counts = [numbers[f"undefined/{name}"] for name in ("one", "two", "random")]
    assert counts == [2, 1, 1]
    close(numbers["gap/removal/a/one"], 0.75 - 1.0)
    close(numbers["gap/removal/a/two"], 2.5 / 3 - 2 / 3)
    close(numbers["removal/a/random"], 2.5 / 3)
    close(arrays["curve/removal/a/one"], 1.0)


def test_without_a_defined_image_a_gap_is_undefined_and_its_zero_is_zero():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers, arrays = removal.compare(
            {"gradient": {"removal/a": curves(np.nan, np.nan)}},
            {"removal/a": curves(1.0, 0.5)},
        )
    assert np.isnan(numbers["gap/removal/a/gradient"])
    assert numbers["gap/removal/a/gradient/zero"] == 0
    assert numbers["undefined/gradient"] == 2
    assert np.isnan(arrays["curve/removal/a/gradient"]).all()


def test_a_saturated_network_is_compared_on_the_images_it_can_explain():
    keys = jax.random.split(jax.random.key(1), 3)
    inputs = jax.random.normal(keys[0], (12, 10, 10, 1))
    # Half of the images are so large that their log-probability has no slope left.
    inputs = inputs.at[::2].multiply(1e4)
    params = {"kernel": jax.random.normal(keys[1], (100, 3))}
    logits = linear_network(params, (), inputs, train=False)[0].logits
    labels = jnp.argmax(logits, axis=-1)
    protocol = removal.Protocol(
        score_fn=attributions.target_log_probability,
        fills={"black": functools.partial(ops.constant_fill, value=0.0)},
        baseline=0.0,
        sigma=1e-3,
        num_points=2,
        num_draws=2,
    )
    state = TrainState(None, {"model": params}, (), {}, None, None, None)
    measure = removal.make_measurement(linear_network, protocol)
    numbers, arrays = measure(state, inputs, labels, keys[2])
    assert numbers["undefined/gradient"] == 6
    rows = arrays["rows/gap/removal/black/gradient"]
    np.testing.assert_array_equal(np.isnan(rows), np.arange(12) % 2 == 0)
    gap = numbers["gap/removal/black/gradient"]
    close(gap, np.nanmean(rows))
    assert gap > 0.1
    close(
        numbers["gap/removal/black/gradient/zero"],
        gap / 2,
    )


def test_the_completeness_error_leaves_an_undefined_image_out_of_both_means():
    keys = jax.random.split(jax.random.key(2), 2)
    inputs = jax.random.normal(keys[0], (4, 10, 10, 1))
    params = {"kernel": jax.random.normal(keys[1], (100, 3))}
    protocol = removal.Protocol(
        score_fn=attributions.target_log_probability,
        fills={}, baseline=0.0, sigma=0.1, num_points=1, num_draws=1,
    )  # fmt: skip
    explain = jax.jit(functools.partial(removal._explain, linear_network, protocol))
    labels, key = jnp.zeros(4, int), jax.random.key(0)
    _, error, unclear = explain((params, ()), inputs, labels, key)
    assert unclear == 0
    broken = jnp.concatenate([inputs, jnp.full((1, 10, 10, 1), jnp.nan)])
    labels = jnp.zeros(5, int)
    _, same, unclear = explain((params, ()), broken, labels, key)
    assert unclear == 1
    assert error > 0.01
    np.testing.assert_allclose(same, error, rtol=1e-4)
