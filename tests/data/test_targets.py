"""One positive class an image and step, and the boxes of that class."""

import collections

import numpy as np
import pytest

from xguide_jax import data

_LABELS = np.array([[1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], np.uint8)


def _dataset():
    boxes = np.array([[[0, 0, 2, 2], [3, 3, 5, 6], [1, 0, 6, 6]]] * 4, np.float32)
    known = {
        "boxes": boxes,
        "boxes_valid": _LABELS[:, :3].astype(bool),
        "boxes_class": np.array([[0, 2, 3], [1, 1, 1], [0, 0, 0], [3, 2, 1]]),
    }
    inputs = np.zeros((4, 6, 6, 3), np.float32)
    return data.Dataset(inputs, _LABELS, ("a", "b", "c", "d"), known)


def _targets(rows, *, seed=0, step=0):
    batch = data.make_batch(_dataset(), np.array(rows), seed=seed, step=step)
    return data.choose_targets(batch, rows, seed=seed, step=step)


def test_targets_are_positive_classes_each_drawn_as_often_as_the_others():
    drawn = [_targets([0, 1, 2, 3], step=n)["targets"] for n in range(600)]
    counts = [collections.Counter(row.tolist()) for row in np.stack(drawn).T]
    assert counts[1] == {1: 600}
    assert counts[2] == {0: 600}  # nothing is positive
    assert sorted(counts[0]) == [0, 2, 3]
    assert sorted(counts[3]) == [0, 1, 2, 3]
    # Binomial(600, 1/3): 200 +- 45 with probability 0.9999; (600, 1/4): 150 +- 42.
    assert all(155 < n < 245 for n in counts[0].values())
    assert all(108 < n < 192 for n in counts[3].values())


def test_a_target_is_a_function_of_seed_step_and_example_alone():
    for step in range(20):
        whole = _targets([3, 1, 0, 2], step=step)["targets"].tolist()
        halves = [_targets([row], step=step)["targets"][0] for row in (3, 1, 0, 2)]
        assert whole == halves
    sequences = {
        tuple(_targets([3], seed=seed, step=n)["targets"][0] for n in range(30))
        for seed in range(4)
    }
    assert len(sequences) == 4
    # Two examples with the same labels are drawn apart.
    batch = {"labels": np.ones((2, 4), int)}
    pairs = [data.choose_targets(batch, [5, 6], seed=0, step=n) for n in range(30)]
    assert len({tuple(pair["targets"].tolist()) for pair in pairs}) > 8


def test_an_image_without_a_positive_class_is_not_annotated():
    batch = _targets([0, 1, 2, 3])
    assert batch["targets"].dtype == np.int32
    assert batch["region_valid"].tolist() == [True, True, False, True]
    before = {**batch, "region_valid": np.array([1.0, 0.0, 1.0, 1.0])}
    again = data.choose_targets(before, np.arange(4), seed=0, step=0)
    assert again["region_valid"].dtype == bool
    assert again["region_valid"].tolist() == [True, False, False, True]


def test_boxes_and_labels_stay_beside_the_targets_and_the_batch_is_good():
    batch = _targets([0, 1, 2, 3])
    data.validate_batch(batch, num_classes=4)
    before = _dataset()
    np.testing.assert_array_equal(batch["labels"], before.labels)
    for name, value in before.annotations.items():
        np.testing.assert_array_equal(batch[name], value)


def test_boxes_that_leave_the_image_keep_their_class():
    def away(rng, inputs, known):
        return data.shift(inputs, known, dy=-3, dx=0)

    rows = np.arange(4)
    batch = data.make_batch(_dataset(), rows, augment=away, seed=0, step=0)
    moved = data.choose_targets(batch, rows, seed=0, step=0)
    assert moved["boxes_valid"][0].tolist() == [False, False, True]
    assert moved["boxes_class"][0].tolist() == [0, 2, 3]
    data.validate_batch(moved, num_classes=4)


@pytest.mark.parametrize(
    ("changes", "indices", "message"),
    [
        (
            {"labels": np.array([0, 1])},
            [0, 1],
            r"`labels` of shape \(2,\) must be mult",
        ),
        ({"labels": np.array([[0, 0.5]])}, [0], "multi-hot, .* of 0 and 1"),
        ({}, [0], r"`indices` \(int64 \(1,\)\) must be int \[2\]"),
        ({}, [True, False], r"`indices` \(bool"),
        ({"boxes": np.zeros((2, 1, 4))}, [0, 1], "`boxes` of several classes need"),
    ],
)
def test_what_has_no_several_classes_is_refused(changes, indices, message):
    batch = {"labels": np.array([[0, 1], [1, 1]]), **changes}
    with pytest.raises(ValueError, match=message):
        data.choose_targets(batch, indices, seed=0, step=0)
