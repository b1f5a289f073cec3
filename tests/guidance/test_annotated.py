"""What terms read of a batch: the annotation, and who carries one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax.guidance import annotated

INPUTS = jnp.zeros((3, 2, 4, 1))
REGION = jnp.array([[[1, 0, 0, 0], [0, 0, 0, 0]], [[0] * 4] * 2, [[1] * 4] * 2])
BOXES = jnp.array(
    [[[0, 0, 1, 1], [0, 0, 1, 1]], [[9, 9, 12, 12]] * 2, [[0, 0, 3, 2], [2, 0, 4, 2]]]
)


@pytest.mark.parametrize("dtype", [bool, jnp.int32, jnp.float32])
def test_a_region_is_read_as_it_is_and_an_empty_one_is_none(dtype):
    region, valid = annotated.region_of({"region": REGION.astype(dtype)})
    np.testing.assert_array_equal(region, REGION.astype(jnp.float32))
    assert region.dtype == jnp.float32
    np.testing.assert_array_equal(valid, [True, False, True])


def test_shares_are_kept():
    region, valid = annotated.region_of({"region": jnp.full((1, 2, 2), 0.25)})
    np.testing.assert_array_equal(region, jnp.full((1, 2, 2), 0.25))
    assert valid[0]


@pytest.mark.parametrize("dtype", [bool, jnp.int32, jnp.float32])
def test_a_region_that_is_not_valid_is_blank(dtype):
    batch = {"region": REGION, "region_valid": jnp.array([0, 1, 1], dtype)}
    region, valid = annotated.region_of(batch)
    np.testing.assert_array_equal(valid, [False, False, True])
    np.testing.assert_array_equal(region[0], np.zeros((2, 4)))


def test_boxes_are_their_union_at_the_resolution_of_the_inputs():
    boxes_valid = jnp.array([[True, True], [True, True], [True, True]])
    batch = {"inputs": INPUTS, "boxes": BOXES, "boxes_valid": boxes_valid}
    for read in (annotated.region_of, annotated.annotations_of):
        region, valid = read(batch)
        np.testing.assert_array_equal(region, REGION)
        np.testing.assert_array_equal(valid, [True, False, True])  # 9 is outside
    one = {**batch, "boxes_valid": boxes_valid.at[2, 1].set(False)}
    expected = [[1, 1, 1, 0]] * 2
    np.testing.assert_array_equal(annotated.region_of(one)[0][2], expected)
    none = {**batch, "boxes_valid": jnp.zeros_like(boxes_valid)}
    np.testing.assert_array_equal(annotated.region_of(none)[1], [False] * 3)


def test_a_region_goes_before_boxes_and_annotations_before_both():
    batch = {
        "inputs": INPUTS,
        "boxes": BOXES,
        "boxes_valid": jnp.ones((3, 2), bool),
        "region": 1 - REGION,
        "annotations": -REGION,
    }
    np.testing.assert_array_equal(annotated.region_of(batch)[0], 1 - REGION)
    annotations, valid = annotated.annotations_of(batch)
    np.testing.assert_array_equal(annotations, -REGION)
    np.testing.assert_array_equal(valid, [True, False, True])  # negatives count
    del batch["annotations"]
    np.testing.assert_array_equal(annotated.annotations_of(batch)[0], 1 - REGION)


def test_readers_work_under_jit():
    batch = {
        "inputs": INPUTS,
        "boxes": BOXES,
        "boxes_valid": jnp.ones((3, 2), bool),
        "region_valid": jnp.array([True, True, False]),
    }
    region, valid = jax.jit(annotated.region_of)(batch)
    np.testing.assert_array_equal(region[:2], REGION[:2])
    np.testing.assert_array_equal(valid, [True, False, False])


def test_padding_is_what_weighs_nothing():
    batch = {"inputs": INPUTS}
    np.testing.assert_array_equal(annotated.present(batch), [True] * 3)
    batch["weight"] = jnp.array([0.5, 0.0, 2.0])
    np.testing.assert_array_equal(annotated.present(batch), [True, False, True])


def test_a_batch_without_annotation_is_told_what_it_lacks():
    batch = {"inputs": INPUTS, "labels": jnp.zeros(3), "boxes": BOXES}
    message = (
        r"^a batch needs 'region' or 'boxes' with 'boxes_valid' here; it has "
        r"\['boxes', 'inputs', 'labels'\]\.$"
    )
    with pytest.raises(ValueError, match=message):
        annotated.region_of(batch)
    message = r"^a batch needs 'annotations' or 'region' or 'boxes' with"
    with pytest.raises(ValueError, match=message):
        annotated.annotations_of(batch)


def test_shapes_must_be_those_documented():
    with pytest.raises(AssertionError, match="rank"):
        annotated.region_of({"region": jnp.ones((3, 2, 4, 1))})
    with pytest.raises(AssertionError, match="shape"):
        annotated.region_of({"region": REGION, "region_valid": jnp.ones((3, 1), bool)})


def test_what_is_explained_is_the_label_unless_targets_say_otherwise():
    labels, targets = jnp.array([0, 1]), jnp.array([2, 0])
    np.testing.assert_array_equal(annotated.targets_of({"labels": labels}), labels)
    both = {"labels": jnp.ones((2, 3), int), "targets": targets}
    np.testing.assert_array_equal(annotated.targets_of(both), targets)


def test_multi_hot_labels_do_not_say_what_is_explained():
    with pytest.raises(ValueError, match=r"\(2, 3\).*'targets' \[B\]"):
        annotated.targets_of({"labels": jnp.ones((2, 3), int)})
    with pytest.raises(ValueError, match="'targets' or 'labels'"):
        annotated.targets_of({"inputs": jnp.ones((2, 3))})
