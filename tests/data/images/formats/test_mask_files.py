"""Masks in files, by hand."""

import numpy as np
import PIL.Image
import pytest

from xguide_jax import data

_NAMES = {1: "dog", 2: "cat", 3: "dog"}
_VALUES = [[0, 1, 3, 2], [255, 255, 0, 0]]


@pytest.fixture
def write(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()

    def writer(values, name="a.png", *, palette=True):
        picture = PIL.Image.fromarray(np.array(values, np.uint8))
        if palette:  # all colours alike: only the numbers tell
            picture.putpalette([7] * 768)
            assert picture.mode == "P"
        picture.save(folder / name)
        return folder

    return writer


@pytest.mark.parametrize("palette", [True, False])
def test_values_are_classes_and_void(write, images, photograph, palette):
    photograph("a.jpg", (2, 4))
    folder = write(_VALUES, palette=palette)
    found = data.read_mask_files(folder, images, class_of_value=_NAMES, void=255)
    assert found.class_names == ("dog", "cat")
    assert found.problems == ()
    (image,) = found.images
    assert image.label == -1
    assert data.classes_of(image) == (0, 1)
    region = [data.region_of(image, label).astype(int).tolist() for label in (0, 1)]
    assert region == [[[0, 1, 1, 0], [0] * 4], [[0, 0, 0, 1], [0] * 4]]
    (void,) = image.void
    expected = [[False] * 4, [True, True, False, False]]
    assert data.object_mask(void, (2, 4)).tolist() == expected


def test_a_value_without_a_class_is_a_problem_and_a_mask_may_be_empty(
    write, images, photograph
):
    photograph("a.jpg", (2, 4))
    photograph("b.jpg", (2, 4))
    write(np.zeros((2, 4)), "b.png")
    folder = write(_VALUES)
    found = data.read_mask_files(folder, images, class_of_value={2: "cat"})
    assert [(i.name, i.label) for i in found.images] == [("a.jpg", 0), ("b.jpg", -1)]
    places = [problem[:2] for problem in found.problems]
    assert places == [("a.png", f"value {value}") for value in (1, 3, 255)]


def test_a_mask_of_another_size_than_its_image_is_refused(write, images, photograph):
    photograph("a.jpg", (4, 4))
    found = data.read_mask_files(write(_VALUES), images, class_of_value=_NAMES)
    assert found.images == ()
    assert "size (2, 4) must be that of its image" in found.problems[-1].what


def test_colours_and_values_that_are_both_are_refused(tmp_path, images):
    PIL.Image.new("RGB", (4, 2)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a.png .mode RGB. must be a mask"):
        data.read_mask_files(tmp_path, images, class_of_value=_NAMES)
    for classes, void in (({}, ()), (_NAMES, (2, 255))):
        with pytest.raises(ValueError, match=r"`class_of_value` .* must name a class"):
            data.read_mask_files(tmp_path, images, class_of_value=classes, void=void)
