"""Holes, stroke width, extent and place of shapes that are drawn by hand."""

import numpy as np
import pytest

from xguide_jax import data


def _mask(*rows):
    return np.array([[letter == "#" for letter in row] for row in rows])


_RING = _mask(
    ".......",
    ".####..",
    ".#..#..",
    ".####..",
    ".......",
)
# Its parts touch at corners alone.
_DIAMOND = _mask(
    "...#...",
    "..#.#..",
    ".#...#.",
    "..#.#..",
    "...#...",
)
# One hole of one pixel, one of two; what is open at the border is no hole.
_EIGHT = _mask(
    "####...",
    "#.##.#.",
    "#####.#",
    "#..#..#",
    "####..#",
)
_NOTHING = np.zeros((5, 7), bool)
_ALL = np.ones((5, 7), bool)
_MASKS = np.stack([_RING, _DIAMOND, _EIGHT, _NOTHING, _ALL])


def test_holes_are_what_a_shape_closes_in():
    assert data.count_holes(_MASKS).tolist() == [1, 1, 2, 0, 0]
    assert data.count_holes(_MASKS).dtype == np.int32
    assert data.count_holes(_MASKS, min_area=2).tolist() == [1, 1, 1, 0, 0]
    assert data.count_holes(_MASKS, min_area=6).tolist() == [0, 0, 0, 0, 0]
    # Larger than all that lies around, too.
    assert data.count_holes(_MASKS, min_area=999).tolist() == [0, 0, 0, 0, 0]


def test_the_background_around_a_shape_is_no_hole_however_small():
    # All but one corner: the frame around the image belongs to that pixel.
    corner = _ALL.copy()
    corner[0, 0] = False
    centre = _ALL.copy()
    centre[2, 3] = False
    assert data.count_holes(np.stack([corner, centre])).tolist() == [0, 1]


def test_stroke_width_is_twice_the_area_over_the_perimeter():
    found = data.stroke_width(_MASKS)
    # Ring: 10 pixels; sides 14 outside, 6 inside. Diamond: 8 pixels, no side shared.
    np.testing.assert_allclose(found[:2], [2 * 10 / 20, 2 * 8 / 32])
    # All: 35 pixels, 24 sides at the border of the image.
    np.testing.assert_allclose(found[4], 70 / 24, rtol=1e-6)
    assert np.isnan(found[3])
    assert found.dtype == np.float32


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_a_long_straight_stroke_is_as_wide_as_it_is(width):
    mask = np.zeros((2, 400, 400), bool)
    mask[0, 10:390, 20 : 20 + width] = True
    mask[1, 20 : 20 + width, 10:390] = True
    # w l / (w + l)
    expected = width * 380 / (width + 380)
    np.testing.assert_allclose(data.stroke_width(mask), expected, rtol=1e-6)


def test_extent_is_the_height_and_width_of_the_smallest_box():
    found = data.extent(_MASKS)
    assert found.tolist() == [[3, 4], [5, 5], [5, 7], [0, 0], [5, 7]]
    assert found.dtype == np.int32


def test_the_third_is_that_of_the_middle_of_the_pixels():
    masks = np.zeros((4, 9, 6), bool)
    masks[0, 0, 0] = True  # middle (0.5, 0.5)
    masks[1, 3, 4] = True  # (3.5, 4.5): thirds end at 3, 6 and at 2, 4
    masks[2, 8, 1:4] = True  # (8.5, 2.5)
    found = data.position_thirds(masks)
    assert found.tolist() == [[0, 0], [1, 2], [2, 1], [-1, -1]]
    assert found.dtype == np.int32
    # Two far parts have their middle between them.
    masks[3, [0, 8], [0, 5]] = True
    assert data.position_thirds(masks)[3].tolist() == [1, 1]


def test_a_pixel_has_its_middle_at_a_half():
    masks = np.eye(10, dtype=bool)[:, :, None]
    # Middles 2.5 and 3.5, 6.5 and 7.5; the thirds end at 10 / 3 and 20 / 3.
    rows = data.position_thirds(masks)[:, 0].tolist()
    assert rows == [0] * 3 + [1] * 4 + [2] * 3


def test_a_margin_leaves_thirds_of_what_is_between():
    masks = np.zeros((12, 12, 12), bool)
    masks[np.arange(12), np.arange(12), 0] = True
    # Between 3 and 9 the thirds end at 5 and 7.
    rows = data.position_thirds(masks, margin=3)[:, 0].tolist()
    assert rows == [0] * 5 + [1] * 2 + [2] * 5
    assert np.all(data.position_thirds(masks, margin=3)[:, 1] == 0)


@pytest.mark.parametrize(
    "measure",
    [data.count_holes, data.stroke_width, data.extent, data.position_thirds],
)
def test_what_is_no_mask_is_refused(measure):
    for masks in (np.zeros((2, 3, 3)), np.zeros((3, 3), bool)):
        with pytest.raises(ValueError, match=r"`masks` .* must be bool \[N, H, W\]"):
            measure(masks)


def test_impossible_choices_are_refused():
    with pytest.raises(ValueError, match=r"`min_area` .=0. must be at least 1"):
        data.count_holes(_MASKS, min_area=0)
    for margin in (-1, 3):
        with pytest.raises(ValueError, match=r"`margin` .=-?\d. must be at least 0"):
            data.position_thirds(_MASKS, margin=margin)
