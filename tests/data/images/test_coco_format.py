"""COCO's run lengths, outlines and crowds, by hand and there and back."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from xguide_jax import data

_BAR = [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
_HOLE = np.zeros((40, 50), bool)
_HOLE[3:30, 4:40], _HOLE[10:12, 10:20] = True, False
# As COCO's own tools write it.
_HOLE_CODE = (
    "S5k0=0000000000\\OE;;EE;;EE;;EE;;EE;;EE;;EE;;EE;;EE;;EE;;9000000000000000000000000"
    "00000000000000]<"
)


@pytest.mark.parametrize("counts", [[4, 2, 6], "426", b"426"])
def test_run_lengths_go_down_the_columns(counts):
    mask = data.mask_from_rle({"size": [3, 4], "counts": counts})
    assert mask.dtype == bool
    assert mask.astype(int).tolist() == _BAR


def test_the_code_of_a_mask_is_that_of_the_published_tools():
    bar = np.array(_BAR)
    assert data.rle_from_mask(bar) == {"size": [3, 4], "counts": "426"}
    counts = data.rle_from_mask(bar, compressed=False)["counts"]
    assert counts == [4, 2, 6]
    assert data.rle_from_mask(_HOLE)["counts"] == _HOLE_CODE
    np.testing.assert_array_equal(
        data.mask_from_rle({"size": [40, 50], "counts": _HOLE_CODE}), _HOLE
    )
    # Begins inside: a first count of 0.
    whole = data.rle_from_mask(np.ones((2, 2)), compressed=False)
    assert whole["counts"] == [0, 4]


@hypothesis.given(
    mask=arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40)),
    compressed=st.booleans(),
)
def test_run_lengths_there_and_back_are_the_mask(mask, compressed):
    rle = data.rle_from_mask(mask, compressed=compressed)
    np.testing.assert_array_equal(data.mask_from_rle(rle), mask)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"counts": [12]}, "must have 'size', .*KeyError"),
        ({"size": [3, 4], "counts": [4, 2]}, r"sum to 3 \* 4 pixels, not 6"),
        ({"size": [3, 4], "counts": [14, -2]}, "at least 0"),
        ({"size": [3, 4], "counts": [6.5, 5.5]}, "must be whole numbers"),
        ({"size": [3, 4], "counts": "42 6"}, "' ' is no part of a count"),
        ({"size": [3, 4], "counts": "42T"}, "ends within a count"),
        ({"size": [3], "counts": [3]}, "must have 'size'"),
    ],
)
def test_a_broken_code_is_refused(rle, message):
    with pytest.raises(ValueError, match=message):
        data.mask_from_rle(rle)


def test_a_segmentation_is_read_in_each_of_its_forms():
    rle = {"size": [3, 4], "counts": [4, 2, 6]}
    for form in (
        rle,
        [[1, 1, 2, 1, 2, 3, 1, 3]],
        [[1, 1, 2, 1, 2, 2, 1, 2], [1, 2, 2, 2, 2, 3, 1, 3]],
    ):
        mask = data.mask_from_coco(form, shape=(3, 4))
        assert mask.astype(int).tolist() == _BAR
    with pytest.raises(
        ValueError, match=r"size \(3, 4\) must have the image's, \(4, 3"
    ):
        data.mask_from_coco(rle, shape=(4, 3))
    for nothing in ([], None, "426"):
        with pytest.raises(ValueError, match="an RLE or a list of outlines"):
            data.mask_from_coco(nothing, shape=(3, 4))


def _row(*columns):
    """An RLE of one row, by its columns."""
    mask = np.zeros((1, 8), bool)
    mask[0, list(columns)] = True
    return data.rle_from_mask(mask)


def test_a_crowd_is_void_and_objects_lie_over_it():
    known = [
        {"category_id": 18, "iscrowd": 0, "segmentation": _row(1, 2)},
        {"category_id": 18, "iscrowd": 1, "segmentation": _row(2, 3, 4)},
        {"category_id": 17, "iscrowd": 0, "segmentation": _row(4, 5)},
        {"category_id": 17, "iscrowd": 1, "segmentation": _row(6)},
    ]
    for order in (known, known[::-1]):
        region, signs = data.region_from_coco(order, inside=18, shape=(1, 8))
        assert region[0].astype(int).tolist() == [0, 1, 1, 0, 0, 0, 0, 0]
        assert signs[0].tolist() == [-1, 1, 1, 0, 0, -1, -1, -1]
    both = data.region_from_coco(known, inside=[17, 18], shape=(1, 8))
    assert both.annotations[0].tolist() == [-1, 1, 1, 0, 1, 1, 0, -1]
    # A crowd alone, or nothing, is no annotation.
    for few in (known[1:2], []):
        nothing = data.region_from_coco(few, inside=18, shape=(1, 8))
        assert not nothing.region.any()
        assert not nothing.annotations.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segmentation": []}, r"annotations\[1\] \(id 9\): .* list of outlines"),
        ({"iscrowd": 2}, r"annotations\[1\] \(id 9\) must have .*'iscrowd' 0 or 1"),
        ({"image_id": 4}, r"\[1\] \(id 9\) must be of the image of the first, 3"),
    ],
)
def test_an_annotation_of_another_form_or_image_is_named(change, message):
    one = {"id": 8, "image_id": 3, "category_id": 1, "segmentation": _row(1)}
    with pytest.raises(ValueError, match=message):
        data.region_from_coco([one, {**one, "id": 9, **change}], inside=1, shape=(1, 8))
