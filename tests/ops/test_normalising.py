import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from jax import test_util

from xguide_jax import ops

NORMALISERS = {
    "by_max": ops.normalise_by_max,
    "by_max_magnitude": ops.normalise_by_max_magnitude,
    "min_max": ops.min_max_normalise,
}


def random_maps(shape=(3, 4, 5)):
    return jax.random.normal(jax.random.key(0), shape)


def test_three_normalisations_by_hand():
    maps = jnp.array([[[1.0, -4.0], [2.0, 0.0]], [[-1.0, -2.0], [-3.0, -5.0]]])
    # Maxima of the positive parts: 2 and 0; of the magnitudes: 4 and 5.
    expected = [[[0.5, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]
    np.testing.assert_array_equal(ops.normalise_by_max(maps), expected)
    expected = [[[0.25, -1.0], [0.5, 0.0]], [[-0.2, -0.4], [-0.6, -1.0]]]
    np.testing.assert_allclose(ops.normalise_by_max_magnitude(maps), expected)
    # (A + 4) / 6 and (A + 5) / 4.
    expected = [[[5 / 6, 0.0], [1.0, 4 / 6]], [[1.0, 0.75], [0.5, 0.0]]]
    np.testing.assert_allclose(ops.min_max_normalise(maps), expected, rtol=1e-6)
    # With ε = 2: (A + 4) / 8 and (A + 5) / 6.
    expected = [[[5 / 8, 0.0], [6 / 8, 4 / 8]], [[4 / 6, 3 / 6], [2 / 6, 0.0]]]
    values = ops.min_max_normalise(maps, epsilon=2.0)
    np.testing.assert_allclose(values, expected, rtol=1e-6)


class VariantsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.named_parameters(*NORMALISERS.items())
    def test_range_scale_and_independence_of_examples(self, normalise):
        normalise_fn, maps = self.variant(normalise), random_maps()
        values = normalise_fn(maps)
        lowest = -1.0 if normalise is ops.normalise_by_max_magnitude else 0.0
        assert np.all((values >= lowest) & (values <= 1.0))
        np.testing.assert_allclose(np.abs(values).max((1, 2)), np.ones(3), rtol=1e-6)
        # A factor of a power of two for each example is exact.
        factors = jnp.array([0.5, 4.0, 2.0**40])[:, None, None]
        np.testing.assert_array_equal(normalise_fn(maps * factors), values)
        np.testing.assert_array_equal(normalise_fn(maps[::-1]), values[::-1])

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.named_parameters(*NORMALISERS.items())
    def test_the_extremes_are_exact_and_the_largest_cell_has_no_slope(self, normalise):
        """Not 0.99999994, as where the compiler multiplies by 1 / max instead."""
        maps = random_maps((64, 3, 4))
        values = self.variant(normalise)(maps)
        size = np.abs(maps) if normalise is ops.normalise_by_max_magnitude else maps
        largest = size == np.max(size, axis=(1, 2), keepdims=True)
        np.testing.assert_array_equal(np.abs(values) == 1, largest)
        if normalise is ops.min_max_normalise:
            np.testing.assert_array_equal(np.min(values, axis=(1, 2)), np.zeros(64))

        def distance_to_one(maps):
            distances = jnp.abs(1 - jnp.abs(normalise(maps)))
            return jnp.sum(jnp.where(largest, distances, 0.0))

        gradient = self.variant(jax.grad(distance_to_one))(maps)
        np.testing.assert_array_equal(gradient, np.zeros_like(maps))

    @chex.variants(with_jit=True, without_jit=True)
    def test_only_min_max_ignores_a_shift(self):
        maps = jnp.round(8 * random_maps())
        for normalise in NORMALISERS.values():
            normalise_fn = self.variant(normalise)
            same = np.allclose(normalise_fn(maps + 3), normalise_fn(maps), atol=1e-6)
            assert same == (normalise is ops.min_max_normalise)


@pytest.mark.parametrize("normalise", NORMALISERS.values())
def test_every_axis_but_the_batch_is_one_map(normalise):
    maps = random_maps((2, 12))
    values = normalise(maps.reshape(2, 3, 2, 2))
    np.testing.assert_array_equal(values.reshape(2, 12), normalise(maps))


@pytest.mark.parametrize(
    "normalise",
    [*NORMALISERS.values(), functools.partial(ops.min_max_normalise, epsilon=1e-6)],
)
@pytest.mark.parametrize("scale", [0.0, -1.0, 3.0])
def test_maps_without_a_range_are_zeros_with_a_zero_gradient(normalise, scale):
    maps = jnp.stack([jnp.full((2, 3), scale), random_maps((2, 3))])
    slopes = jnp.arange(6.0).reshape(2, 3) ** 2
    values, gradient = jax.value_and_grad(lambda m: jnp.sum(slopes * normalise(m)))(
        maps
    )
    assert np.isfinite(values)
    assert np.all(np.isfinite(gradient))
    undefined = {
        ops.normalise_by_max: scale <= 0,
        ops.normalise_by_max_magnitude: scale == 0,
    }.get(normalise, True)
    if undefined:
        np.testing.assert_array_equal(normalise(maps)[0], np.zeros((2, 3)))
        np.testing.assert_array_equal(gradient[0], np.zeros((2, 3)))
    assert np.any(gradient[1] != 0)


@pytest.mark.parametrize("normalise", NORMALISERS.values())
def test_numerical_gradients(x64, normalise):
    maps = random_maps((2, 2, 3))
    test_util.check_grads(jax.jit(normalise), (maps,), order=2, modes=["rev"])


def test_epsilon_keeps_the_maximum_below_one():
    values = ops.min_max_normalise(jnp.array([[1.0, 4.0, 2.0]]), epsilon=0.5)
    np.testing.assert_allclose(values, [[0.0, 3 / 3.5, 1 / 3.5]], rtol=1e-6)


def test_gradient_flows_through_the_maximum():
    # f = a / b at a = 1, b = 2: df/da = 1/2, df/db = -1/4.
    maps = jnp.array([[1.0, 2.0]])
    for normalise in (ops.normalise_by_max, ops.normalise_by_max_magnitude):
        gradient = jax.grad(lambda m, f=normalise: f(m)[0, 0])(maps)
        np.testing.assert_allclose(gradient, [[0.5, -0.25]])


@pytest.mark.parametrize("normalise", NORMALISERS.values())
def test_faint_maps_with_zeros_have_finite_gradients(normalise):
    # Saturated networks have gradients this small; 1 / max² overflows float32.
    maps = 1e-25 * jnp.array([[0.0, 1.0, 0.25, 0.0]])
    gradient = jax.grad(lambda m: normalise(m)[0, 2])(maps)
    np.testing.assert_allclose(1e-25 * gradient[0, 1:3], [-0.25, 1.0], rtol=1e-5)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("normalise", NORMALISERS.values())
def test_bfloat16_maps_are_normalised_in_float32(normalise):
    values = normalise(jnp.array([[0.0, 1.0, 3.0]], jnp.bfloat16))
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, [[0.0, 1 / 3, 1.0]], rtol=1e-6)


@pytest.mark.parametrize("normalise", NORMALISERS.values())
def test_maps_must_be_float_with_more_than_a_batch_axis(normalise):
    with pytest.raises(AssertionError, match="has type int32"):
        normalise(jnp.ones((2, 3), jnp.int32))
    with pytest.raises(AssertionError, match="assert_axis_dimension_gt"):
        normalise(jnp.ones(3))


@pytest.mark.parametrize("epsilon", [-1e-8, float("nan")])
def test_epsilon_must_not_be_negative(epsilon):
    with pytest.raises(ValueError, match=r"`epsilon` \(=.*\) must not be negative"):
        ops.min_max_normalise(random_maps(), epsilon=epsilon)


rescale = jax.jit(lambda values: ops.rescale_extremes(values, axis=(1, 2)))


def test_ordinary_values_keep_every_bit_when_extremes_are_rescaled():
    rng = np.random.default_rng(0)
    for size in (1.0, 1e8, 1e-8):
        values = np.float32(size * rng.normal(size=(3, 4, 5)))
        np.testing.assert_array_equal(rescale(values), values)
    zeros = np.zeros((1, 2, 3), np.float32)
    np.testing.assert_array_equal(rescale(zeros), zeros)


@pytest.mark.parametrize("size", [2.0**126, 2.0**60, 2.0**-60, 2.0**-125])
def test_extremes_are_rescaled_by_a_power_of_two(size):
    """Each example by its own, and every ratio as it was."""
    values = np.float32([[[1.5, -0.75, 0.0]], [[1.0, 2.0, 0.5]]])
    found = np.asarray(rescale(values * np.float32([size, 1]).reshape(2, 1, 1)))
    np.testing.assert_array_equal(found[1], values[1])
    np.testing.assert_array_equal(found[0] / found[0].max(), values[0] / 1.5)
    assert 0.25 <= found[0].max() <= 4
    slope = jax.grad(lambda v: rescale(v)[0, 0, 0])(values * np.float32(size))
    np.testing.assert_array_equal(slope[0, 0, 0] * size, found[0, 0, 0] / 1.5)


def test_what_is_not_finite_stays_so_when_extremes_are_rescaled():
    for bad in (np.inf, -np.inf, np.nan):
        found = rescale(np.float32([[[1.0, bad]]]))
        np.testing.assert_array_equal(found, [[[1.0, bad]]])
