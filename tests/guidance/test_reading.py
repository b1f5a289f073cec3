"""What terms read of a batch: the annotation, and who carries one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax.guidance import reading

INPUTS = jnp.zeros((3, 2, 4, 1))
REGION = jnp.array([[[1, 0, 0, 0], [0, 0, 0, 0]], [[0] * 4] * 2, [[1] * 4] * 2])
BOXES = jnp.array(
    [[[0, 0, 1, 1], [0, 0, 1, 1]], [[9, 9, 12, 12]] * 2, [[0, 0, 3, 2], [2, 0, 4, 2]]]
)


@pytest.mark.parametrize("dtype", [bool, jnp.int32, jnp.float32])
def test_a_region_is_read_as_it_is_and_an_empty_one_is_none(dtype):
    region, valid = reading.region_of({"region": REGION.astype(dtype)})
    np.testing.assert_array_equal(region, REGION.astype(jnp.float32))
    assert region.dtype == jnp.float32
    np.testing.assert_array_equal(valid, [True, False, True])


def test_shares_are_kept():
    region, valid = reading.region_of({"region": jnp.full((1, 2, 2), 0.25)})
    np.testing.assert_array_equal(region, jnp.full((1, 2, 2), 0.25))
    assert valid[0]


@pytest.mark.parametrize("dtype", [bool, jnp.int32, jnp.float32])
def test_a_region_that_is_not_valid_is_blank(dtype):
    batch = {"region": REGION, "region_valid": jnp.array([0, 1, 1], dtype)}
    region, valid = reading.region_of(batch)
    np.testing.assert_array_equal(valid, [False, False, True])
    np.testing.assert_array_equal(region[0], np.zeros((2, 4)))


def test_boxes_are_their_union_at_the_resolution_of_the_inputs():
    boxes_valid = jnp.array([[True, True], [True, True], [True, True]])
    batch = {"inputs": INPUTS, "boxes": BOXES, "boxes_valid": boxes_valid}
    for read in (reading.region_of, reading.annotations_of):
        region, valid = read(batch)
        np.testing.assert_array_equal(region, REGION)
        np.testing.assert_array_equal(valid, [True, False, True])  # 9 is outside
    one = {**batch, "boxes_valid": boxes_valid.at[2, 1].set(False)}
    expected = [[1, 1, 1, 0]] * 2
    np.testing.assert_array_equal(reading.region_of(one)[0][2], expected)
    none = {**batch, "boxes_valid": jnp.zeros_like(boxes_valid)}
    np.testing.assert_array_equal(reading.region_of(none)[1], [False] * 3)


def test_a_region_goes_before_boxes_and_annotations_before_both():
    batch = {
        "inputs": INPUTS,
        "boxes": BOXES,
        "boxes_valid": jnp.ones((3, 2), bool),
        "region": 1 - REGION,
        "annotations": -REGION,
    }
    np.testing.assert_array_equal(reading.region_of(batch)[0], 1 - REGION)
    annotations, valid = reading.annotations_of(batch)
    np.testing.assert_array_equal(annotations, -REGION)
    np.testing.assert_array_equal(valid, [True, False, True])  # negatives count
    del batch["annotations"]
    np.testing.assert_array_equal(reading.annotations_of(batch)[0], 1 - REGION)


def test_readers_work_under_jit():
    batch = {
        "inputs": INPUTS,
        "boxes": BOXES,
        "boxes_valid": jnp.ones((3, 2), bool),
        "region_valid": jnp.array([True, True, False]),
    }
    region, valid = jax.jit(reading.region_of)(batch)
    np.testing.assert_array_equal(region[:2], REGION[:2])
    np.testing.assert_array_equal(valid, [True, False, False])


def test_padding_is_what_weighs_nothing():
    batch = {"inputs": INPUTS}
    np.testing.assert_array_equal(reading.present(batch), [True] * 3)
    batch["weight"] = jnp.array([0.5, 0.0, 2.0])
    np.testing.assert_array_equal(reading.present(batch), [True, False, True])


def test_a_batch_without_annotation_is_told_what_it_lacks():
    batch = {"inputs": INPUTS, "labels": jnp.zeros(3), "boxes": BOXES}
    message = (
        r"^a batch needs 'region' or 'boxes' with 'boxes_valid' here; it has "
        r"\['boxes', 'inputs', 'labels'\]\.$"
    )
    with pytest.raises(ValueError, match=message):
        reading.region_of(batch)
    message = r"^a batch needs 'annotations' or 'region' or 'boxes' with"
    with pytest.raises(ValueError, match=message):
        reading.annotations_of(batch)


def test_shapes_must_be_those_documented():
    with pytest.raises(AssertionError, match="rank"):
        reading.region_of({"region": jnp.ones((3, 2, 4, 1))})
    with pytest.raises(AssertionError, match="shape"):
        reading.region_of({"region": REGION, "region_valid": jnp.ones((3, 1), bool)})


def test_what_is_explained_is_the_label_unless_targets_say_otherwise():
    labels, targets = jnp.array([0, 1]), jnp.array([2, 0])
    np.testing.assert_array_equal(reading.targets_of({"labels": labels}), labels)
    both = {"labels": jnp.ones((2, 3), int), "targets": targets}
    np.testing.assert_array_equal(reading.targets_of(both), targets)


def test_multi_hot_labels_do_not_say_what_is_explained():
    with pytest.raises(ValueError, match=r"\(2, 3\).*'targets' \[B\]"):
        reading.targets_of({"labels": jnp.ones((2, 3), int)})
    with pytest.raises(ValueError, match="'targets' or 'labels'"):
        reading.targets_of({"inputs": jnp.ones((2, 3))})


READERS = {
    "region": reading.region_of,
    "annotations": reading.annotations_of,
}


@pytest.mark.parametrize("name", sorted(READERS))
@pytest.mark.parametrize(
    ("image", "shape"),
    [
        ((8, 16, 3), (16, 8)),  # swapped
        ((3, 8, 16), (8, 16)),  # channels first
        ((8, 16, 3), (2, 2)),  # blocks of 4 x 8
        ((8, 8, 3), (3, 3)),  # no whole blocks
        ((8, 8, 3), (16, 16)),  # finer
    ],
)
def test_an_annotation_of_another_shape_is_refused_with_both(name, image, shape):
    batch = {"inputs": jnp.zeros((2, *image)), name: jnp.ones((2, *shape))}
    found, given = str((2, *shape)), str((2, *image))
    with pytest.raises(ValueError, match=r"`data\.resize_mask`") as error:
        jax.eval_shape(READERS[name], batch)
    assert found in str(error.value)
    assert given in str(error.value)


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_coarse_annotation_stands_for_its_blocks(name):
    coarse = jnp.array([[[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]])
    batch = {"inputs": jnp.zeros((1, 6, 4, 3)), name: coarse}
    found, valid = READERS[name](batch)
    np.testing.assert_array_equal(found[0], np.kron(coarse[0], np.ones((2, 2))))
    assert valid[0]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *[("region", value) for value in (255, -0.5, np.nan, 1.5)],
        *[("annotations", value) for value in (255, 0.5, np.nan)],
    ],
)
def test_values_that_are_none_are_refused_or_spoil_their_row_inside_jit(name, bad):
    maps = np.zeros((4, 2, 2), np.float32)
    maps[:, 0, 0], maps[1:, 1, 1] = 1, bad
    batch = {name: maps, "region_valid": np.array([True, True, False, True])}
    message = rf"^`batch\['{name}'\]`\[1, 1, 1\] .* must .*`data.region_from_labels`"
    with pytest.raises(ValueError, match=message):
        READERS[name](batch)
    found, valid = jax.jit(READERS[name])(batch)
    np.testing.assert_array_equal(valid, [True, True, False, True])
    np.testing.assert_array_equal(found[0], maps[0])
    assert np.isnan(found[jnp.array([1, 3])]).all()
    np.testing.assert_array_equal(found[2], np.zeros((2, 2)))  # of no interest
    rows = reading.refused(found)
    np.testing.assert_array_equal(rows, [False, True, False, True])
    spoilt = reading.spoil(jnp.ones(4), found)
    np.testing.assert_array_equal(spoilt, [1, np.nan, 1, np.nan])


def test_only_rows_that_count_are_looked_at():
    batch = {
        "region": jnp.stack([jnp.ones((2, 2)), jnp.full((2, 2), 255.0)]),
        "region_valid": jnp.array([True, False]),
    }
    np.testing.assert_array_equal(reading.region_of(batch)[1], [True, False])


@pytest.mark.parametrize("box", [[3, 0, 1, 2], [0, 2, 1, 1], [0, 0, np.nan, 1]])
def test_inverted_boxes_spoil_their_row_inside_jit_where_they_count(box):
    batch = {
        "inputs": INPUTS,
        "boxes": jnp.array([[box, [0, 0, 1, 1]]] * 3, jnp.float32),
        "boxes_valid": jnp.array([[True, True], [False, True], [False, False]]),
    }
    with pytest.raises(ValueError, match=r"`boxes`\[0, 0\]"):
        reading.region_of(batch)
    region, valid = jax.jit(reading.region_of)(batch)
    np.testing.assert_array_equal(reading.refused(region), [True, False, False])
    np.testing.assert_array_equal(valid, [True, True, False])


def test_boxes_as_fractions_of_the_image_do_not_count():
    batch = {
        "inputs": INPUTS,
        "boxes": jnp.full((3, 1, 4), 0.1).at[..., 2:].set(0.6),
        "boxes_valid": jnp.ones((3, 1), bool),
    }
    np.testing.assert_array_equal(reading.region_of(batch)[1], [False] * 3)


@pytest.mark.parametrize("name", ["targets", "labels"])
def test_of_boxes_with_a_class_those_of_the_target_count(name):
    batch = {
        "inputs": INPUTS,
        "boxes": jnp.tile(jnp.array([[0, 0, 1, 1], [2, 0, 4, 2]]), (3, 1, 1)),
        "boxes_valid": jnp.array([[True, True], [True, True], [True, False]]),
        "boxes_class": jnp.array([[0, 1], [0, 1], [0, 1]]),
        "labels": jnp.ones((3, 2), int),
        name: jnp.array([0, 1, 1]),
    }
    region, valid = reading.region_of(batch)
    np.testing.assert_array_equal(valid, [True, True, False])
    np.testing.assert_array_equal(region[0], [[1, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(region[1], [[0, 0, 1, 1]] * 2)
    del batch[name]
    batch["labels"] = jnp.ones((3, 2), int)
    with pytest.raises(ValueError, match="'targets'"):
        reading.region_of(batch)


@pytest.mark.parametrize(
    ("image", "cells"),
    [
        ((224, 224), (7, 7)),
        ((9, 11), (2, 3)),
        ((9, 11), (3, 3)),
        ((28, 56), (12, 26)),  # two VALID convolutions, then pooling
        ((8, 16), (8, 16)),
        ((6, 6), (1, 2)),
        ((480, 640), (15, 20)),
    ],
)
def test_maps_of_one_stride_fit_their_image(image, cells):
    reading.check_aspect(image, cells)
    assert reading.on_cells(jnp.ones((1, *image)), shape=cells).shape == (1, *cells)


@pytest.mark.parametrize(
    ("image", "cells"),
    [((8, 16), (4, 2)), ((8, 16), (4, 4)), ((8, 8), (9, 9)), ((480, 640), (20, 15))],
)
def test_maps_of_another_aspect_are_refused(image, cells):
    with pytest.raises(ValueError, match="does not fit images of") as error:
        reading.on_cells(jnp.ones((1, *image)), shape=cells)
    assert str(cells) in str(error.value)
    assert str(image) in str(error.value)
