import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import ops


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, bool, jnp.int32])
def test_narrow_and_whole_numbers_become_float32(dtype):
    array = ops.at_least_float32(jnp.asarray([0, 1], dtype))
    assert array.dtype == jnp.float32
    np.testing.assert_array_equal(array, [0.0, 1.0])


def test_float64_stays_float64(x64):
    third = jnp.asarray([1 / 3], jnp.float64)
    assert ops.at_least_float32(third).dtype == jnp.float64
    assert ops.at_least_float32(third)[0] == 1 / 3


def test_gradients_return_in_the_dtype_that_came_in():
    gradient = jax.grad(lambda x: jnp.sum(3 * ops.at_least_float32(x)))(
        jnp.ones(2, jnp.bfloat16)
    )
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient.astype(jnp.float32), [3.0, 3.0])
