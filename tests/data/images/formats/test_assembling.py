"""Annotated images as arrays: classes, boxes stretched with their image, padding."""

import numpy as np
import pytest

from xguide_jax import data


def _image(*objects, size=(4, 8)):
    return data.Annotated("a.png", None, -1, size, tuple(objects))


def _box(label, *sides):
    return data.Object(label, np.array(sides, np.float32))


def test_each_class_that_is_drawn_is_positive_and_has_its_boxes():
    images = [
        _image(_box(2, 0, 0, 4, 2), _box(0, 4, 2, 8, 4), _box(2, 2, 0, 3, 4)),
        _image(),
        _image(_box(1, 0, 0, 2, 1), size=(2, 2)),
    ]
    labels, known = data.class_boxes(images, num_classes=3, shape=(2, 2))
    assert labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert known["boxes_valid"].sum(axis=1).tolist() == [3, 0, 1]
    assert known["boxes_class"][0].tolist() == [2, 0, 2]
    # Of 4x8 pixels a cell is 2x4: the third box touches the left column alone.
    assert known["boxes"][0].tolist() == [[0, 0, 1, 1], [1, 1, 2, 2], [0, 0, 1, 2]]
    assert known["boxes"][2, 0].tolist() == [0, 0, 2, 1]
    assert not known["boxes"][1].any()


def test_the_region_is_that_of_the_class():
    images = [
        _image(_box(1, 0, 0, 4, 2), _box(0, 4, 0, 8, 4))._replace(label=1),
        _image()._replace(label=0),
    ]
    labels, known = data.class_regions(images, shape=(2, 4))
    assert labels.tolist() == [1, 0]
    assert labels.dtype == np.int32
    assert known["region"][0].astype(int).tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]
    assert known["region_valid"].tolist() == [True, False]
    with pytest.raises(ValueError, match=r"a.png must have a label: .* \[0\]"):
        data.class_regions([_image(_box(0, 0, 0, 1, 1))], shape=(2, 2))


def test_an_outline_without_a_box_has_the_smallest_around_it():
    triangle = np.array([[2.0, 1.0], [6.0, 1.0], [2.0, 3.0]])
    images = [_image(data.Object(0, None, (triangle,)))]
    _, known = data.class_boxes(images, num_classes=1, shape=(4, 8))
    region = data.region_of(images[0], 0)
    rows, columns = np.nonzero(region)
    assert known["boxes"][0, 0].tolist() == [
        columns.min(), rows.min(), columns.max() + 1, rows.max() + 1,
    ]  # fmt: skip


def test_targets_are_drawn_among_the_classes():
    images = [_image(_box(0, 0, 0, 4, 4), _box(1, 4, 0, 8, 4))] * 2
    labels, known = data.class_boxes(images, num_classes=2, shape=(4, 8))
    dataset = data.Dataset(np.zeros((2, 4, 8, 3)), labels, ("cat", "dog"), known)
    seen = set()
    for step in range(20):
        batch = data.make_batch(dataset, np.arange(2), seed=0, step=step)
        batch = data.choose_targets(batch, np.arange(2), seed=0, step=step)
        seen |= set(batch["targets"].tolist())
    assert seen == {0, 1}


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"a.png has .* \[3\], .* lie in 0 .. 1"):
        data.class_boxes([_image(_box(3, 0, 0, 1, 1))], num_classes=2, shape=(2, 2))
    with pytest.raises(ValueError, match=r"a.png must have a size"):
        data.class_boxes(
            [_image(_box(0, 0, 0, 1, 1), size=None)], num_classes=1, shape=(2, 2)
        )
