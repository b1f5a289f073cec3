"""Boxes of other tools: which pixels they cover, by hand."""

import numpy as np
import pytest

from xguide_jax import data


def _covered(boxes, shape=(3, 4)):
    boxes = np.asarray(boxes)[None, None]
    return data.box_masks(boxes, np.ones((1, 1), bool), shape=shape)[0]


def test_a_voc_box_holds_its_first_and_its_last_pixel_counted_from_1():
    assert data.boxes_from_voc([1, 1, 4, 3]).tolist() == [0, 0, 4, 3]
    assert _covered(data.boxes_from_voc([1, 1, 4, 3])).sum() == 12
    assert np.argwhere(_covered(data.boxes_from_voc([2, 3, 2, 3]))).tolist() == [[2, 1]]
    # The same image by a tool that counts from 0, and by one that means the end.
    assert data.boxes_from_voc([0, 0, 3, 2], first=0).tolist() == [0, 0, 4, 3]
    ends = data.boxes_from_voc([0, 0, 4, 3], first=0, inclusive=False)
    assert ends.tolist() == [0, 0, 4, 3]


def test_a_coco_box_is_a_corner_and_a_size():
    covered = _covered(data.boxes_from_coco([1, 0, 2, 3]))
    assert covered.astype(int).tolist() == [[0, 1, 1, 0]] * 3
    assert data.boxes_from_coco([[0.5, 1.25, 2.5, 0]]).tolist() == [
        [0.5, 1.25, 3, 1.25]
    ]


def test_fractions_and_centres_are_of_width_and_height():
    # 40 high and 80 wide: x by 80, y by 40.
    boxes = data.boxes_from_fractions([0.25, 0.5, 0.75, 1], shape=(40, 80))
    assert boxes.tolist() == [20, 20, 60, 40]
    boxes = data.boxes_from_yolo([0.5, 0.75, 0.5, 0.5], shape=(40, 80))
    assert boxes.tolist() == [20, 20, 60, 40]
    assert data.boxes_from_yolo([0.1, 0.5, 0.3, 1], shape=(40, 80)).tolist() == [
        0, 0, 20, 40,
    ]  # fmt: skip


@pytest.mark.parametrize("size", [7, 48, 224, 333])
def test_whole_pixels_stay_whole_in_float32_fractions(size):
    ends = np.arange(1, size + 1, dtype=np.float32)
    fractions = np.stack([0 * ends, 0 * ends, ends / size, ends / size], axis=-1)
    boxes = data.boxes_from_fractions(fractions, shape=(size, size))
    np.testing.assert_array_equal(boxes[:, 2], ends)


@pytest.mark.parametrize(
    "read",
    [
        data.boxes_from_coco,
        data.boxes_from_voc,
        lambda boxes: data.boxes_from_fractions(boxes, shape=(3, 4)),
        lambda boxes: data.boxes_from_yolo(boxes, shape=(3, 4)),
    ],
)
def test_every_form_has_an_empty_list_and_refuses_what_is_no_box(read):
    assert read([]).shape == (0, 4)
    assert read(np.zeros((2, 0, 4)) + 1).shape == (2, 0, 4)
    assert read([1, 1, 1, 1]).dtype == np.float32
    with pytest.raises(
        ValueError, match=r"`boxes` of shape \(5,\) must be \[\.\.\., 4"
    ):
        read([1, 2, 3, 4, 5])
    with pytest.raises(ValueError, match=r"`boxes`\[0\] .* must be finite"):
        read([[1, 1, np.nan, 2]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.boxes_from_coco([3, 3, -1, 2]), "a size of at least 0"),
        (lambda: data.boxes_from_voc([0, 1, 4, 3]), r"begin at pixel 1 or .*`first`"),
        (lambda: data.boxes_from_voc([3, 1, 2, 3]), "inverted"),
        (
            lambda: data.boxes_from_fractions([0, 0, 4, 3], shape=(3, 4)),
            r"lie in \[0, 1\]",
        ),
        (
            lambda: data.boxes_from_fractions([0.5, 0, 0.2, 1], shape=(3, 4)),
            "inverted",
        ),
        (
            lambda: data.boxes_from_yolo([2, 0.5, 0.1, 0.1], shape=(3, 4)),
            r"lie in \[0, 1\]",
        ),
    ],
)
def test_boxes_of_another_form_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
