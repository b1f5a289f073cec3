"""The main job's explainers, and the keys under which its numbers travel."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.saliency_guided_images import explaining, measures
from xguide_jax import attributions, ops
from xguide_jax.types import ModelOutput, TrainState


def linear_network(params, model_state, inputs, *, train, key=None, overrides=None):
    del train, key, overrides
    return ModelOutput(inputs.reshape(len(inputs), -1) @ params["kernel"]), model_state


close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def test_a_saturated_network_is_compared_on_the_images_it_can_explain():
    keys = jax.random.split(jax.random.key(1), 3)
    inputs = jax.random.normal(keys[0], (12, 10, 10, 1))
    # Half of the images are so large that their log-probability has no slope left.
    inputs = inputs.at[::2].multiply(1e4)
    params = {"kernel": jax.random.normal(keys[1], (100, 3))}
    logits = linear_network(params, (), inputs, train=False)[0].logits
    labels = jnp.argmax(logits, axis=-1)
    protocol = explaining.Protocol(
        score_fn=attributions.target_log_probability,
        fills={"black": functools.partial(ops.constant_fill, value=0.0)},
        baseline=0.0,
        sigma=1e-3,
        num_points=2,
        num_draws=2,
        batch_size=12,
    )
    state = TrainState(None, {"model": params}, (), {}, None, None, None)
    measure = measures.make_explained(linear_network, protocol)
    _, removal, _ = measure(state, inputs, labels, keys[2])
    found = removal.maps["gradient"]["black"].removal
    assert found.gap.num_undefined == 6
    np.testing.assert_array_equal(np.isnan(found.rows), np.arange(12) % 2 == 0)
    close(found.gap.mean, np.nanmean(found.rows))
    assert found.gap.mean > 0.1
    close(found.gap.mean_or_zero, found.gap.mean / 2)
