"""Objects on other backgrounds: by hand, and as properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xguide_jax import data


def _images():
    """Three images of 1x4 pixels, of classes 0, 1, 1, the object on the left."""
    images = np.array([[10, 11, 20, 20], [50, 50, 61, 64], [7, 8, 9, 9]], np.uint8)
    regions = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
    return images[:, None, :, None], regions[:, None], np.array([0, 1, 1])


def test_an_object_stands_on_the_background_of_another_class():
    images, regions, labels = _images()
    composites, partners = data.swapped_backgrounds(images, regions, labels, seed=0)
    # Image 2 has no region: it lends nothing and stays as it is.
    assert partners.tolist() == [1, 0, -1]
    assert composites[:, 0, :, 0].tolist() == [
        [10, 11, 61, 64], [50, 50, 20, 20], [7, 8, 9, 9],
    ]  # fmt: skip
    assert composites.dtype == np.uint8


def test_the_lent_object_is_filled_by_the_mean_of_its_background():
    images, regions, labels = _images()
    regions[0, 0] = [1, 0, 0, 0]
    composites, _ = data.swapped_backgrounds(images, regions, labels, seed=0)
    # 62.5 is rounded to the even number.
    assert composites[0, 0, :, 0].tolist() == [10, 62, 61, 64]


def test_without_another_class_nothing_changes():
    images, regions, _ = _images()
    composites, partners = data.swapped_backgrounds(
        images, regions, np.zeros(3, int), seed=0
    )
    assert partners.tolist() == [-1, -1, -1]
    np.testing.assert_array_equal(composites, images)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 9))
def test_partners_are_of_other_classes_and_lend_a_background(seed, count):
    rng = np.random.default_rng(seed)
    images = rng.random((count, 3, 3, 2))
    regions = rng.random((count, 3, 3)) < rng.choice([0, 0.5, 1], count)[:, None, None]
    labels = rng.integers(0, 3, count)
    composites, partners = data.swapped_backgrounds(images, regions, labels, seed=seed)
    for row, partner in enumerate(partners):
        if partner >= 0:
            assert labels[row] != labels[partner]
            assert regions[partner].any()
            assert not regions[partner].all()
        np.testing.assert_array_equal(
            composites[row][regions[row]], images[row][regions[row]]
        )


def test_what_one_image_is_annotated_with_moves_no_other_partner():
    rng = np.random.default_rng(0)
    images, labels = rng.random((20, 2, 2, 1)), np.arange(20) % 2
    regions = np.zeros((20, 2, 2), bool)
    regions[:, 0] = True
    _, before = data.swapped_backgrounds(images, regions, labels, seed=3)
    regions[4] = False
    _, after = data.swapped_backgrounds(images, regions, labels, seed=3)
    even = np.arange(20) % 2 == 0
    even[4] = False
    np.testing.assert_array_equal(before[even], after[even])
    assert len(set(before.tolist())) > 5


def test_partners_are_known_without_pixels():
    images, regions, labels = _images()
    partners = data.other_class_partners(regions, labels, seed=0)
    assert partners.tolist() == [1, 0, -1]
    first = data.on_background(images[0], regions[0], images[1], regions[1])
    composites, _ = data.swapped_backgrounds(images, regions, labels, seed=0)
    np.testing.assert_array_equal(first, composites[0])


def test_arrays_that_do_not_fit_are_refused():
    images, regions, labels = _images()
    with pytest.raises(ValueError, match=r"`regions` \(uint8 .* must be bool"):
        data.swapped_backgrounds(images, regions.astype(np.uint8), labels, seed=0)
    with pytest.raises(ValueError, match=r"`regions` .* must be \[N, H, W\] of"):
        data.swapped_backgrounds(images, regions[:2], labels, seed=0)
    with pytest.raises(ValueError, match=r"`labels` \(2,\) must be \[N\]"):
        data.swapped_backgrounds(images, regions, labels[:2], seed=0)
