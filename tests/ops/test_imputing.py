"""Noisy linear imputation against a dense solution, ramps and values by hand."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import ops

KEY = jax.random.key(0)
impute = functools.partial(ops.noisy_linear_imputation, key=KEY, sigma=0.0)


def weight(offset):
    return {0: 0.0, 1: 1 / 6, 2: 1 / 12}[abs(offset[0]) + abs(offset[1])]


def dense(image, removed):
    """The published system, pixel by pixel in float64: one channel [H, W]."""
    image = image.astype(np.float64)
    places = np.argwhere(removed)
    number = {tuple(place): at for at, place in enumerate(places)}
    matrix, right = np.zeros((len(places),) * 2), np.zeros(len(places))
    for at, place in enumerate(places):
        for offset in itertools.product((-1, 0, 1), repeat=2):
            other = tuple(place + offset)
            if not all(0 <= o < n for o, n in zip(other, image.shape, strict=True)):
                continue
            matrix[at, at] += weight(offset)
            if other in number:
                matrix[at, number[other]] -= weight(offset)
            else:
                right[at] += weight(offset) * image[other]
    image[removed] = np.linalg.solve(matrix, right)
    return image


def test_it_solves_the_published_system():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 5, 5, 2)).astype(np.float32)
    masks = rng.random((4, 5, 5, 1)) < np.array([0.2, 0.5, 0.8, 0.0]).reshape(
        4, 1, 1, 1
    )
    masks[2] = True
    masks[2, 4, 1] = False  # a single pixel is left, in no corner
    found = impute(images, masks)
    for row, channel in np.ndindex(4, 2):
        expected = dense(images[row, ..., channel], masks[row, ..., 0])
        np.testing.assert_allclose(found[row, ..., channel], expected, atol=1e-5)
    kept = np.broadcast_to(~masks, images.shape)
    np.testing.assert_array_equal(np.asarray(found)[kept], images[kept])


def test_a_single_pixel_is_the_weighted_mean_of_its_neighbours():
    image = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1) ** 2
    centre = np.zeros((1, 3, 3, 1), bool)
    centre[0, 1, 1] = True
    direct, diagonal = 1 + 9 + 25 + 49, 0 + 4 + 36 + 64
    found = impute(image, centre)[0, 1, 1, 0]
    np.testing.assert_allclose(found, direct / 6 + diagonal / 12, rtol=1e-6)
    corner = np.zeros((1, 3, 3, 1), bool)
    corner[0, 0, 0] = True  # beside it 1 and 9, across 16
    found = impute(image, corner)[0, 0, 0, 0]
    np.testing.assert_allclose(found, (2 * 1 + 2 * 9 + 16) / 5, rtol=1e-6)


def test_a_ramp_without_its_inside_comes_back():
    rows, columns = np.indices((8, 7), np.float32)
    ramp = (3 * rows - 2 * columns + 100)[None, ..., None]
    inside = np.zeros((1, 8, 7, 1), bool)
    inside[:, 1:-1, 1:-1] = True
    np.testing.assert_allclose(impute(ramp, inside), ramp, rtol=1e-6)


def test_a_large_hole_of_a_digit_is_solved_as_precisely():
    rng = np.random.default_rng(1)
    images = rng.random((2, 28, 28, 1)).astype(np.float32)
    masks = np.zeros(images.shape, bool)
    masks[0, 1:-1, 1:-1] = True
    masks[1] = True
    masks[1, 3, 3] = masks[1, 20, 25] = False
    found = impute(images, masks)
    for row in range(2):
        expected = dense(images[row, ..., 0], masks[row, ..., 0])
        np.testing.assert_allclose(found[row, ..., 0], expected, atol=1e-5)


def test_values_stay_between_those_that_are_left():
    rng = np.random.default_rng(2)
    images = rng.random((3, 6, 6, 1)).astype(np.float32)
    masks = rng.random((3, 6, 6, 1)) < 0.6
    found = np.asarray(impute(images, masks))
    for row in range(3):
        kept = images[row][~masks[row]]
        assert found[row].min() >= kept.min() - 1e-5
        assert found[row].max() <= kept.max() + 1e-5


def test_what_was_removed_is_not_looked_at():
    images = np.random.default_rng(3).random((2, 5, 5, 1)).astype(np.float32)
    masks = np.zeros(images.shape, bool)
    masks[:, 1:3, 2:4] = True
    expected = impute(images, masks)
    np.testing.assert_array_equal(
        impute(np.where(masks, np.nan, images), masks), expected
    )


def test_noise_is_inside_the_mask_only_and_of_its_example():
    images = np.zeros((2, 40, 40, 1), np.float32)
    masks = np.zeros(images.shape, bool)
    masks[:, ::2] = True
    noisy = np.asarray(impute(images, masks, sigma=0.1))
    np.testing.assert_array_equal(noisy[~masks], 0)
    np.testing.assert_allclose(noisy[masks].std(), 0.1, rtol=0.1)
    np.testing.assert_array_equal(impute(images, masks, sigma=0.1), noisy)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(2))
    alone = impute(images[1:], masks[1:], sigma=0.1, key=keys[1:])
    np.testing.assert_allclose(alone[0], noisy[1], atol=1e-6)
    assert not np.allclose(noisy[0], noisy[1])


def test_nothing_left_or_a_nan_left_is_nan_in_its_image_alone():
    images = np.ones((4, 5, 5, 2), np.float32)
    masks = np.zeros((4, 5, 5, 1), bool)
    masks[:, 2, 2] = True
    masks[1] = True
    images[2, 0, 0] = np.nan
    found = np.asarray(impute(images, masks))
    assert np.all(np.isnan(found[1]))
    assert np.all(np.isnan(found[2, 2, 2]))
    np.testing.assert_allclose(found[[0, 3]], 1, rtol=1e-6)


def test_gradients_are_those_of_the_linear_map():
    images = jnp.asarray(np.random.default_rng(4).random((1, 4, 4, 1)), jnp.float32)
    masks = np.zeros(images.shape, bool)
    masks[0, 1:3, 1] = masks[0, 1, 2] = True
    total = lambda images: jnp.sum(jnp.where(masks, impute(images, masks), 0.0))
    slopes = jax.grad(total)(images)
    np.testing.assert_array_equal(np.asarray(slopes)[masks], 0)
    # Linear and kind to constants: 3 imputed pixels hand on a weight of 1 each.
    np.testing.assert_allclose(jnp.sum(slopes), 3, rtol=1e-4)
    np.testing.assert_allclose(jnp.sum(slopes * images), total(images), rtol=1e-4)


def test_narrow_images_keep_their_dtype_and_channels_may_differ():
    images = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    masks = np.zeros((1, 4, 4, 2), bool)
    masks[0, 1, 1, 0] = True
    found = impute(images.at[0, 1, 1].set(9), masks)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found[0, 1, 1].astype(float), [1, 9])


def test_masks_that_do_not_fit_are_refused():
    images = jnp.ones((2, 4, 4, 1))
    for mask in (jnp.ones((2, 4, 4, 1)), jnp.ones((2, 4, 4), bool)):
        with pytest.raises(AssertionError):
            impute(images, mask)
    with pytest.raises(AssertionError):
        impute(jnp.ones((2, 4, 4)), jnp.ones((2, 4, 4), bool))
    with pytest.raises(ValueError, match="must be a typed key"):
        impute(images, jnp.ones((2, 4, 4, 1), bool), key=0)
