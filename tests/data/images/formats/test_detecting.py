"""Which format a file or folder has, by what is in it."""

import json
import shutil

import numpy as np
import PIL.Image
import pytest

from xguide_jax import data

_COCO = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 1]}],
    "categories": [{"id": 1, "name": "dog"}],
}
_LABELME = {
    "imagePath": "a.png",
    "imageHeight": 12,
    "imageWidth": 16,
    "shapes": [
        {"label": "dog", "shape_type": "rectangle", "points": [[0, 0], [2, 1]]},
    ],
}
_VOC = (
    "<annotation><filename>a.png</filename><object><name>dog</name><bndbox><xmin>1"
    "</xmin><ymin>1</ymin><xmax>2</xmax><ymax>1</ymax></bndbox></object></annotation>"
)
_CVAT = (
    '<annotations><image name="a.png">'
    '<box label="dog" xtl="0" ytl="0" xbr="2" ybr="1"/></image></annotations>'
)
_FILES = {
    "x.json": json.dumps(_COCO),
    "y.json": json.dumps(_LABELME),
    "v.xml": _VOC,
    "w.xml": _CVAT,
    "t.csv": "image,label,x0,y0,x1,y1\na.png,dog,0,0,2,1\n",
}
_YOLO = {"a.txt": "0 0.0625 0.0416666 0.125 0.0833333\n", "classes.txt": "dog\n"}


@pytest.fixture
def folder(tmp_path, photograph):
    photograph("a.png")
    (tmp_path / "annotations").mkdir()
    return tmp_path / "annotations"


def _check(found):
    assert found.class_names == ("dog",)
    assert found.problems == ()
    (image,) = found.images
    assert image.label == 0
    assert np.argwhere(data.region_of(image, 0)).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("name", _FILES)
def test_a_file_and_a_folder_are_read_as_what_they_are(folder, images, name):
    (folder / name).write_text(_FILES[name])
    (folder / "README.txt").write_text("where this is from\n")
    (folder / "notes.csv").write_text("author\nsomebody\n")
    _check(data.read_annotations(folder / name, images))
    _check(data.read_annotations(folder, images))
    shutil.copy(images / "a.png", folder)  # the images beside them
    _check(data.read_annotations(folder))
    _check(data.read_annotations(folder / name))


def test_text_of_yolo_is_read_with_its_names(folder, images):
    for name, content in _YOLO.items():
        (folder / name).write_text(content)
    _check(data.read_annotations(folder, images))


def test_folders_of_images_alone_are_classes(images, photograph):
    photograph("dog/b.png")
    (images / "a.png").unlink(missing_ok=True)
    found = data.read_annotations(images)
    assert (found.class_names, found.images[0].label) == (("dog",), 0)


def test_several_formats_or_files_are_named(folder, images):
    for name, content in _FILES.items():
        (folder / name).write_text(content)
    with pytest.raises(ValueError, match=r"not of several: .*COCO.*\['x.json'\]"):
        data.read_annotations(folder, images)
    for name in ("y.json", "v.xml", "w.xml", "t.csv"):
        (folder / name).unlink()
    (folder / "z.json").write_text(_FILES["x.json"])
    with pytest.raises(ValueError, match=r"several files of COCO, \['x.json', 'z.js"):
        data.read_annotations(folder, images)


def test_what_fits_no_format_is_said(folder, images, tmp_path):
    (folder / "numbers.txt").write_text("0.5 0.5 0.5 1 1\n")  # of no class
    with pytest.raises(ValueError, match=r"formats \['VOC', .*'class folders'\]; none"):
        data.read_annotations(folder, images)
    (folder / "a.json").write_text("{}")
    with pytest.raises(ValueError, match="none fits"):
        data.read_annotations(folder / "a.json", images)
    (folder / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a.json must be json"):
        data.read_annotations(folder / "a.json", images)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        data.read_annotations(tmp_path / "nowhere", images)


def test_masks_have_to_be_told(folder, images):
    PIL.Image.new("L", (16, 12)).save(folder / "a.png")
    with pytest.raises(ValueError, match="holds masks; `read_mask_files` has to be"):
        data.read_annotations(folder, images)
