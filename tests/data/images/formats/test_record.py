"""One image and what is drawn on it: classes, regions and masks, by hand."""

import numpy as np
import PIL.Image
import pytest

from xguide_jax import data

_SIZE = (3, 4)
_BOX = np.array([1, 0, 3, 2], np.float32)  # columns 1, 2 of rows 0, 1
_CORNER = (np.array([(0, 2), (2, 2), (2, 3), (0, 3)], float),)  # row 2, columns 0, 1


def _annotated(*objects, **changes):
    annotated = data.Annotated("a.png", None, -1, _SIZE, objects)
    return annotated._replace(**changes)


def test_the_region_of_a_class_is_all_of_its_objects_and_no_other():
    image = _annotated(
        data.Object(2, _BOX),
        data.Object(0, None, _CORNER),
        data.Object(2, None, _CORNER),
    )
    assert data.classes_of(image) == (0, 2)
    two = [[0, 1, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0]]
    assert data.region_of(image, 2).astype(int).tolist() == two
    zero = [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]]
    assert data.region_of(image, 0).astype(int).tolist() == zero
    assert not data.region_of(image, 1).any()
    assert data.region_of(image, 1).dtype == bool


def test_void_is_no_class_and_no_region():
    image = _annotated(void=(data.Object(0, _BOX),))
    assert data.classes_of(image) == ()
    assert not data.region_of(image, 0).any()


def test_an_outline_is_finer_than_a_box():
    one = data.Object(0, _BOX, _CORNER)
    assert data.object_mask(one, _SIZE).sum() == 2
    rle = {"size": [3, 4], "counts": [4, 2, 6]}  # column 1, rows 1 and 2
    mask = data.object_mask(one._replace(outline=rle), _SIZE)
    assert np.argwhere(mask).tolist() == [[1, 1], [2, 1]]


def test_pixels_of_a_mask_file_are_read_when_they_are_asked_for(tmp_path):
    outline = data.MaskPixels(tmp_path / "m.png", (3, 5))
    one = data.Object(0, None, outline)
    values = np.array([[0, 3, 255, 5], [1, 1, 1, 1], [0, 0, 0, 3]], np.uint8)
    PIL.Image.fromarray(values).save(outline.path)
    mask = data.object_mask(one, _SIZE)
    assert np.argwhere(mask).tolist() == [[0, 1], [0, 3], [2, 3]]
    with pytest.raises(ValueError, match=r"m.png \(3, 4\) must have .* \(4, 3\)"):
        data.object_mask(one, (4, 3))


def test_what_has_no_mask_is_refused():
    with pytest.raises(ValueError, match="must have a box or an outline"):
        data.object_mask(data.Object(0, None), _SIZE)
    with pytest.raises(ValueError, match=r"\(a.png\) must have a size"):
        data.region_of(_annotated(size=None), 0)
