import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from convolution_cases import (
    assert_same_derivatives,
    derivatives,
    image_and_kernel,
    normal,
)
from flax import nnx
from jax import lax
from jax.test_util import check_grads

from xguide_jax import ops

NHWC = ("NHWC", "HWIO", "NHWC")


def test_value_and_gradients_of_a_row_of_three_pixels_by_hand():
    inputs = jnp.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    kernel = jnp.array([1.0, 10.0]).reshape(1, 2, 1, 1)

    def convolve(inputs, kernel):
        return ops.conv_general_dilated(
            inputs, kernel, (1, 1), "VALID", dimension_numbers=NHWC
        )

    value, pullback = jax.vjp(convolve, inputs, kernel)
    input_gradient, weight_gradient = pullback(jnp.array([[[[1.0], [2.0]]]]))
    # 1*1 + 10*2 = 21 and 1*2 + 10*3 = 32: the kernel is not flipped.
    np.testing.assert_array_equal(value.ravel(), [21.0, 32.0])
    # Pixel 0 has 1*1, pixel 1 has 10*1 + 1*2, pixel 2 has 10*2.
    np.testing.assert_array_equal(input_gradient.ravel(), [1.0, 12.0, 20.0])
    # 1*1 + 2*2 = 5 and 1*2 + 2*3 = 8.
    np.testing.assert_array_equal(weight_gradient.ravel(), [5.0, 8.0])


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2])
def test_equals_lax_up_to_second_order(stride, padding, size):
    assert_same_derivatives(
        *image_and_kernel(size),
        window_strides=(stride, stride),
        padding=padding,
        dimension_numbers=NHWC,
    )


def test_equals_lax_with_uneven_explicit_padding_and_strides():
    assert_same_derivatives(
        *image_and_kernel(3),
        window_strides=(3, 1),
        padding=[(2, 0), (0, 3)],
        dimension_numbers=NHWC,
    )


def test_equals_lax_in_the_channels_first_layout():
    inputs, kernel = image_and_kernel(3)
    assert_same_derivatives(
        inputs.transpose(0, 3, 1, 2),
        kernel.transpose(3, 2, 0, 1),
        window_strides=(2, 1),
        padding="SAME",
    )


@pytest.mark.parametrize(("stride", "padding"), [(1, "VALID"), (2, "SAME")])
def test_numerical_gradients_agree_to_third_order(x64, stride, padding):
    def convolve(inputs, kernel):
        outputs = ops.conv_general_dilated(
            inputs, kernel, (stride, stride), padding, dimension_numbers=NHWC
        )
        return jnp.sin(outputs)

    arguments = normal(0, 1, 4, 3, 1), normal(1, 2, 2, 1, 2)
    check_grads(convolve, arguments, order=3, modes=["rev"])


class TransformedConvolutionTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_gradient_of_a_gradient_under_every_transformation(self):
        inputs, kernel = image_and_kernel(3)

        def penalty(conv, inputs, kernel):
            def functional(inputs):
                outputs = conv(inputs, kernel, (2, 2), "SAME", dimension_numbers=NHWC)
                return jnp.sum(jnp.sin(outputs))

            return jnp.sum(jax.grad(functional)(inputs) ** 2)

        gradient = self.variant(
            lambda *args: jax.grad(penalty, argnums=(1, 2))(
                ops.conv_general_dilated, *args
            )
        )
        expected = jax.grad(penalty, argnums=(1, 2))(
            lax.conv_general_dilated, inputs, kernel
        )
        chex.assert_trees_all_close(gradient(inputs, kernel), expected, rtol=1e-4)

    @parameterized.named_parameters(
        ("inputs", (0, None)), ("kernels", (None, 0)), ("both", (0, 0))
    )
    def test_vmap_equals_a_loop(self, axes):
        inputs = jnp.stack([normal(seed, 2, 5, 4, 2) for seed in (0, 1)])
        kernels = jnp.stack([normal(seed, 3, 3, 2, 3) for seed in (2, 3)])

        def second(inputs, kernel):
            def convolve(inputs, kernel):
                return ops.conv_general_dilated(
                    inputs, kernel, (2, 2), "SAME", dimension_numbers=NHWC
                )

            return derivatives(convolve, inputs, kernel)

        arguments = [
            stack if axis == 0 else stack[0]
            for stack, axis in zip((inputs, kernels), axes, strict=True)
        ]
        mapped = jax.jit(jax.vmap(second, in_axes=axes))(*arguments)
        second = jax.jit(second)
        for index in range(2):
            expected = second(
                *(
                    stack[index if axis == 0 else 0]
                    for stack, axis in zip((inputs, kernels), axes, strict=True)
                )
            )
            chex.assert_trees_all_close(
                jax.tree.map(lambda leaf, i=index: leaf[i], mapped),
                expected,
                rtol=1e-4,
                atol=1e-3,
            )


FALLBACKS = {
    "input dilation": ((2, 5, 5, 2), (3, 3, 2, 4), {"lhs_dilation": (2, 1)}),
    "kernel dilation": ((2, 5, 5, 2), (2, 2, 2, 4), {"rhs_dilation": (1, 2)}),
    "feature groups": ((2, 5, 5, 2), (3, 3, 1, 4), {"feature_group_count": 2}),
    "batch groups": ((2, 5, 5, 2), (3, 3, 2, 4), {"batch_group_count": 2}),
    "result type": (
        (2, 5, 5, 2),
        (3, 3, 2, 4),
        {"preferred_element_type": jnp.float32},
    ),
    "one axis": (
        (2, 5, 2),
        (3, 2, 4),
        {
            "window_strides": (2,),
            "padding": "SAME",
            "dimension_numbers": ("NWC", "WIO", "NWC"),
        },
    ),
}


@pytest.mark.parametrize("case", FALLBACKS)
def test_other_convolutions_are_those_of_lax_and_keep_forward_mode(case):
    input_shape, kernel_shape, settings = FALLBACKS[case]
    inputs, kernel = normal(0, *input_shape), normal(1, *kernel_shape)
    settings = {
        "window_strides": (1, 2),
        "padding": [(1, 1), (2, 0)],
        "dimension_numbers": NHWC,
        **settings,
    }

    def forward_derivative(conv):
        return jax.jvp(
            lambda x, w: conv(x, w, **settings), (inputs, kernel), (inputs, kernel)
        )

    chex.assert_trees_all_equal(
        forward_derivative(ops.conv_general_dilated),
        forward_derivative(lax.conv_general_dilated),
    )


def test_a_sharding_asked_for_is_left_to_lax():
    mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,))
    wanted = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("d"))
    with jax.set_mesh(mesh):
        place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        inputs, kernel = jax.device_put(image_and_kernel(3), place)

        @jax.jit
        def convolve(inputs):
            return ops.conv_general_dilated(
                inputs, kernel, (1, 1), "SAME",
                dimension_numbers=NHWC, out_sharding=wanted,
            )  # fmt: skip

        output, tangent = jax.jvp(convolve, (inputs,), (inputs,))
        assert output.sharding.spec == jax.sharding.PartitionSpec("d", None, None, None)
        np.testing.assert_allclose(tangent, output, rtol=1e-6)  # linear


def test_integers_are_convolved_by_lax():
    inputs, kernel = jnp.arange(18).reshape(1, 3, 3, 2), jnp.ones((2, 2, 2, 1), int)
    chex.assert_trees_all_equal(
        ops.conv_general_dilated(inputs, kernel, (1, 1), "SAME", None, None, NHWC),
        lax.conv_general_dilated(inputs, kernel, (1, 1), "SAME", None, None, NHWC),
    )


def test_half_precision_stays_half_precision_in_every_derivative():
    inputs, kernel = (leaf.astype(jnp.bfloat16) for leaf in image_and_kernel(3))

    def convolve(inputs, kernel):
        return ops.conv_general_dilated(
            inputs, kernel, (1, 1), "SAME", dimension_numbers=NHWC
        )

    shapes = jax.eval_shape(lambda *args: derivatives(convolve, *args), inputs, kernel)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.bfloat16)}


def test_every_derivative_keeps_the_precision_asked_for():
    def convolve(inputs, kernel):
        return ops.conv_general_dilated(
            inputs,
            kernel,
            (1, 1),
            "SAME",
            dimension_numbers=NHWC,
            precision=lax.Precision.HIGHEST,
        )

    trace = jax.make_jaxpr(functools.partial(derivatives, convolve))
    text = str(trace(*image_and_kernel(3)))
    assert "Precision.HIGHEST" in text
    assert "precision=None" not in text


def test_undilated_images_refuse_forward_mode():
    inputs, kernel = image_and_kernel(3)

    def convolve(inputs):
        # Flax spells the absent dilations as ones.
        return ops.conv_general_dilated(
            inputs, kernel, (1, 1), "SAME", (1, 1), (1, 1), NHWC
        )

    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(convolve, (inputs,), (inputs,))


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", ((1, 0), (0, 2))])
def test_flax_convolutions_take_it(padding):
    inputs, _ = image_and_kernel(3)
    settings = {"features": 3, "kernel_size": (3, 3), "strides": 2, "padding": padding}
    ours = nn.Conv(**settings, conv_general_dilated=ops.conv_general_dilated)
    variables = ours.init(jax.random.key(0), inputs)
    chex.assert_trees_all_equal(
        ours.apply(variables, inputs), nn.Conv(**settings).apply(variables, inputs)
    )
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: ours.apply(variables, x), (inputs,), (inputs,))


def test_nnx_convolutions_take_it():
    inputs, _ = image_and_kernel(3)
    theirs, ours = (
        nnx.Conv(2, 3, (3, 3), conv_general_dilated=conv, rngs=nnx.Rngs(0))
        for conv in (lax.conv_general_dilated, ops.conv_general_dilated)
    )
    chex.assert_trees_all_equal(ours(inputs), theirs(inputs))


def test_max_pool_of_a_five_by_four_image_by_hand():
    inputs = jnp.array(
        [
            [1.0, 5.0, 2.0, 0.0],
            [3.0, 4.0, -1.0, -2.0],
            [-5.0, -6.0, 7.0, 8.0],
            [-7.0, -4.0, 9.0, 6.0],
            [99.0, 99.0, 99.0, 99.0],  # fills no window
        ]
    ).reshape(1, 5, 4, 1)
    pooled = ops.max_pool(inputs, window=(2, 2))
    np.testing.assert_array_equal(pooled[0, ..., 0], [[5.0, 2.0], [-4.0, 9.0]])
    gradient = jax.grad(lambda x: jnp.sum(ops.max_pool(x, window=(2, 2))))(inputs)
    expected = np.zeros((5, 4))
    expected[[0, 0, 3, 3], [1, 2, 1, 2]] = 1.0
    np.testing.assert_array_equal(gradient[0, ..., 0], expected)


def test_the_gradient_of_a_tie_is_split_evenly():
    gradient = jax.grad(lambda x: jnp.sum(ops.max_pool(x, window=(1, 3))))(
        jnp.array([2.0, 1.0, 2.0]).reshape(1, 1, 3, 1)
    )
    np.testing.assert_array_equal(gradient.ravel(), [0.5, 0.0, 0.5])


class MaxPoolTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_equals_flax_up_to_second_order_without_ties(self):
        inputs, window = normal(0, 2, 7, 6, 3), (3, 2)

        def second_order(pool, inputs):
            def functional(inputs):
                return jnp.sum(jnp.sin(pool(inputs)))

            def penalty(inputs):
                return jnp.sum(jax.grad(functional)(inputs) ** 3)

            return pool(inputs), jax.grad(functional)(inputs), jax.grad(penalty)(inputs)

        ours = self.variant(
            lambda x: second_order(lambda y: ops.max_pool(y, window=window), x)
        )
        theirs = second_order(lambda y: nn.max_pool(y, window, window), inputs)
        chex.assert_trees_all_close(ours(inputs), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [(0, 2), (3, 2), (2, 5)])
def test_a_window_that_does_not_fit_is_refused(window):
    message = rf"`window` \(=\({window[0]}, {window[1]}\)\) must lie between \(1, 1\)"
    with pytest.raises(ValueError, match=message):
        ops.max_pool(jnp.zeros((1, 2, 4, 1)), window=window)


def test_max_pool_needs_a_batch_of_images():
    with pytest.raises(AssertionError, match="rank"):
        ops.max_pool(jnp.zeros((2, 4, 1)), window=(1, 1))
