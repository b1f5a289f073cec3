import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import models


def test_the_activation_itself_without_a_replacement():
    activation = jnp.ones((2, 3))
    assert models.override("features", activation, None) is activation
    assert models.override("features", activation, {"other": jnp.ones(1)}) is activation


def test_the_replacement_takes_the_whole_gradient():
    def loss(activation, replacement):
        return jnp.sum(models.override("a", 2 * activation, {"a": replacement}))

    gradients = jax.grad(loss, argnums=(0, 1))(jnp.zeros(3), jnp.zeros(3))
    np.testing.assert_array_equal(gradients, [[0, 0, 0], [1, 1, 1]])


def test_a_replacement_that_would_broadcast_is_refused():
    with pytest.raises(ValueError, match=r"`overrides\['a'\]` has shape \(1, 3\); .*"):
        models.override("a", jnp.ones((2, 3)), {"a": jnp.ones((1, 3))})
