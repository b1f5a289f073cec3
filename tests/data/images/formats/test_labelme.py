"""LabelMe's json by hand."""

import json
import unicodedata

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


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("../images/a.png", "a.png"),
        ("..\\images\\a.png", "a.png"),  # as Windows writes it
        ("./../images/deep/../a.png", "a.png"),
        ("../images/deep/b.png", "deep/b.png"),
        ("../images/gone.png", "a.png"),  # named after the file
    ],
)
def test_a_path_may_start_from_the_folder_of_its_json(read, photograph, path, name):
    photograph("deep/b.png")
    (image,) = read(_TRIANGLE, imagePath=path).images
    assert image.name == name


def test_a_path_into_a_folder_that_is_linked_or_composed_otherwise(
    tmp_path, photograph
):
    photograph("a.png")
    photograph("Käfer/b.png")
    (tmp_path / "linked").symlink_to(tmp_path / "images")
    (tmp_path / "json").mkdir()
    names = (
        "../linked/a.png",
        f"../images/{unicodedata.normalize('NFD', 'Käfer')}/b.png",
    )
    for number, name in enumerate(names):
        content = {"imagePath": name, "shapes": [_TRIANGLE]}
        (tmp_path / "json" / f"{number}.json").write_text(json.dumps(content))
    found = data.read_labelme(tmp_path / "json", tmp_path / "linked")
    assert [image.name for image in found.images] == ["a.png", "Käfer/b.png"]


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("../a.png", "lead into the folder of images"),
        ("..\\a.png", "lead into the folder of images"),
        ("../images/../a.png", "lead into the folder of images"),
        ("../images2/a.png", "lead into the folder of images"),
        ("deep/../a.png", "lead into the folder of images"),  # beside the json
        ("../images/outside/a.png", "lead into the folder of images"),
        ("../images/outside/../a.png", "lead into the folder of images"),
        ("../images/..", "lead into the folder of images"),
        ("..", "lead into the folder of images"),
        ("/a.png", "be relative"),
        ("C:\\a.png", "be relative"),
        ("C:../images/a.png", "be relative"),
        ("\\\\host\\images\\a.png", "be relative"),
        ("../images/a.png\0", "be relative"),
    ],
)
def test_a_path_that_leads_out_is_refused(read, tmp_path, images, path, rule):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (images / "outside").symlink_to(tmp_path / "far" / "away")
    for folder in ("far/away", "far", "json", "."):
        (tmp_path / folder / "a.png").write_bytes((images / "a.png").read_bytes())
    found = read(_TRIANGLE, imagePath=path)
    assert found.images == ()
    assert found.problems == (
        ("a.json", "imagePath", f"the path {path!r} must {rule}"),
    )


def test_an_absolute_path_is_refused_even_into_the_folder(read, images):
    found = read(_TRIANGLE, imagePath=str(images / "a.png"))
    assert found.images == ()
    assert found.problems[0].what.endswith("must be relative")


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
