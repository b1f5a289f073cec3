"""Masks as files hold them, as the regions and signs that terms read."""

import doctest

import numpy as np
import pytest

from xguide_jax import data, losses, metrics
from xguide_jax.data.images import label_masks
from xguide_jax.guidance import reading


def test_a_mask_of_0_and_255_becomes_a_mask_of_0_and_1():
    mask = np.array([[[255, 0], [0, 255]]], np.uint8)
    region, signs = data.region_from_labels(mask, inside=255, outside=0)
    assert region.dtype == bool
    assert region.tolist() == [[[True, False], [False, True]]]
    assert (signs.dtype, signs.tolist()) == (np.int8, [[[1, -1], [-1, 1]]])
    # Maps 1, 3, 2, 2: 5 of 8 lie outside.
    maps = np.array([[[1.0, 3.0], [2.0, 2.0]]], np.float32)
    np.testing.assert_allclose(losses.energy(maps, region), [0.625])
    np.testing.assert_allclose(metrics.energy_pointing_game(maps, region), [0.375])


def test_void_says_nothing_and_is_not_inside():
    # VOC: a 15 with a seam of 255, a 7 and background.
    mask = np.array([[255, 15, 15, 255, 7, 0]], np.uint8)
    region, signs = data.region_from_labels(mask, inside=15, void=255)
    assert region[0].astype(int).tolist() == [0, 1, 1, 0, 0, 0]
    assert signs[0].tolist() == [0, 1, 1, 0, -1, -1]
    both = data.region_from_labels(mask, inside=[15, 7], void=[255, 0])
    assert both.annotations[0].tolist() == [0, 1, 1, 0, 1, 0]


def test_a_picture_without_the_class_is_not_annotated_for_either_kind_of_term():
    mask = np.array([[[15, 0], [0, 0]], [[7, 255], [0, 0]]])
    region, signs = data.region_from_labels(mask, inside=15, void=255)
    assert signs[1].tolist() == [[0, 0], [0, 0]]
    assert signs[0].tolist() == [[1, -1], [-1, -1]]
    for read, known in [
        (reading.region_of, {"region": region}),
        (reading.annotations_of, {"annotations": signs}),
    ]:
        batch = {**known, "inputs": np.zeros((2, 2, 2, 3)), "labels": np.zeros(2, int)}
        data.validate_batch(batch, num_classes=1)
        _, valid = read(batch)
        assert valid.tolist() == [True, False]


@pytest.mark.parametrize(
    ("mask", "labels", "message"),
    [
        (np.zeros((2, 2)), {"inside": 1}, r"`mask` \(float64 \(2, 2\)\) must be whole"),
        (np.zeros(4, int), {"inside": 1}, r"\[H, W\] or \[N, H, W\]"),
        (np.zeros((2, 2), int), {"inside": ()}, r"`inside` \(=\(\)\) must name a"),
        (np.zeros((2, 2), np.uint8), {"inside": 256}, r"=256\) cannot occur in uint8"),
        (np.zeros((2, 2), bool), {"inside": 255}, r"=255\) cannot occur in bool"),
        (
            np.zeros((2, 2), np.uint8),
            {"inside": 1, "void": -1},
            r"`void` \(=-1\) cannot occur in uint8",
        ),
        (
            np.zeros((2, 2), int),
            {"inside": (1, 2), "void": 2},
            r"`void` \(=2\) must not be in `inside`, too",
        ),
        (
            np.array([[0, 255], [254, 255]], np.uint8),
            {"inside": 255, "outside": 0},
            r"`mask`\[1, 0\] \(=254\) must be one of .* JPEG",
        ),
    ],
)
def test_what_would_silently_be_outside_is_refused(mask, labels, message):
    with pytest.raises(ValueError, match=message):
        data.region_from_labels(mask, **labels)


def test_the_worked_example_holds():
    assert doctest.testmod(label_masks, extraglobs={"np": np}).failed == 0
