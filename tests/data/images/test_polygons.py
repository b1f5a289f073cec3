"""Outlines as masks: pixel centres inside, whichever way round they are drawn."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from xguide_jax import data

_COORDINATE = st.integers(-8, 40).map(lambda n: n / 2)
# None in columns 0 and 1: small outlines in the corner are taken for fractions.
_CORNER = st.tuples(st.integers(4, 40).map(lambda n: n / 2), _COORDINATE)


def _mask(*polygons, shape=(12, 16)):
    return data.mask_from_polygons(polygons, shape=shape)


def test_a_rectangle_by_hand():
    box = [(1, 0), (3, 0), (3, 3), (1, 3)]
    expected = [[0, 1, 1, 0]] * 3
    assert _mask(box, shape=(3, 4)).astype(int).tolist() == expected
    # Flat, as COCO has it, and beyond the image.
    flat = [1, -5, 3, -5, 3, 9, 1, 9]
    assert _mask(flat, shape=(3, 4)).astype(int).tolist() == expected


def test_a_triangle_by_hand():
    # The centres (1/2, 1/2), (1 1/2, 1/2) ... lie below x + y = 4 or on it; on the
    # slanted border, which is a right one, they do not count.
    expected = [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    mask = _mask([(0, 0), (4, 0), (0, 4)], shape=(4, 4))
    assert mask.astype(int).tolist() == expected


def test_left_and_upper_borders_count_and_right_and_lower_ones_do_not():
    mask = _mask([(1.5, 0.5), (3.5, 0.5), (3.5, 2.5), (1.5, 2.5)], shape=(4, 5))
    assert np.argwhere(mask).tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]


def test_an_outline_around_a_place_twice_leaves_it_out_and_two_outlines_do_not():
    outer, inner = [(0, 0), (6, 0), (6, 6), (0, 6)], [(2, 2), (4, 2), (4, 4), (2, 4)]
    assert _mask(outer, inner, shape=(6, 6)).sum() == 36
    # One line that goes round both the same way.
    both = [*outer, outer[0], *inner, inner[0]]
    assert _mask(both, shape=(6, 6)).sum() == 32
    assert not _mask(shape=(6, 6)).any()


@hypothesis.given(
    corners=st.lists(_CORNER, min_size=3, max_size=8), turn=st.integers(0, 7)
)
def test_neither_the_first_corner_nor_the_direction_matters(corners, turn):
    turn %= len(corners)
    turned = corners[turn:] + corners[:turn]
    expected = _mask(corners)
    np.testing.assert_array_equal(_mask(turned), expected)
    np.testing.assert_array_equal(_mask(corners[::-1]), expected)


@hypothesis.given(corners=st.tuples(*[_CORNER] * 4), dx=st.integers(-3, 3))
def test_whole_pixels_move_the_mask(corners, dx):
    moved = [(x + dx, y) for x, y in corners]
    wide = (12, 30)
    shifted = np.roll(_mask([(x + 5, y) for x, y in corners], shape=wide), dx, axis=1)
    again = _mask([(x + 5, y) for x, y in moved], shape=wide)
    np.testing.assert_array_equal(again[:, 3:-3], shifted[:, 3:-3])


@hypothesis.given(corners=st.tuples(*[_CORNER] * 3), share=st.floats(0.1, 0.9))
def test_two_halves_share_no_pixel_and_leave_none_out(corners, share):
    # Cut a triangle from a corner to a point of the opposite side.
    a, b, c = np.array(corners)
    cut = np.round((b + share * (c - b)) * 4) / 4
    # The cut may miss the side by rounding: then the parts are a quadrangle's.
    whole, halves = _mask([a, b, cut, c]), [_mask([a, b, cut]), _mask([a, cut, c])]
    np.testing.assert_array_equal(whole, halves[0] ^ halves[1])


@hypothesis.given(
    angles=st.lists(st.floats(0, 6.28), min_size=3, max_size=9, unique=True),
    radius=st.floats(5, 40),
)
def test_a_convex_outline_holds_as_many_pixels_as_its_area(angles, radius):
    angles = np.sort(angles)
    corners = np.stack([50 + radius * np.cos(angles), 50 + radius * np.sin(angles)], -1)
    x, y = corners.T
    area = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
    border = np.sum(np.hypot(*(np.roll(corners, -1, axis=0) - corners).T))
    # Only pixels within half a diagonal of the border may be counted wrongly.
    count = _mask(corners, shape=(100, 100)).sum()
    assert abs(count - area) <= border * np.sqrt(0.5) + 2
    if radius > 20 and len(angles) > 6 and area > 0.5 * np.pi * radius**2:
        assert abs(count / area - 1) < 0.05


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        ([1, 0, 3, 0], r"\[0\] must be at least three corners .*, not \(4,\)"),
        ([1, 0, 3, 0, 3, 3, 1], r"not \(7,\)"),
        ([(1, 0, 2)] * 3, r"not \(3, 3\)"),
        ([(1, 0), (np.nan, 2), (3, 3)], "and finite"),
        ([(1, 0), (2,), (3, 3)], "inhomogeneous"),
        ("1,0 2,2 3,3", "could not convert"),
        ([(0.1, 0.1), (0.9, 0.1), (0.5, 0.8)], "look like fractions of the image"),
    ],
)
def test_what_is_no_outline_in_pixels_is_refused(polygon, message):
    with pytest.raises(ValueError, match=message):
        _mask(polygon)


def test_an_outline_of_one_pixel_is_no_fraction():
    assert _mask([(0, 0), (1, 0), (1, 1), (0, 1)]).sum() == 1


def _labelme(**changes):
    shapes = [
        {"label": "cat", "points": [[1, 0], [3, 0], [3, 3], [1, 3]],
         "shape_type": "polygon"},
        {"label": "dog", "points": [[4, 2], [3, 0]], "shape_type": "rectangle"},
        {"label": "nose", "points": [[1, 1]], "shape_type": "point"},
    ]  # fmt: skip
    return {"imageHeight": 3, "imageWidth": 4, "shapes": shapes} | changes


def test_labelme_shapes_are_read_by_their_labels():
    cat = data.mask_from_labelme(_labelme(), labels=["cat"])
    assert cat.astype(int).tolist() == [[0, 1, 1, 0]] * 3
    both = data.mask_from_labelme(_labelme(), labels=["dog", "cat"])
    assert both.astype(int).tolist() == [[0, 1, 1, 1]] * 2 + [[0, 1, 1, 0]]
    assert not data.mask_from_labelme(_labelme(), labels=[]).any()


def test_labelme_points_and_records_of_another_form_are_refused():
    with pytest.raises(ValueError, match="a shape of the type 'point' is no polygon"):
        data.mask_from_labelme(_labelme())
    with pytest.raises(ValueError, match=r"must have 'imageHeight'.*KeyError"):
        data.mask_from_labelme({"shapes": []})
    with pytest.raises(ValueError, match=r"must have 'imageHeight'.*TypeError"):
        data.mask_from_labelme(_labelme(imageHeight=None))


def test_cvat_outlines_are_text():
    corners = data.polygon_from_cvat("1,0;3.0,0;3,3;1,3")
    assert _mask(corners, shape=(3, 4)).astype(int).tolist() == [[0, 1, 1, 0]] * 3
    for text in ("1,0;3,0", "1;2;3", "", "a,b;c,d;e,f"):
        with pytest.raises(ValueError, match=r"`points` .* must be 'x,y;x,y;x,y'"):
            data.polygon_from_cvat(text)
