import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from jax import test_util

from xguide_jax import ops

SHAPE = (4, 5, 5, 2)
KEY = jax.random.key(0)
NOISE = functools.partial(ops.uniform_range_fill, axes=(1, 2))


def images(seed=0):
    """Images whose channels have ranges of their own."""
    scale = jnp.array([1.0, 100.0]) * jnp.arange(1.0, 5.0)[:, None, None, None]
    return scale * jax.random.normal(jax.random.key(seed), SHAPE)


def half_noise(key, example):
    return 0.5 * example + jax.random.normal(key, example.shape)


class VariantsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    @parameterized.parameters((1, 2), (1, 2, 3), (-1,))
    def test_noise_lies_within_the_range_of_the_given_axes(self, *axes):
        fill = self.variant(functools.partial(ops.uniform_range_fill, axes=axes))
        values = fill(KEY, images())
        low, high = (f(images(), axis=axes, keepdims=True) for f in (np.min, np.max))
        assert np.all((values >= low) & (values <= high))
        assert not np.any(values == images())  # no extreme is hit, nothing is kept

    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_noise_of_an_example_is_a_function_of_its_key_and_values(self):
        fill = self.variant(NOISE)
        keys, inputs = jax.random.split(KEY, 4), images()
        values = fill(keys, inputs)
        order = jnp.array([2, 0, 3, 1])
        np.testing.assert_array_equal(fill(keys[order], inputs[order]), values[order])
        for i in range(4):
            alone = NOISE(keys[i : i + 1], inputs[i : i + 1])
            # Compiled, the product and the sum are rounded once.
            np.testing.assert_allclose(alone[0], values[i], rtol=1e-5, atol=1e-4)


def test_noise_is_uniform_in_the_range():
    # Inputs are -1 and 3 only: the values are U(-1, 3), of mean 1 and variance 16 / 12.
    inputs = jnp.tile(jnp.array([-1.0, 3.0]), (2, 5000))
    values = ops.uniform_range_fill(KEY, inputs, axes=1)
    # Standard errors at 10000 draws: 0.012 of the mean, 0.012 of the variance.
    np.testing.assert_allclose(values.mean(1), 1.0, atol=0.05)
    np.testing.assert_allclose(values.var(1), 16 / 12, atol=0.05)
    assert np.abs(np.corrcoef(values)[0, 1]) < 0.05  # two examples, two draws
    assert values.min() < -0.99
    assert values.max() > 2.99


def test_noise_differs_between_pixels_and_channels():
    inputs = jnp.broadcast_to(jnp.arange(25.0).reshape(1, 5, 5, 1), SHAPE)
    assert np.unique(NOISE(KEY, inputs)).size == inputs.size


def test_noise_of_a_constant_image_is_the_constant():
    inputs = jnp.full(SHAPE, 0.1)
    np.testing.assert_array_equal(NOISE(KEY, inputs), inputs)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_fills_keep_a_narrow_dtype_and_its_range(dtype):
    inputs = images().astype(dtype)
    values = NOISE(KEY, inputs)
    assert values.dtype == inputs.dtype
    wide_values = NOISE(KEY, inputs.astype(jnp.float32))  # drawn and scaled in float32
    np.testing.assert_array_equal(values, wide_values.astype(dtype))
    assert np.all(values <= inputs.max((1, 2), keepdims=True))
    assert np.all(values >= inputs.min((1, 2), keepdims=True))
    assert ops.constant_fill(KEY, inputs, value=0.5).dtype == inputs.dtype
    # 1000 ones add up in float32; in bfloat16 their sum would stick at 256.
    ones = jnp.ones((1, 1000), dtype)
    np.testing.assert_array_equal(ops.mean_fill(KEY, ones, axes=1), ones)


def test_gradient_of_noise_reaches_the_extremes():
    inputs = jnp.array([[2.0, -1.0, 0.5]])
    fill = functools.partial(ops.uniform_range_fill, axes=1)
    values = fill(KEY, inputs)
    gradient = jax.grad(lambda inputs: fill(KEY, inputs).sum())(inputs)
    # value = (1 - u) low + u high, so sums of u go to high and of 1 - u to low.
    share = jnp.sum((values + 1) / 3)
    np.testing.assert_allclose(gradient, [[share, 3 - share, 0.0]], rtol=1e-5)


def test_one_key_is_folded_by_the_example():
    keys = jnp.stack([jax.random.fold_in(KEY, i) for i in range(4)])
    np.testing.assert_array_equal(
        jax.random.key_data(ops.example_keys(KEY, 4)), jax.random.key_data(keys)
    )
    np.testing.assert_array_equal(NOISE(KEY, images()), NOISE(keys, images()))
    np.testing.assert_array_equal(NOISE(KEY, images()[:2]), NOISE(KEY, images())[:2])
    assert ops.example_keys(keys, 4) is keys


def test_noise_does_not_depend_on_the_number_of_devices():
    keys, inputs = jax.random.split(KEY, 4), images()
    sharded = jax.pmap(NOISE)(keys.reshape(2, 2), inputs.reshape(2, 2, *SHAPE[1:]))
    whole = jax.jit(NOISE)(keys, inputs)
    np.testing.assert_allclose(sharded.reshape(SHAPE), whole, rtol=1e-5, atol=1e-4)


def test_mean_fill_by_hand():
    inputs = jnp.array([[[1.0, 10.0], [3.0, 20.0]], [[0.0, 0.0], [-4.0, 6.0]]])
    # Over axis 1: (1 + 3) / 2 and (10 + 20) / 2; (0 - 4) / 2 and (0 + 6) / 2.
    expected = [[[2.0, 15.0]] * 2, [[-2.0, 3.0]] * 2]
    np.testing.assert_array_equal(ops.mean_fill(KEY, inputs, axes=1), expected)
    # Over both: (1 + 10 + 3 + 20) / 4; (0 + 0 - 4 + 6) / 4.
    values = ops.mean_fill(KEY, inputs, axes=(1, 2))
    np.testing.assert_array_equal(values[:, 0, 0], [8.5, 0.5])
    np.testing.assert_array_equal(values, np.broadcast_to(values[:, :1, :1], (2, 2, 2)))


def test_constant_fill_is_a_scalar_or_one_value_a_channel():
    inputs = images()
    np.testing.assert_array_equal(
        ops.constant_fill(KEY, inputs, value=-0.5), np.full(SHAPE, -0.5)
    )
    values = ops.constant_fill(KEY, inputs, value=jnp.array([1.0, 2.0]))
    np.testing.assert_array_equal(values[..., 0], np.ones(SHAPE[:3]))
    np.testing.assert_array_equal(values[..., 1], np.full(SHAPE[:3], 2.0))
    with pytest.raises(ValueError, match="broadcast"):
        ops.constant_fill(KEY, inputs, value=jnp.zeros(3))


@pytest.mark.parametrize("convert", [lambda v: v, np.asarray, jnp.asarray])
@pytest.mark.parametrize("inside", [False, True])
def test_a_constant_that_is_no_number_of_whole_inputs_is_refused(convert, inside):
    """0.5 would become 0, and 300 in a byte 44: another fill than the one asked for."""
    wrap = jax.jit if inside else lambda function: function
    for dtype, value in (
        (jnp.int32, 0.5),
        (jnp.uint8, 300),
        (jnp.uint8, -1),
        (jnp.int32, float("nan")),
        (bool, 2),
    ):
        inputs, given = jnp.zeros((2, 3), dtype), convert(value)
        fill = lambda x, given=given: ops.constant_fill(KEY, x, value=given)
        message = f"must be numbers of the inputs' {inputs.dtype}"
        with pytest.raises(ValueError, match=message):
            wrap(fill)(inputs)
    for dtype, value in ((jnp.int32, 103), (jnp.uint8, 255.0), (bool, True)):
        inputs, given = jnp.zeros((2, 3), dtype), convert(value)
        fill = lambda x, given=given: ops.constant_fill(KEY, x, value=given)
        filled = wrap(fill)(inputs)
        assert filled.dtype == dtype
        np.testing.assert_array_equal(filled, np.full((2, 3), value, dtype))


def test_a_traced_constant_for_whole_inputs_must_be_of_a_whole_dtype():
    tokens = jnp.zeros((2, 3), jnp.int32)
    fill = jax.jit(lambda value: ops.constant_fill(KEY, tokens, value=value))
    np.testing.assert_array_equal(fill(7), np.full((2, 3), 7))
    with pytest.raises(ValueError, match="must be numbers of the inputs' int32"):
        fill(7.0)


def test_per_example_gives_each_example_its_own_key():
    keys, inputs = jax.random.split(KEY, 4), images()
    values = ops.per_example(half_noise)(keys, inputs)
    for i in range(4):
        np.testing.assert_allclose(values[i], half_noise(keys[i], inputs[i]), rtol=1e-6)
    folded = ops.per_example(half_noise)(KEY, inputs)
    expected = half_noise(jax.random.fold_in(KEY, 3), inputs[3])
    np.testing.assert_allclose(folded[3], expected, rtol=1e-6)


def test_per_example_refuses_fills_of_another_shape_or_dtype():
    with pytest.raises(AssertionError, match="equal_shape"):
        ops.per_example(lambda key, example: example[0])(KEY, images())
    with pytest.raises(AssertionError, match="has type float16"):
        ops.per_example(lambda key, x: x.astype(jnp.float16))(KEY, images())


def test_replace_by_hand():
    inputs, values = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[-1.0, -2.0, -3.0]])
    mask = jnp.array([[True, False, True]])
    np.testing.assert_array_equal(
        ops.replace(inputs, mask, values), [[-1.0, 2.0, -3.0]]
    )


def test_replace_keeps_every_bit_outside_the_mask():
    # -0, two NaNs of different payload, a subnormal number, and infinity.
    bits = [0x80000000, 0x7FC12345, 0xFFC00001, 0x00000001, 0x7F800000, 0x3F800000]
    bits = jnp.array([bits], jnp.uint32)
    inputs = jax.lax.bitcast_convert_type(bits, jnp.float32)
    mask = jnp.array([[False] * 5 + [True]])
    for replace in (ops.replace, jax.jit(ops.replace)):
        replaced = replace(inputs, mask, jnp.full((1, 6), 2.0))
        kept = jax.lax.bitcast_convert_type(replaced, jnp.uint32)
        np.testing.assert_array_equal(kept[:, :5], bits[:, :5])
        assert replaced[0, 5] == 2.0


def test_replace_masks_all_channels_of_a_position():
    mask = jax.random.bernoulli(KEY, 0.5, (*SHAPE[:3], 1))
    replaced = ops.replace(images(), mask, jnp.zeros(SHAPE))
    np.testing.assert_array_equal(replaced == 0, np.broadcast_to(mask, SHAPE))


def test_replace_sends_gradients_to_one_side_each():
    mask = jax.random.bernoulli(KEY, 0.5, (*SHAPE[:3], 1))

    def loss(inputs, values):
        return jnp.sum(3.0 * ops.replace(inputs, mask, values))

    # NaN on the side that is not chosen must not leak into the other's gradient.
    inputs = jnp.where(mask, jnp.nan, images())
    values = jnp.where(mask, images(), jnp.nan)
    to_inputs, to_values = jax.grad(loss, (0, 1))(inputs, values)
    np.testing.assert_array_equal(to_inputs, np.broadcast_to(~mask, SHAPE) * 3.0)
    np.testing.assert_array_equal(to_values, np.broadcast_to(mask, SHAPE) * 3.0)


def test_numerical_gradients(x64):
    inputs = jnp.array([[2.0, -1.0, 0.5], [0.3, 0.1, -0.7]])
    mask = jnp.array([[True, False, True], [False, True, True]])

    def masked(inputs):
        values = ops.uniform_range_fill(KEY, inputs, axes=1)
        values += ops.mean_fill(KEY, inputs, axes=1) ** 2
        return ops.replace(inputs, mask, values) ** 2

    test_util.check_grads(jax.jit(masked), (inputs,), order=2, modes=["rev"])


@pytest.mark.parametrize("kind", ["rbg", "unsafe_rbg"])
def test_keys_whose_draws_depend_on_the_batch_are_refused(kind):
    key = jax.random.key(0, impl=kind)
    for keys in (key, jax.random.split(key, 4)):
        with pytest.raises(
            ValueError, match=rf"`key` \(of kind {kind}\) must be a thr"
        ):
            NOISE(keys, images())


def test_key_errors_name_the_rule():
    with pytest.raises(ValueError, match=r"`key` must be a typed key.*uint32 \[2\]"):
        NOISE(jax.random.PRNGKey(0), images())
    with pytest.raises(ValueError, match=r"`key` \(=0\) must be a typed key, `jax"):
        NOISE(0, images())
    with pytest.raises(ValueError, match=r"`key` \(shaped \[4, 1\]\) must be one key"):
        NOISE(jax.random.split(KEY, (4, 1)), images())
    with pytest.raises(ValueError, match=r"`key` \(shaped \[2\]\) must be .* \[4\]"):
        ops.per_example(lambda key, x: x)(jax.random.split(KEY, 2), images())
    with pytest.raises(ValueError, match=r"`key` \(shaped \[3\]\) must be .* \[4\]"):
        NOISE(jax.random.split(KEY, 3), images())


@pytest.mark.parametrize("fill", [ops.uniform_range_fill, ops.mean_fill])
@pytest.mark.parametrize("axes", [0, (0, 1), (1, -4), (4,), ()])
def test_axes_must_be_axes_of_one_example(fill, axes):
    with pytest.raises(ValueError, match=r"`axes` \(=.*\) must name axes from 1 to 3"):
        fill(KEY, images(), axes=axes)


def test_fills_and_replace_check_dtypes_and_shapes():
    tokens, mask = jnp.ones((2, 3), jnp.int32), jnp.ones((2, 3), bool)
    for fill in (ops.uniform_range_fill, ops.mean_fill):
        with pytest.raises(AssertionError, match="has type int32"):
            fill(KEY, tokens, axes=1)
    with pytest.raises(AssertionError, match="has type int32"):
        ops.replace(tokens, tokens, tokens)
    with pytest.raises(AssertionError, match="has type float32"):
        ops.replace(tokens, mask, jnp.ones((2, 3)))
    with pytest.raises(AssertionError, match="equal_shape"):
        ops.replace(tokens, mask, tokens[:1])
    with pytest.raises(AssertionError, match="equal_rank"):
        ops.replace(tokens, mask[0], tokens)
    with pytest.raises(AssertionError, match="broadcast"):
        ops.replace(tokens[:, :1], mask, tokens[:, :1])
