"""Tests of segments: their numbers on a grid, and what a map holds on each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions


def test_patches_of_an_image_are_numbered_in_rows_and_cut_at_the_end():
    segments, count = attributions.grid_segments((3, 5, 2), (2, 2))
    expected = [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]
    np.testing.assert_array_equal(segments[..., 0], expected)
    assert segments.shape == (3, 5, 1)
    assert segments.dtype == np.int32
    assert count == 6


@pytest.mark.parametrize(
    ("shape", "patch", "expected"),
    [
        ((3, 2), (1,), [[0], [1], [2]]),  # tokens
        ((3, 2), (1, 1), [[0, 1], [2, 3], [4, 5]]),  # single numbers
        ((3, 2), (9, 9), [[0, 0], [0, 0], [0, 0]]),
        ((3, 2), (3, 1), [[0, 1], [0, 1], [0, 1]]),
    ],
)
def test_grids_by_hand(shape, patch, expected):
    segments, count = attributions.grid_segments(shape, patch)
    np.testing.assert_array_equal(segments, expected)
    assert count == np.max(expected) + 1


@pytest.mark.parametrize("patch", [(), (0,), (1, 1, 1), (2, -1)])
def test_patches_that_are_none_are_refused(patch):
    with pytest.raises(ValueError, match=r"`patch` \(=.*\) must be 1 to 2 positive"):
        attributions.grid_segments((3, 2), patch)


def test_sums_by_hand():
    maps = jnp.arange(12.0).reshape(2, 3, 2)
    segments = np.array([[2], [-1], [0]])
    # Of the first example 0 + 1 in segment 2 and 4 + 5 in segment 0; 1 is empty.
    expected = [[9, 0, 1], [21, 0, 13]]
    actual = attributions.segment_sums(maps, segments, 3)
    np.testing.assert_array_equal(actual, expected)


def test_each_example_may_have_its_own_segments():
    maps = jnp.arange(6.0).reshape(2, 3)
    segments = np.array([[0, 1, 1], [-1, 0, 0]])
    actual = jax.jit(attributions.segment_sums, static_argnums=2)(maps, segments, 2)
    np.testing.assert_array_equal(actual, [[0, 3], [9, 0]])


def test_the_gradient_of_a_sum_is_the_segment_itself():
    segments = np.array([0, 1, -1, 1])
    total = lambda m: attributions.segment_sums(m, segments, 2)[0, 1]
    actual = jax.grad(total)(jnp.ones((1, 4)))
    np.testing.assert_array_equal(actual, [[0, 1, 0, 1]])


def test_float16_maps_are_added_up_in_float32():
    maps = jnp.full((1, 4), 60000, jnp.float16)
    actual = attributions.segment_sums(maps, np.zeros(4, int), 1)
    np.testing.assert_array_equal(actual, [[4 * 59999.0 + 4]])
    assert actual.dtype == jnp.float32


def test_segments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"`segments` \(one is 2\) must lie in \[-1"):
        attributions.segment_sums(jnp.ones((1, 3)), np.arange(3), 2)
    with pytest.raises(ValueError, match=r"`segments` \(of shape \(2,\)\) must broad"):
        attributions.segment_sums(jnp.ones((1, 3)), np.arange(2), 2)
