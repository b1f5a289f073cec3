"""Random orders that serve both views."""

import functools

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
