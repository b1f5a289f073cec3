"""Simulated annotators, margins, scarcity and masks on other grids."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from xguide_jax import data, ops


def _square(top, left, size, shape=(9, 9)):
    mask = np.zeros(shape, np.float32)
    mask[top : top + size, left : left + size] = 1
    return mask


def _masks(num_masks):
    return np.stack([_square(3, 3, 3)] * num_masks)


def test_without_errors_the_annotator_delivers_the_truth():
    masks = _masks(4)
    simulated = data.corrupt_masks(np.random.default_rng(0), masks)
    np.testing.assert_array_equal(simulated.region, masks)
    np.testing.assert_array_equal(simulated.true_region, masks)
    assert simulated.region_valid.tolist() == [True] * 4
    assert simulated.region.dtype == masks.dtype


def test_the_truth_is_kept_apart_from_what_is_delivered():
    masks = _masks(50)
    before = masks.copy()
    simulated = data.corrupt_masks(
        np.random.default_rng(0), masks, shift=2, dilate=1, erode=1, drop=0.5
    )
    np.testing.assert_array_equal(masks, before)
    np.testing.assert_array_equal(simulated.true_region, before)
    assert not np.shares_memory(simulated.true_region, masks)


def test_shifts_cover_every_displacement_and_no_larger_one():
    simulated = data.corrupt_masks(np.random.default_rng(0), _masks(200), shift=1)
    moves = set()
    for mask in simulated.region:
        rows, columns = np.nonzero(mask)
        assert len(rows) == 9  # nothing is lost inside the image
        moves.add((int(rows.min()) - 3, int(columns.min()) - 3))
    assert moves == {(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)}


def test_growth_and_shrinkage_are_squares_of_every_radius():
    simulated = data.corrupt_masks(
        np.random.default_rng(0), _masks(100), dilate=2, erode=1
    )
    sizes = set()
    for mask in simulated.region:
        rows, _ = np.nonzero(mask)
        radius = 3 - int(rows.min())
        expected = _square(3 - radius, 3 - radius, 3 + 2 * radius)
        np.testing.assert_array_equal(mask, expected)
        sizes.add(radius)
    assert sizes == {-1, 0, 1, 2}


def test_the_border_of_the_image_does_not_erode():
    corner = _square(0, 0, 4)[None].repeat(40, axis=0)
    simulated = data.corrupt_masks(np.random.default_rng(0), corner, erode=1)
    found = {int(mask.sum()) for mask in simulated.region}
    assert found == {16, 9}  # 4 x 4, or 3 x 3 with the two sides at the border kept


def test_withheld_and_vanished_masks_are_not_valid():
    rng = np.random.default_rng(0)
    simulated = data.corrupt_masks(rng, _masks(400), drop=0.25)
    dropped = ~simulated.region_valid
    assert np.all(simulated.region[dropped] == 0)
    assert np.all(simulated.region[~dropped] == _masks(1))
    # Binomial(400, 1/4): 100 +- 34 with probability 0.9999.
    assert 66 < dropped.sum() < 134
    single = _square(4, 4, 1)[None].repeat(20, axis=0)
    eroded = data.corrupt_masks(rng, single, erode=1)
    np.testing.assert_array_equal(eroded.region_valid, eroded.region.any(axis=(1, 2)))
    assert 0 < eroded.region_valid.sum() < 20
    assert not data.corrupt_masks(rng, _masks(5), drop=1.0).region_valid.any()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"shift": -1}, "`shift` .=-1. must be at least 0 pixels"),
        ({"dilate": -2}, "`dilate` .=-2. must be at least 0 pixels"),
        ({"erode": -1}, "`erode` .=-1. must be at least 0 pixels"),
        ({"drop": 1.5}, r"`drop` .=1.5. must lie in \[0, 1\]"),
    ],
)
def test_the_annotator_refuses_impossible_errors(keywords, message):
    with pytest.raises(ValueError, match=message):
        data.corrupt_masks(np.random.default_rng(0), _masks(1), **keywords)


def test_a_margin_by_hand():
    # 10 wide, 20 high, half of it on each side: 5 and 10, cut at 0 and at the height.
    boxes = np.array([[20, 5, 30, 25]], np.int32)
    wider = data.dilate_boxes(boxes, fraction=0.5, shape=(30, 60))
    assert wider.tolist() == [[15, 0, 35, 30]]
    assert wider.dtype == np.int32
    # 10 wide, outside of 60 columns and still so with 2 more: nothing is left of it.
    outside = np.array([[70, 5, 80, 9]], np.int32)
    left = data.dilate_boxes(outside, fraction=0.2, shape=(30, 60))
    assert left.tolist() == [[60, 5, 60, 9]]


def test_a_margin_is_rounded_down_but_keeps_what_is_whole():
    # floor(0.25 * 10) = 2, floor(0.29 * 100) = 29 though the product is 28.999...
    box = np.array([100.0, 100.0, 110.0, 200.0])
    assert data.dilate_boxes(box, fraction=0.25, shape=(400, 400)).tolist() == [
        98,
        75,
        112,
        225,
    ]
    assert data.dilate_boxes(box, fraction=0.29, shape=(400, 400))[1] == 71


def test_no_margin_changes_nothing_and_padding_stays_empty():
    boxes = np.array([[1, 2, 5, 9], [0, 0, 0, 0]], np.float32)
    same = data.dilate_boxes(boxes, fraction=0.0, shape=(10, 10))
    np.testing.assert_array_equal(same, boxes)
    assert data.dilate_boxes(boxes, fraction=3.0, shape=(10, 10))[1].tolist() == [0] * 4


def test_a_negative_margin_is_refused():
    with pytest.raises(ValueError, match=r"`fraction` .=-0.1. must be at least 0"):
        data.dilate_boxes(np.zeros((1, 4)), fraction=-0.1, shape=(9, 9))


def test_scarce_annotations_are_exact_nested_and_seeded():
    kept = {
        fraction: data.keep_fraction(200, fraction=fraction, seed=0)
        for fraction in (0.0, 0.01, 0.1, 0.29, 1.0)
    }
    counts = [int(mask.sum()) for mask in kept.values()]
    assert counts == [0, 2, 20, 58, 200]  # 0.29 * 200 is 57.999... as a float
    assert np.all(kept[0.01] <= kept[0.1])
    assert np.all(kept[0.1] <= kept[0.29])
    other = data.keep_fraction(200, fraction=0.1, seed=1)
    assert other.sum() == 20
    assert not np.array_equal(other, kept[0.1])


@pytest.mark.parametrize("fraction", [-0.1, 1.1])
def test_an_impossible_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match=r"`fraction` .* must lie in \[0, 1\]"):
        data.keep_fraction(10, fraction=fraction, seed=0)


def test_resizing_by_hand():
    # 4 columns to 3 cells: cell j spans 4j/3 .. 4(j+1)/3, so pixel 1 (1 .. 2) touches
    # cells 0 (.. 1.33) and 1 (1.33 ..), and pixel 3 cell 2 alone.
    mask = np.array([[0, 1, 0, 0]], np.uint8)
    assert data.resize_mask(mask, shape=(1, 3)).tolist() == [[1, 1, 0]]
    last = np.array([[0, 0, 0, 1]], np.uint8)
    assert data.resize_mask(last, shape=(1, 3)).tolist() == [[0, 0, 1]]
    assert data.resize_mask(last, shape=(2, 8)).tolist() == [[0] * 6 + [1, 1]] * 2


@hypothesis.given(
    row=st.integers(0, 27),
    column=st.integers(0, 27),
    shape=st.sampled_from([(1, 1), (3, 5), (7, 7), (28, 28), (40, 30)]),
)
def test_a_mask_of_one_pixel_survives_in_the_cell_that_holds_it(row, column, shape):
    mask = np.zeros((28, 28), bool)
    mask[row, column] = True
    resized = data.resize_mask(mask, shape=shape)
    assert resized.dtype == bool
    # The pixel's centre, in cells of the new grid.
    centre = (row + 0.5) * shape[0] / 28, (column + 0.5) * shape[1] / 28
    assert resized[int(centre[0]), int(centre[1])]
    # By at most one cell in each direction, counted from a pixel's own extent.
    reach = [-(-n // 28) + 1 for n in shape]
    assert resized.sum() <= reach[0] * reach[1]


def test_resizing_to_the_same_shape_changes_nothing_and_empty_stays_empty():
    masks = np.random.default_rng(0).random((2, 6, 5)) < 0.4
    np.testing.assert_array_equal(data.resize_mask(masks, shape=(6, 5)), masks)
    assert not data.resize_mask(np.zeros((6, 5)), shape=(2, 2)).any()
    with pytest.raises(ValueError, match=r"`shape` .* must be two positive"):
        data.resize_mask(masks, shape=(0, 2))


@hypothesis.given(seed=st.integers(0, 10**6))
def test_masks_of_boxes_are_those_that_terms_rasterise(seed):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(-4, 24, size=(3, 4, 2, 2)) / 2, axis=2)
    boxes = corners.reshape(3, 4, 4).astype(np.float32)
    valid = rng.random((3, 4)) < 0.7
    masks = data.box_masks(boxes, valid, shape=(6, 9))
    assert masks.dtype == bool
    expected = ops.rasterise_boxes(boxes, valid, shape=(6, 9))
    np.testing.assert_array_equal(masks, np.asarray(expected) != 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int64])
def test_boxes_of_whole_numbers_cover_what_those_of_float64_do(dtype):
    boxes = np.array([[[1, 0, 4, 2], [0, 0, 0, 0]], [[2, 3, 9, 6], [5, 1, 6, 2]]])
    valid = np.array([[True, True], [True, False]])
    masks, wider = (
        [function(boxes.astype(kind)) for kind in (dtype, np.float64)]
        for function in (
            lambda boxes: data.box_masks(boxes, valid, shape=(6, 9)),
            # A margin of 3 columns goes below 0, where unsigned numbers wrap around.
            lambda boxes: data.dilate_boxes(boxes, fraction=1.0, shape=(6, 9)),
        )
    )
    assert masks[0].dtype == bool
    np.testing.assert_array_equal(*masks)
    assert wider[0].dtype == dtype
    np.testing.assert_array_equal(*wider)
    assert wider[0][0, 0].tolist() == [0, 0, 7, 4]


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int32])
def test_an_inverted_box_is_refused_and_not_taken_for_an_empty_one(dtype):
    boxes = np.array([[[0, 0, 2, 2], [3, 0, 1, 2]]], dtype)
    message = r"`boxes`\[0, 1\] .* must be finite and have x0 <= x1 and y0 <= y1"
    with pytest.raises(ValueError, match=message):
        data.box_masks(boxes, np.ones((1, 2), bool), shape=(4, 4))
    with pytest.raises(ValueError, match=message):
        data.dilate_boxes(boxes, fraction=0.1, shape=(4, 4))
    # As padding it may hold anything.
    first = data.box_masks(boxes, np.array([[True, False]]), shape=(4, 4))
    assert first.sum() == 4
    with pytest.raises(ValueError, match="must be finite"):
        data.box_masks(np.full((1, 1, 4), np.nan), np.ones((1, 1), bool), shape=(4, 4))


def test_validity_is_bool_and_one_a_box():
    boxes = np.zeros((2, 3, 4))
    for kind in (np.float32, np.int64):
        with pytest.raises(ValueError, match=r"`valid` .* must be bool"):
            data.box_masks(boxes, np.ones((2, 3), kind), shape=(4, 4))
    for shape in [(2, 1), (1, 3), (2,)]:  # the first two would be broadcast
        with pytest.raises(ValueError, match=r"must be \[N, boxes, 4\] and \[N, boxes"):
            data.box_masks(boxes, np.ones(shape, bool), shape=(4, 4))


def test_signs_and_void_are_not_resized_as_if_they_were_inside():
    for value in (-1.0, np.nan):
        mask = np.zeros((4, 4))
        mask[1, 1] = value
        with pytest.raises(ValueError, match=r"at least 0; `data.resize` keeps signs"):
            data.resize_mask(mask, shape=(2, 2))


@pytest.mark.parametrize("value", [255, -1, np.nan, 1.5])
def test_the_annotator_refuses_masks_whose_truth_no_metric_reads(value):
    with pytest.raises(ValueError, match=r"`masks` must lie in \[0, 1\].*labels"):
        data.corrupt_masks(np.random.default_rng(0), np.full((1, 4, 4), value))
    with pytest.raises(ValueError, match=r"\(4, 4\) must be \[N, H, W\]"):
        data.corrupt_masks(np.random.default_rng(0), np.ones((4, 4)))


@pytest.mark.parametrize("fraction", [np.nan, np.inf])
def test_a_margin_that_is_no_number_is_refused(fraction):
    with pytest.raises(ValueError, match=r"`fraction` .* must be at least 0"):
        data.dilate_boxes(np.zeros((1, 4)), fraction=fraction, shape=(9, 9))
