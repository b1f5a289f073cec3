"""Means under cells: by hand, as fractions, and of rows as long as sums may be."""

import fractions

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xguide_jax import data
from xguide_jax.data.images import pixel_means


def test_pixels_between_two_cells_count_for_both():
    # Three pixels under two cells: the middle one is half under each.
    assert pixel_means.overlaps(3, 2).tolist() == [[2, 1, 0], [0, 1, 2]]
    image = np.array([[[10], [40], [200]]], np.uint8)
    # (2 * 10 + 40) / 3 and (40 + 2 * 200) / 3 = 146.67.
    assert pixel_means.pixel_means(image, shape=(1, 2)).tolist() == [[[20], [147]]]


def test_halves_are_rounded_to_even_numbers():
    image = np.array([[[0], [1], [1], [2]]], np.uint8)
    assert pixel_means.pixel_means(image, shape=(1, 2)).tolist() == [[[0], [2]]]


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(0, 99),
)
def test_they_are_the_exact_means(old, new, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*old, 2)).astype(np.uint8)
    found = pixel_means.pixel_means(image, shape=new)
    assert found.dtype == np.uint8
    assert found.shape == (*new, 2)
    rows, columns = map(pixel_means.overlaps, old, new)
    total = np.einsum("ai,bj,ijc->abc", rows, columns, image.astype(int))
    exact = [round(fractions.Fraction(int(t), old[0] * old[1])) for t in total.ravel()]
    assert found.ravel().tolist() == exact


@pytest.mark.parametrize("shape", [(5, 7), (12, 10), (30, 3)])
def test_resize_agrees_with_that_of_floats(shape):
    image = np.random.default_rng(0).integers(0, 256, (12, 10, 3)).astype(np.uint8)
    whole, _ = data.resize(image, {}, shape=shape)
    floats, _ = data.resize(image.astype(np.float64), {}, shape=shape)
    assert np.max(np.abs(whole - floats)) <= 0.5 + 1e-9


def test_the_largest_sums_are_exact():
    image = np.full((3, 40_000, 1), 255, np.uint8)
    image[0, 0] = 254
    found = pixel_means.pixel_means(image, shape=(1, 7))
    assert found.ravel().tolist() == [255] * 7
