"""VOC's XML by hand, and a real set of it."""

import json
import os
import pathlib

import numpy as np
import pytest

from xguide_jax import data

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def _object(name, box):
    sides = "".join(f"<{s}>{v}</{s}>" for s, v in zip(_SIDES, box, strict=True))
    return f"<object><name>{name}</name><bndbox>{sides}</bndbox></object>"


def _xml(*objects, filename="a.png", size=(12, 16)):
    height, width = size
    sides = f"<size><width>{width}</width><height>{height}</height></size>"
    name = f"<filename>{filename}</filename>"
    return f"<annotation>{name}{sides}{''.join(objects)}</annotation>"


@pytest.fixture
def write(tmp_path):
    folder = tmp_path / "xml"
    folder.mkdir()

    def writer(content, name="a.xml"):
        (folder / name).write_text(content, encoding="utf-8")
        return folder

    return writer


def test_boxes_count_from_one_and_hold_their_last_pixel(write, images, photograph):
    photograph("a.png")
    folder = write(_xml(_object("dog", (1, 1, 16, 12)), _object("cat", (3, 2, 3, 4))))
    found = data.read_voc(folder, images)
    assert found.class_names == ("cat", "dog")
    assert found.problems == ()
    (image,) = found.images
    assert image.label == -1
    assert [one.label for one in image.objects] == [1, 0]
    assert [one.box.tolist() for one in image.objects] == [[0, 0, 16, 12], [2, 1, 3, 4]]
    zero = data.read_voc(folder, images, first=0, inclusive=False)
    # The box of no width is none now.
    assert [one.box.tolist() for one in zero.images[0].objects] == [[1, 1, 16, 12]]
    assert "must have an area" in zero.problems[0].what


def test_a_box_at_pixel_zero_is_no_box_from_one(write, images, photograph):
    photograph("a.png")
    folder = write(_xml(_object("dog", (0, 3, 4, 5))))
    with pytest.raises(ValueError, match=r"a.xml, object\[0\]: .* `first=0`"):
        data.read_voc(folder, images)
    assert data.read_voc(folder, images, first=0).images[0].label == 0


def test_a_wrong_file_name_falls_back_to_that_of_the_xml(write, images, photograph):
    path = photograph("a.png")
    write(_xml(_object("dog", (1, 1, 2, 2)), filename="other.jpg"))
    folder = write(_xml(filename="gone.jpg"), "gone.xml")
    found = data.read_voc(folder, images)
    assert [image.path for image in found.images] == [path]
    assert found.problems[0][:2] == ("gone.xml", "filename")
    assert "no image 'gone.jpg'" in found.problems[0].what


def test_labels_are_those_of_the_classes_one_names(write, images, photograph):
    photograph("a.png")
    folder = write(_xml(_object("dog", (1, 1, 2, 2)), _object("cow", (1, 1, 2, 2))))
    found = data.read_voc(folder, images, class_names=("cat", "dog"))
    assert [one.label for one in found.images[0].objects] == [1]
    assert found.problems[0][:2] == ("a.xml", "object[1]")
    assert "its class 'cow' is none of the 2 known" in found.problems[0].what
    with pytest.raises(ValueError, match="must name each class once"):
        data.read_voc(folder, images, class_names=("cat", "cat"))


@pytest.mark.parametrize(
    ("box", "what"),
    [
        ((-3, 1, 2, 2), "begin at pixel 1"),
        ((5, 1, 2, 2), "inverted"),
        ((17, 1, 20, 2), "lies outside"),
    ],
)
def test_an_object_that_does_not_fit_is_left_out(write, images, photograph, box, what):
    photograph("a.png")
    found = data.read_voc(write(_xml(_object("dog", box))), images)
    assert found.images[0].objects == ()
    assert what in found.problems[0].what


def test_an_object_without_a_box_is_a_problem(write, images, photograph):
    photograph("a.png")
    folder = write(_xml("<object><name>dog</name></object>"))
    found = data.read_voc(folder, images)
    assert found.problems == (("a.xml", "object[0]", "it has no 'bndbox'"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation><object></annotation>", "a.xml must be XML .*line 1"),
        ("<annotations/>", "a.xml: <annotations> must be VOC's <annotation>"),
        (_xml("<object/>"), r"a.xml, object\[0\]: 'name' must be there"),
        (_xml(_object("a", (1, 2, "x", 4))), "'xmax' .='x'. must be a number"),
        (_xml(size=("nan", 3)), "a.xml, size: 'height' .='nan'. must be a number"),
        (
            '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>',
            "a.xml must be XML without a DTD",
        ),
    ],
)
def test_a_file_of_another_form_is_refused(write, images, content, message):
    with pytest.raises(ValueError, match=message):
        data.read_voc(write(content), images)


@pytest.mark.skipif("XGUIDE_DATA" not in os.environ, reason="needs XGUIDE_DATA")
def test_a_real_set_is_read_whole_from_what_each_tool_would_write(tmp_path):
    """364 micrographs of blood cells, whose boxes are written as XML and read back."""
    root = pathlib.Path(os.environ["XGUIDE_DATA"]) / "bccd"
    listed = json.loads((root / "annotations.json").read_text())
    for one in listed:
        objects = []
        for each in one["objects"]:
            x0, y0, x1, y1 = each["box"]
            objects.append(_object(each["name"], (x0 + 1, y0 + 1, x1, y1)))
        name = pathlib.Path(one["file"])
        content = _xml(*objects, filename=name.name, size=(one["height"], one["width"]))
        (tmp_path / f"{name.stem}.xml").write_text(content)
    found = data.read_voc(tmp_path, root / "images")
    assert found.class_names == ("Platelets", "RBC", "WBC")
    assert found.problems == ()
    assert found.num_clipped == 0
    assert len(found.images) == 364
    labels = [one.label for image in found.images for one in image.objects]
    assert np.bincount(labels).tolist() == [361, 4153, 372]
    by_name = {image.name: image for image in found.images}
    for one in listed:
        image = by_name[pathlib.Path(one["file"]).name]
        boxes = [each["box"] for each in one["objects"]]
        assert [each.box.tolist() for each in image.objects] == boxes
        # The platelets, pixel by pixel.
        expected = np.zeros(image.size, bool)
        for each in one["objects"]:
            if each["name"] == "Platelets":
                x0, y0, x1, y1 = each["box"]
                expected[y0:y1, x0:x1] = True
        np.testing.assert_array_equal(data.region_of(image, 0), expected)
