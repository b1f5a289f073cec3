"""Augmentation that keeps an image and its annotations together."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from xguide_jax import data, ops

_HEIGHT, _WIDTH = 5, 7
_HALVES = st.integers(-6, 20).map(lambda n: n / 2)


@st.composite
def _boxes(draw, num_boxes=3, coordinates=_HALVES):
    corners = [sorted((draw(coordinates), draw(coordinates))) for _ in range(6)]
    boxes = [
        [xs[0], ys[0], xs[1], ys[1]]
        for xs, ys in zip(corners[:num_boxes], corners[num_boxes:], strict=True)
    ]
    return np.array(boxes, np.float32)


def _rasterised(boxes, valid=None):
    valid = np.ones(len(boxes), bool) if valid is None else valid
    shape = (_HEIGHT, _WIDTH)
    return np.asarray(ops.rasterise_boxes(boxes[None], valid[None], shape=shape)[0])


def _example(boxes):
    """An image that shows its own region, so that the two can be compared."""
    region = _rasterised(boxes)
    annotations = {
        "region": region,
        "boxes": boxes,
        "boxes_valid": np.ones(len(boxes), bool),
        "region_valid": np.array(True),
        "group": np.array(3),
    }
    return region[..., None].copy(), annotations


def _known(boxes, valid):
    """An image and every kind of annotation; the strokes are one pixel, if any."""
    region = _rasterised(boxes, valid)
    strokes = np.zeros((_HEIGHT, _WIDTH), bool)
    strokes[tuple(np.argwhere(region)[:1].T)] = True
    annotations = {
        "region": region,
        "region_valid": np.array(region.any()),
        "strokes": strokes,
        "annotations": -strokes.astype(np.int8),
        "boxes": boxes,
        "boxes_valid": valid,
        "groups": np.array(3),
    }
    inputs = np.random.default_rng(0).normal(size=(_HEIGHT, _WIDTH, 2))
    return inputs.astype(np.float32), annotations


def test_a_flip_by_hand():
    # Width 7: the box over columns 1 and 2 becomes one over 7 - 3 = 4 and 7 - 2 = 5.
    inputs, annotations = _example(np.array([[1, 0, 3, 2]], np.float32))
    flipped, moved = data.flip_horizontally(inputs, annotations)
    assert moved["boxes"].tolist() == [[4, 0, 6, 2]]
    assert np.argwhere(flipped[..., 0]).tolist() == [[0, 4], [0, 5], [1, 4], [1, 5]]


def test_a_shift_by_hand():
    # Down 2 and left 2: columns 1 and 2 become -1 (cut) and 0, rows 0, 1 become 2, 3.
    inputs, annotations = _example(np.array([[1, 0, 3, 2]], np.float32))
    moved_inputs, moved = data.shift(inputs, annotations, dy=2, dx=-2, pad_value=9)
    assert moved["boxes"].tolist() == [[0, 2, 1, 4]]
    assert np.argwhere(moved["region"]).tolist() == [[2, 0], [3, 0]]
    assert np.argwhere(moved_inputs[..., 0] == 1).tolist() == [[2, 0], [3, 0]]
    assert np.all(moved_inputs[:2] == 9)
    assert np.all(moved_inputs[:, -2:] == 9)


@hypothesis.given(boxes=_boxes(coordinates=st.integers(0, 7).map(float)))
def test_flipping_twice_is_the_identity(boxes):
    inputs, annotations = _example(boxes)
    inputs = np.arange(inputs.size, dtype=np.float32).reshape(inputs.shape)
    once = data.flip_horizontally(inputs, annotations)
    twice_inputs, twice = data.flip_horizontally(*once)
    np.testing.assert_array_equal(twice_inputs, inputs)
    for name, value in annotations.items():
        np.testing.assert_array_equal(twice[name], value, err_msg=name)


@hypothesis.given(
    boxes=_boxes(),
    flip=st.booleans(),
    dy=st.integers(1 - _HEIGHT, _HEIGHT - 1),
    dx=st.integers(1 - _WIDTH, _WIDTH - 1),
)
def test_boxes_rasterised_afterwards_are_the_region_and_what_the_image_shows(
    boxes, flip, dy, dx
):
    example = _example(boxes)
    if flip:
        example = data.flip_horizontally(*example)
    inputs, moved = data.shift(*example, dy=dy, dx=dx)
    np.testing.assert_array_equal(moved["region"], inputs[..., 0])
    np.testing.assert_array_equal(
        _rasterised(moved["boxes"], moved["boxes_valid"]), moved["region"]
    )


@hypothesis.given(boxes=_boxes(), dy=st.integers(-4, 4), dx=st.integers(-4, 4))
def test_annotations_stay_valid_exactly_while_something_is_left(boxes, dy, dx):
    _, moved = data.shift(*_example(boxes), dy=dy, dx=dx)
    assert moved["region_valid"] == moved["region"].any()
    covers = [_rasterised(box[None]).any() for box in moved["boxes"]]
    assert moved["boxes_valid"].tolist() == covers
    assert np.all(moved["boxes"][~moved["boxes_valid"]] == 0)


def test_what_was_not_valid_does_not_become_valid():
    inputs, annotations = _example(np.array([[1, 0, 3, 2], [0, 0, 2, 2]], np.float32))
    annotations["region_valid"] = np.array(False)
    annotations["boxes_valid"] = np.array([True, False])
    _, moved = data.shift(inputs, annotations, dy=1, dx=1)
    assert not moved["region_valid"]
    assert moved["boxes_valid"].tolist() == [True, False]


def test_without_a_region_its_validity_follows_the_boxes():
    inputs, annotations = _example(np.array([[0, 0, 1, 1]], np.float32))
    del annotations["region"]
    assert data.shift(inputs, annotations, dy=0, dx=2)[1]["region_valid"]
    assert not data.shift(inputs, annotations, dy=-2, dx=0)[1]["region_valid"]
    only = {"region_valid": np.array(True)}
    assert data.shift(inputs, only, dy=-2, dx=0)[1]["region_valid"]


def test_other_maps_move_and_what_is_not_in_space_stays():
    inputs, annotations = _example(np.array([[1, 0, 3, 2]], np.float32))
    annotations["true_region"] = annotations["region"] * 2
    annotations["tokens"] = np.arange(12).reshape(4, 3)
    _, moved = data.shift(inputs, annotations, dy=1, dx=1)
    np.testing.assert_array_equal(moved["true_region"], 2 * moved["region"])
    np.testing.assert_array_equal(moved["tokens"], annotations["tokens"])
    assert moved["group"] == 3


def test_shapes_and_dtypes_are_kept():
    inputs = np.zeros((_HEIGHT, _WIDTH, 3), np.float16)
    annotations = {
        "region": np.zeros((_HEIGHT, _WIDTH), np.uint8),
        "boxes": np.array([[0, 1, 2, 3]], np.int32),
        "region_valid": np.array(1.0, np.float32),
    }
    for moved_inputs, moved in (
        data.shift(inputs, annotations, dy=1, dx=1),
        data.flip_horizontally(inputs, annotations),
    ):
        assert (moved_inputs.shape, moved_inputs.dtype) == (inputs.shape, np.float16)
        for name, value in annotations.items():
            assert np.asarray(moved[name]).dtype == value.dtype, name
            assert np.shape(moved[name]) == value.shape, name


def test_random_transforms_flip_half_the_time_and_shift_by_every_amount():
    inputs, annotations = _example(np.array([[3, 2, 4, 3]], np.float32))
    inputs[2, 2] = 5  # left of the marked pixel; right of it once mirrored
    places, flipped = set(), 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        moved_inputs, moved = data.transform_together(
            rng, inputs, annotations, flip=True, pad_crop=1
        )
        ((row, column),) = np.argwhere(moved["region"]).tolist()
        flipped += moved_inputs[row, column + 1, 0] == 5
        places.add((row, column))
    # Binomial(300, 1/2) lies within 150 +- 35 with probability 0.9999.
    assert 115 < flipped < 185
    assert places == {(row, column) for row in (1, 2, 3) for column in (2, 3, 4)}


@hypothesis.given(boxes=_boxes(), seed=st.integers(0, 9))
@pytest.mark.parametrize("shape", [None, (_HEIGHT, _WIDTH)])
def test_what_is_not_asked_for_changes_no_bit(shape, boxes, seed):
    inputs, annotations = _known(boxes, np.array([True, False, True]))
    moved_inputs, moved = data.transform_together(
        np.random.default_rng(seed), inputs, annotations, shape=shape
    )
    assert moved_inputs.tobytes() == inputs.tobytes()
    assert list(moved) == list(annotations)
    for name, value in annotations.items():
        assert moved[name].dtype == value.dtype, name
        assert moved[name].tobytes() == value.tobytes(), name


def test_all_options_at_once_by_hand():
    # 4 x 8, one box over column 2 and rows 1, 2. A margin of the whole width, 1, and of
    # the whole height, 2, makes it columns 1 to 3 and rows 0 to 3; on 2 x 4 cells, two
    # pixels wide and high each, that is columns 0, 1 and rows 0, 1. Mirrored, columns
    # 2, 3; shifted by -1, 0 or 1 cell each way.
    region = np.zeros((4, 8), bool)
    region[1:3, 2] = True
    annotations = {
        "region": region,
        "strokes": region,
        "boxes": np.array([[2, 1, 3, 3]], np.float32),
        "boxes_valid": np.array([True]),
    }
    inputs = np.arange(32, dtype=np.float32).reshape(4, 8, 1)
    cells = inputs.reshape(2, 2, 4, 2).mean(axis=(1, 3))
    seen = set()
    for seed in range(60):
        moved_inputs, moved = data.transform_together(
            np.random.default_rng(seed), inputs, annotations,
            dilation=1.0, shape=(2, 4), flip=True, pad_crop=1, pad_value=-1,
        )  # fmt: skip
        rng = np.random.default_rng(seed)
        mirrored = rng.random() < 0.5
        dy, dx = rng.integers(-1, 2, size=2)
        expected = np.full((2, 4), -1.0)
        wide, thin = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
        for row, column in np.ndindex(2, 4):
            to = row + dy, (3 - column if mirrored else column) + dx
            if 0 <= to[0] < 2 and 0 <= to[1] < 4:
                expected[to] = cells[row, column]
                wide[to] = column in (0, 1)
                thin[to] = column == 1
        np.testing.assert_array_equal(moved_inputs[..., 0], expected)
        np.testing.assert_array_equal(moved["region"], wide)
        np.testing.assert_array_equal(moved["strokes"], thin)
        first = max((2 if mirrored else 0) + dx, 0)
        last = min((4 if mirrored else 2) + dx, 4)
        rows = [max(dy, 0), min(2 + dy, 2)]
        assert moved["boxes"].tolist() == [[first, rows[0], last, rows[1]]]
        seen.add((mirrored, dy, dx))
    assert len(seen) == 18


@hypothesis.given(
    boxes=_boxes(),
    valid=st.tuples(*[st.booleans()] * 3),
    dilation=st.sampled_from([0.0, 0.1, 0.5, 2.0]),
    shape=st.sampled_from([None, (2, 3), (1, 1), (9, 10)]),
    flip=st.booleans(),
    crop=st.booleans(),
    seed=st.integers(0, 99),
)
def test_after_everything_the_boxes_still_cover_the_region(
    boxes, valid, dilation, shape, flip, crop, seed
):
    inputs, annotations = _known(boxes, np.array(valid))
    pad_crop = min(shape or (3, 3)) - 1 if crop else 0
    options = {"dilation": dilation, "shape": shape, "flip": flip, "pad_crop": pad_crop}
    moved_inputs, moved = data.transform_together(
        np.random.default_rng(seed), inputs, annotations, **options
    )
    covered = data.box_masks(
        moved["boxes"][None], moved["boxes_valid"][None], shape=moved_inputs.shape[:2]
    )[0]
    np.testing.assert_array_equal(moved["region"] > 0, covered)
    assert moved["region_valid"] == covered.any()
    np.testing.assert_array_equal(moved["annotations"], -moved["strokes"].astype(int))
    assert not np.any(moved["boxes_valid"] & ~np.array(valid))
    # What the strokes mark lies inside; a thing that was there stays, however small.
    assert np.all(moved["region"][moved["strokes"]] == 1)
    if not pad_crop:
        assert moved["region_valid"] == annotations["region_valid"]
        assert np.any(moved["strokes"]) == np.any(annotations["strokes"])
    assert moved["groups"] == 3
    again = data.transform_together(
        np.random.default_rng(seed), inputs, annotations, **options
    )
    np.testing.assert_array_equal(again[0], moved_inputs)
    for name, value in moved.items():
        np.testing.assert_array_equal(again[1][name], value, err_msg=name)


def test_one_option_does_not_change_the_noise_of_another():
    # Of an image of ones the zeros that come in show the crop and nothing else.
    _, annotations = _example(np.array([[1, 0, 3, 2]], np.float32))
    inputs = np.ones((_HEIGHT, _WIDTH, 1), np.float32)
    for seed in range(20):
        alone, *others = (
            data.transform_together(
                np.random.default_rng(seed), inputs, annotations, pad_crop=2, **options
            )[0]
            for options in ({}, {"flip": True}, {"dilation": 0.5})
        )
        for other in others:
            np.testing.assert_array_equal(other, alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pad_crop": -1}, r"`pad_crop` \(=-1\) must lie in 0 .. 4"),
        ({"pad_crop": 5}, r"`pad_crop` \(=5\) must lie in 0 .. 4"),
        ({"pad_crop": 2, "shape": (2, 9)}, r"`pad_crop` \(=2\) must lie in 0 .. 1"),
        ({"dilation": -0.5}, r"`dilation` \(=-0.5\) must be at least 0"),
        ({"shape": (0, 2)}, r"`shape` \(=\(0, 2\)\) must be two positive numbers"),
    ],
)
def test_impossible_options_are_refused(options, message):
    inputs, annotations = _example(np.array([[1, 0, 3, 2]], np.float32))
    with pytest.raises(ValueError, match=message):
        data.transform_together(
            np.random.default_rng(0), inputs, annotations, **options
        )


def test_a_margin_of_boxes_and_of_the_masks_in_them_by_hand():
    # A box 2 wide and 4 high with half of that on each side: 1 left and right, 2 above
    # and below, cut at the bottom. The two pixels of the mask in it grow so, and keep
    # their values; what lies outside of every valid box stays.
    mask = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    mask[2, 2], mask[3, 3], mask[4, 6] = 7, 2, 3
    annotations = {
        "region": mask,
        "true_region": mask,
        "boxes": np.array([[2, 0, 4, 4], [6, 4, 7, 5]], np.int32),
        "boxes_valid": np.array([True, False]),
    }
    inputs = np.zeros((_HEIGHT, _WIDTH, 1), np.float32)
    same, moved = data.dilate(inputs, annotations, fraction=0.5)
    assert same is inputs
    assert moved["boxes"].tolist() == [[1, 0, 5, 5], [6, 4, 7, 5]]
    expected = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    expected[0:5, 1:4] = 7  # rows 2 - 2 to 2 + 2, columns 2 - 1 to 2 + 1
    expected[1:5, 2:5] = 7  # rows 3 - 2 to 4, columns 3 - 1 to 3 + 1
    expected[3, 3], expected[4, 6] = 2, 3
    np.testing.assert_array_equal(moved["region"], expected)
    assert (moved["region"].dtype, moved["boxes"].dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(moved["true_region"], mask)


def test_without_boxes_the_box_around_a_mask_sets_its_margin():
    # An L of 2 columns and 3 rows: 1 more on each side at a half, floor(1.5) = 1.
    mask = np.zeros((_HEIGHT, _WIDTH), bool)
    mask[1:4, 3] = mask[3, 4] = True
    inputs = np.zeros((_HEIGHT, _WIDTH, 1), np.float32)
    known = {"region": mask, "region_valid": np.array(True)}
    _, moved = data.dilate(inputs, known, fraction=0.5)
    expected = np.zeros((_HEIGHT, _WIDTH), bool)
    expected[0:5, 2:5] = expected[2:5, 3:6] = True
    np.testing.assert_array_equal(moved["region"], expected)
    nothing = {"region": np.zeros_like(mask), "region_valid": np.array(False)}
    _, moved = data.dilate(inputs, nothing, fraction=0.5)
    assert not moved["region"].any()
    assert not moved["region_valid"]


def test_a_margin_brings_in_nothing_from_outside_the_image():
    # Left of the image and 4 wide: with 8 on each side it would reach column 6.
    annotations = {
        "boxes": np.array([[-5, 0, -1, 2]], np.float32),
        "boxes_valid": np.array([True]),
    }
    inputs = np.zeros((_HEIGHT, _WIDTH, 1), np.float32)
    _, moved = data.dilate(inputs, annotations, fraction=2.0)
    assert moved["boxes"].tolist() == [[0, 0, 0, 0]]
    assert moved["boxes_valid"].tolist() == [False]


def test_a_negative_margin_is_refused():
    inputs, annotations = _example(np.array([[1, 0, 3, 2]], np.float32))
    del annotations["boxes"]
    with pytest.raises(ValueError, match=r"`fraction` \(=-0.1\) must be at least 0"):
        data.dilate(inputs, annotations, fraction=-0.1)


def test_resizing_by_hand():
    # 2 x 3 to 1 x 2: a cell is one and a half columns wide, so column 1 lies half in
    # each. (1 + 4 + (2 + 5) / 2) / 3 and (3 + 6 + (2 + 5) / 2) / 3.
    inputs = np.array([[1, 2, 3], [4, 5, 6]], np.float32)[..., None]
    annotations = {
        "region": np.array([[0, 0, 0], [0, 0, 1]], np.uint8),
        "annotations": np.array([[1, 0, -1], [0, 0, 0]], np.int8),
        "boxes": np.array([[1, 0, 2, 2], [2, 1, 9, 2], [0, 0, 0, 0]], np.float32),
        "boxes_valid": np.array([True, True, True]),
        "groups": np.array(3),
    }
    resized, known = data.resize(inputs, annotations, shape=(1, 2))
    np.testing.assert_allclose(resized[..., 0], [[8.5 / 3, 12.5 / 3]], rtol=1e-6)
    assert known["region"].tolist() == [[0, 1]]
    assert known["annotations"].tolist() == [[1, -1]]
    assert known["boxes"].tolist() == [[0, 0, 2, 1], [1, 0, 2, 1], [0, 0, 0, 0]]
    assert known["boxes_valid"].tolist() == [True, True, False]
    assert known["groups"] == 3


def test_a_cell_that_both_signs_touch_says_nothing():
    signed = np.array([[1, -1, -1, 0]], np.int8)
    inputs = np.zeros((1, 4, 1), np.float32)
    _, known = data.resize(inputs, {"annotations": signed}, shape=(1, 2))
    assert known["annotations"].tolist() == [[0, -1]]
    assert known["annotations"].dtype == np.int8


@hypothesis.given(
    boxes=_boxes(),
    valid=st.tuples(*[st.booleans()] * 3),
    shape=st.sampled_from([(5, 7), (2, 3), (1, 1), (9, 10), (15, 14)]),
)
def test_resized_boxes_are_the_boxes_of_the_resized_region(boxes, valid, shape):
    valid = np.array(valid)
    region = _rasterised(boxes, valid)
    inputs = np.random.default_rng(0).random((_HEIGHT, _WIDTH, 2)).astype(np.float32)
    annotations = {
        "region": region,
        "region_valid": np.array(True),
        "boxes": boxes,
        "boxes_valid": valid,
    }
    resized, known = data.resize(inputs, annotations, shape=shape)
    assert resized.shape == (*shape, 2)
    again = data.box_masks(
        known["boxes"][None], known["boxes_valid"][None], shape=shape
    )[0]
    np.testing.assert_array_equal(known["region"] != 0, again)
    assert known["region_valid"] == region.any()
    assert not np.any(known["boxes_valid"] & ~valid)
    # Cells are means: the image keeps its own.
    np.testing.assert_allclose(
        resized.mean(axis=(0, 1)), inputs.mean(axis=(0, 1)), rtol=1e-5
    )


def test_resizing_to_the_same_shape_changes_no_whole_pixel():
    inputs, annotations = _example(np.array([[1, 0, 3, 2]], np.float32))
    inputs = np.arange(inputs.size, dtype=np.float32).reshape(inputs.shape)
    resized, known = data.resize(inputs, annotations, shape=(_HEIGHT, _WIDTH))
    np.testing.assert_array_equal(resized, inputs)
    for name, value in annotations.items():
        np.testing.assert_array_equal(known[name], value, err_msg=name)


def test_whole_numbers_are_rounded_and_a_shape_without_cells_is_refused():
    inputs = np.array([[[0], [255], [255]]], np.uint8)
    resized, _ = data.resize(inputs, {}, shape=(1, 2))
    assert resized[0, :, 0].tolist() == [85, 255]  # (0 + 255 / 2) / 1.5 = 85
    means, _ = data.resize(inputs, {}, shape=(1, 1))
    assert means.item() == 170
    with pytest.raises(ValueError, match=r"`shape` .* must be two positive"):
        data.resize(inputs, {}, shape=(0, 2))
