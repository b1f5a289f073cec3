"""Convolutions of small images, and every derivative to second order beside lax's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from xguide_jax import ops


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def image_and_kernel(size):
    # An odd and an even side; with stride 2 and no padding some pixels go unused.
    return normal(0, 2, 7, 6, 2), normal(1, size, size, 2, 3)


def derivatives(convolve, inputs, kernel):
    """Value, both gradients, and every second partial of one non-linear functional."""

    def functional(inputs, kernel):
        return jnp.sum(jnp.sin(convolve(inputs, kernel)))

    def first(inputs, kernel):
        return jax.grad(functional, argnums=(0, 1))(inputs, kernel)

    def of_input_gradient(inputs, kernel):
        return jnp.sum(first(inputs, kernel)[0] ** 3)

    def of_weight_gradient(inputs, kernel):
        return jnp.sum(jnp.tanh(first(inputs, kernel)[1]))

    return {
        "value": convolve(inputs, kernel),
        "first": first(inputs, kernel),
        "of input": jax.grad(of_input_gradient, argnums=(0, 1))(inputs, kernel),
        "of weight": jax.grad(of_weight_gradient, argnums=(0, 1))(inputs, kernel),
    }


def assert_same_derivatives(inputs, kernel, **settings):
    @jax.jit
    def both(*arguments):
        ours = functools.partial(ops.conv_general_dilated, **settings)
        theirs = functools.partial(lax.conv_general_dilated, **settings)
        return derivatives(ours, *arguments), derivatives(theirs, *arguments)

    actual, expected = both(inputs, kernel)
    for name in expected:
        for ours, theirs in zip(
            jax.tree.leaves(actual[name]), jax.tree.leaves(expected[name]), strict=True
        ):
            scale = float(jnp.max(jnp.abs(theirs)))
            np.testing.assert_allclose(
                ours, theirs, rtol=0, atol=1e-5 * scale, err_msg=name
            )
