"""Every form of the weight gradient beside lax's own, to second order."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolution_cases import assert_same_derivatives, image_and_kernel, normal
from jax import export, lax

from xguide_jax import ops
from xguide_jax.ops import cpu_weight_gradients

NHWC = ("NHWC", "HWIO", "NHWC")
NCHW = ("NCHW", "OIHW", "NCHW")


@pytest.fixture
def small_parts(monkeypatch):
    """Seven examples of 7x6 pixels in 2 channels are more than is left whole."""
    monkeypatch.setattr(cpu_weight_gradients, "_WHOLE_BYTES_OF_FEW", 0)
    monkeypatch.setattr(cpu_weight_gradients, "_PART_BYTES", 2048)


def laid_out(inputs, kernel, numbers):
    if numbers == NHWC:
        return inputs, kernel
    return inputs.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1)


@pytest.mark.parametrize("numbers", [NHWC, NCHW])
@pytest.mark.parametrize(
    ("size", "strides", "padding"),
    [(3, (2, 1), "SAME"), (3, (1, 1), "VALID"), (3, (1, 1), [(1, 0), (0, 2)])],
)
def test_parts_equal_lax_up_to_second_order(
    size, strides, padding, numbers, small_parts
):
    inputs = normal(0, 7, 7, 6, 2)
    kernel = normal(1, size, size, 2, 3)
    assert_same_derivatives(
        *laid_out(inputs, kernel, numbers),
        window_strides=strides, padding=padding, dimension_numbers=numbers,
    )  # fmt: skip


@pytest.mark.parametrize("numbers", [NHWC, NCHW])
@pytest.mark.parametrize("strides", [(1, 1), (2, 1), (3, 2)])
@pytest.mark.parametrize("padding", ["SAME", "VALID", [(0, 0), (0, 0)]])
def test_products_of_one_place_equal_lax_up_to_second_order(padding, strides, numbers):
    inputs, kernel = image_and_kernel(1)
    assert_same_derivatives(
        *laid_out(inputs, kernel, numbers),
        window_strides=strides, padding=padding, dimension_numbers=numbers,
    )  # fmt: skip


def lowered(batch, side, channels, *, size=3, platform="cpu"):
    """The program of a weight gradient, as it is handed to a platform's compiler."""
    struct = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)

    def total(kernel, inputs):
        convolved = ops.conv_general_dilated(
            inputs, kernel, (1, 1), "SAME", dimension_numbers=NHWC
        )
        return jnp.sum(convolved**2)

    return export.export(jax.jit(jax.grad(total)), platforms=[platform])(
        struct(size, size, channels, channels), struct(batch, side, side, channels)
    ).mlir_module()


def count(text, name):
    return len(re.findall(rf"stablehlo\.{name}\b", text))


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((8, 32, 64), 1),  # 4.2 MB
        ((64, 32, 64), 8),  # 33.6 MB: parts of 4.2
        ((32, 32, 32), 2),  # 8.4 MB in few channels
        ((8, 32, 32), 1),
        ((512, 32, 64), 8),  # and never more
        ((2, 256, 64), 1),  # fewer examples than parts
    ],
)
def test_only_what_is_large_is_taken_in_parts(shape, parts):
    # One convolution is the forward pass.
    assert count(lowered(*shape), "convolution") == 1 + parts


def test_one_place_is_one_product():
    text = lowered(8, 32, 64, size=1)
    assert (count(text, "convolution"), count(text, "dot_general")) == (1, 1)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("size", [1, 3])
def test_accelerators_get_one_convolution(size, platform):
    text = lowered(64, 32, 64, size=size, platform=platform)
    assert (count(text, "convolution"), count(text, "dot_general")) == (2, 0)


def test_parts_in_half_precision_are_added_in_single(small_parts):
    """Seven parts of 1 + 2^-7 each: rounded one after another they come to 7."""
    ones = jnp.ones((7, 16, 8, 1), jnp.bfloat16)
    cotangent = jnp.full(ones.shape, (1 + 2**-7) / 128, jnp.bfloat16)
    _, pullback = jax.vjp(
        lambda kernel: ops.conv_general_dilated(
            ones, kernel, (1, 1), [(0, 0), (0, 0)], dimension_numbers=NHWC
        ),
        jnp.ones((1, 1, 1, 1), jnp.bfloat16),
    )
    (gradient,) = pullback(cotangent)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(float(gradient[0, 0, 0, 0]), 7.0546875, atol=2**-5)


def test_vmapped_gradients_are_those_of_each():
    inputs = normal(0, 3, 2, 7, 6, 2)
    kernel = normal(1, 1, 1, 2, 3)

    def gradient(convolve, inputs):
        return jax.grad(
            lambda kernel: jnp.sum(
                convolve(inputs, kernel, (2, 1), "SAME", dimension_numbers=NHWC) ** 2
            )
        )(kernel)

    ours = jax.jit(jax.vmap(lambda x: gradient(ops.conv_general_dilated, x)))(inputs)
    theirs = jax.vmap(lambda x: gradient(lax.conv_general_dilated, x))(inputs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
