"""LabelMe's json by hand."""

import json

import numpy as np
import pytest

from xguide_jax import data

_TRIANGLE = {"label": "cat", "points": [[0, 0], [4, 0], [0, 4]]}
_RECTANGLE = {
    "label": "dog", "points": [[7.5, 3], [5, 1]], "shape_type": "rectangle",
}  # fmt: skip


@pytest.fixture
def read(tmp_path, images, photograph):
    folder = tmp_path / "json"
    folder.mkdir()
    photograph("a.png")

    def reader(*shapes, **changes):
        content = {"imagePath": "a.png", "imageHeight": 12, "imageWidth": 16}
        content |= {"shapes": list(shapes), "imageData": None} | changes
        (folder / "a.json").write_text(json.dumps(content), encoding="utf-8")
        return data.read_labelme(folder, images)

    return reader


def test_an_outline_and_a_rectangle(read):
    found = read(_TRIANGLE, _RECTANGLE)
    assert found.class_names == ("cat", "dog")
    assert found.problems == ()
    (image,) = found.images
    assert image.objects[0].box is None
    assert image.objects[1].box.tolist() == [5, 1, 7.5, 3]
    assert data.region_of(image, 0)[:4, :4].astype(int).tolist() == [
        [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0],
    ]  # fmt: skip
    expected = np.zeros((12, 16), bool)
    expected[1:3, 5:7] = True  # the centre 7 1/2 is on a right border
    np.testing.assert_array_equal(data.region_of(image, 1), expected)


def test_the_mask_is_that_of_the_function_for_one_record(read):
    record = {"imageHeight": 12, "imageWidth": 16, "shapes": [_TRIANGLE, _RECTANGLE]}
    (image,) = read(*record["shapes"]).images
    both = data.region_of(image, 0) | data.region_of(image, 1)
    np.testing.assert_array_equal(both, data.mask_from_labelme(record))


def test_the_image_may_be_named_after_the_file(read):
    assert len(read(_TRIANGLE, imagePath="img_0001.jpg").images) == 1
    assert len(read(_TRIANGLE, imagePath=None).images) == 1


@pytest.mark.parametrize("path", ["../a.png", "..\\a.png", "/a.png", "C:\\a.png"])
def test_a_path_that_leads_out_is_refused(read, path):
    found = read(_TRIANGLE, imagePath=path)
    assert found.images == ()
    assert "must be relative and without '..'" in found.problems[0].what


@pytest.mark.parametrize("kind", ["point", "circle", "line", "mask"])
def test_a_shape_without_an_inside_is_a_problem(read, kind):
    found = read({**_TRIANGLE, "shape_type": kind, "points": [[1, 1]]}, _RECTANGLE)
    assert len(found.images[0].objects) == 1
    assert found.problems[0][:2] == ("a.json", "shapes[0]")
    assert f"a {kind} of 1 points" in found.problems[0].what


@pytest.mark.parametrize(
    ("shapes", "changes", "message"),
    [
        ([], {"shapes": None}, "a.json: 'shapes' must be a list"),
        ([{"points": []}], {}, r"shapes\[0\] must have 'label'"),
        ([{**_TRIANGLE, "points": [[1]]}], {}, "'points' must be a list of pairs"),
        ([{**_TRIANGLE, "points": [[1, "x"]]}], {}, "'points' .='x'. must be a number"),
        ([], {"imagePath": 3}, "'imagePath' must be text"),
        ([], {"imageHeight": None}, "'height' .='None'. must be a number"),
    ],
)
def test_a_file_of_another_form_is_refused(read, shapes, changes, message):
    with pytest.raises(ValueError, match=message):
        read(*shapes, **changes)
