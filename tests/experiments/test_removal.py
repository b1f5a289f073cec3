"""The main job's explainers, and the keys under which its numbers travel."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments import removal
from xguide_jax import attributions, evaluation, ops
from xguide_jax.types import ModelOutput, TrainState


def linear_network(params, model_state, inputs, *, train, key=None, overrides=None):
    del train, key, overrides
    return ModelOutput(inputs.reshape(len(inputs), -1) @ params["kernel"]), model_state


close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def test_records_are_kept_under_the_keys_of_the_report():
    rows = lambda *heights: np.stack([np.full(10, h, np.float32) for h in heights])
    chance = evaluation.Views(rows(1.0, 1.0, 0.25, 0.75), rows(0.5, 0.5, 0.5, 0.5))
    own = evaluation.Views(rows(np.nan, np.nan, 0.5, 0.75), rows(0.0, 0.0, 1.0, 1.0))
    curves = evaluation.Curves({"gradient": {"black": own}}, {"black": chance})
    found = evaluation.compare_with_chance(curves, fractions=removal.FRACTIONS)
    numbers, arrays = removal.keyed(found)
    close(numbers["gap/removal/black/gradient"], -0.125)
    close(numbers["gap/insertion/black/gradient"], 0.5)
    close(numbers["removal/black/gradient"], 0.625)
    close(numbers["removal/black/random"], 0.75)
    assert numbers["undefined/gradient"] == 2
    assert numbers["undefined/random"] == 0
    close(numbers["gap/removal/black/gradient/zero"], -0.0625)
    close(arrays["curve/removal/black/gradient"], 0.625)
    close(arrays["curve/removal/black/gradient/random"], 0.5)
    close(arrays["curve/removal/black/random"], 0.75)
    close(arrays["rows/gap/removal/black/gradient"], [np.nan, np.nan, -0.25, 0.0])


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
        batch_size=12,
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
