"""The end of a network: the same outputs, and nothing of what comes before."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from xguide_jax import attributions, models

_SHAPE = (8, 8, 3)


def _network(**options):
    network = models.SmallCNN(
        num_classes=3, channels=(4, 5, 6), strides=(2, 1, 2), **options
    )
    images = jax.random.normal(jax.random.key(1), (4, *_SHAPE))
    params, state = models.init_linen(network, jax.random.key(0), images)
    return models.linen_apply_fn(network), params, state, images


@pytest.mark.parametrize("normalise", ["none", "batch"])
def test_it_is_the_network_from_the_layer_on(normalise):
    apply_fn, params, state, images = _network(normalise=normalise)
    whole, _ = apply_fn(params, state, images, train=False)
    end = models.tail(apply_fn, "layer_1", input_shape=_SHAPE, exposed=("features",))
    inputs = whole.intermediates["layer_1"]
    output, kept = end(params, state, inputs, train=True)
    np.testing.assert_array_equal(output.logits, whole.logits)
    assert sorted(output.intermediates) == ["features", "layer_1"]
    np.testing.assert_array_equal(
        output.intermediates["features"], whole.intermediates["features"]
    )
    # Batch statistics do not move, in train mode either.
    jax.tree.map(np.testing.assert_array_equal, kept, state)


def test_weights_before_the_layer_get_no_gradient():
    apply_fn, params, state, images = _network()
    inputs = apply_fn(params, state, images, train=False)[0].intermediates["layer_0"]
    end = models.tail(apply_fn, "layer_0", input_shape=_SHAPE)
    loss = lambda params: jnp.sum(end(params, state, inputs, train=True)[0].logits ** 2)
    gradient = jax.grad(loss)(params)
    assert not np.any(gradient["Conv_0"]["kernel"])
    for name in ("Conv_1", "Conv_2", "Dense_0"):
        assert np.any(gradient[name]["kernel"])


def test_it_is_explained_and_overridden_like_any_network():
    apply_fn, params, state, images = _network(activation=jnp.tanh)
    forward = functools.partial(apply_fn, params, state, train=False)
    inputs = forward(images)[0].intermediates["layer_0"]
    end = functools.partial(
        models.tail(apply_fn, "layer_0", input_shape=_SHAPE, exposed=("features",)),
        params, state, train=False,
    )  # fmt: skip
    labels = jnp.array([0, 1, 2, 0])
    maps = []
    for of, at in ((forward, images), (end, inputs)):
        head, features = attributions.split_at(
            lambda x, of=of, **kw: of(x, **kw)[0], at, "features"
        )
        maps.append(
            attributions.signed_grad_cam(
                head, features, labels, score_fn=attributions.target_logit
            )
        )
    np.testing.assert_array_equal(*maps)
    check_grads(lambda x: end(x)[0].logits, (inputs,), order=2, modes=["rev"])


def test_a_layer_that_there_is_not_is_named():
    apply_fn, params, state, _ = _network()
    end = models.tail(apply_fn, "layer_0", input_shape=_SHAPE, exposed=("block",))
    inputs = jnp.zeros((2, 4, 4, 4))
    with pytest.raises(ValueError, match=r"exposes \['features', .*, not \['block'\]"):
        end(params, state, inputs, train=False)
    end = models.tail(apply_fn, "layer_1", input_shape=_SHAPE)
    with pytest.raises(ValueError, match=r"names \['layer_0'\]; .* from 'layer_1'"):
        end(params, state, inputs, train=False, overrides={"layer_0": inputs})
