"""Data sets: taking, splitting, and the checks that name the row."""

import numpy as np
import pytest

from xguide_jax import data


def _dataset(num_examples=10, **annotations):
    """Example i holds i everywhere, so that rows out of step are seen."""
    rows = np.arange(num_examples)
    inputs = np.broadcast_to(rows[:, None, None, None], (num_examples, 3, 2, 1)).astype(
        np.float32
    )
    classes = tuple(f"class {row}" for row in rows)
    return data.Dataset(inputs, rows.astype(np.int32), classes, annotations)


def test_take_keeps_inputs_labels_and_annotations_in_step():
    dataset = _dataset(region=np.arange(10)[:, None, None] * np.ones((1, 3, 2)))
    taken = data.take(dataset, np.array([7, 0, 7]))
    assert taken.labels.tolist() == [7, 0, 7]
    assert taken.inputs[:, 2, 1, 0].tolist() == [7, 0, 7]
    assert taken.annotations["region"][:, 0, 0].tolist() == [7, 0, 7]
    assert taken.class_names == dataset.class_names


def _text(num_examples=10, **annotations):
    rows = np.arange(num_examples, dtype=np.int32)
    tokens = np.tile(rows[:, None], (1, 5))
    return data.Dataset(
        {"tokens": tokens, "mask": tokens >= 0}, rows, ("a",) * 10, annotations
    )


def test_inputs_that_are_a_dict_are_taken_and_split_leaf_by_leaf():
    dataset = _text(rationale=np.arange(10.0)[:, None] * np.ones(5))
    taken = data.take(dataset, np.array([7, 0, 7]))
    assert taken.inputs["tokens"][:, 4].tolist() == [7, 0, 7]
    assert taken.inputs["mask"].shape == (3, 5)
    assert taken.annotations["rationale"][:, 4].tolist() == [7, 0, 7]
    parts = data.split(dataset, seed=0)
    for part, whole in zip(parts, data.split(_dataset(), seed=0), strict=True):
        assert part.labels.tolist() == whole.labels.tolist()
        assert part.inputs["tokens"][:, 0].tolist() == part.labels.tolist()


def test_a_dict_of_inputs_has_as_many_examples_as_labels_and_not_as_leaves():
    # Two leaves, ten examples: index 9 is one of them and 10 is not.
    assert data.take(_text(), np.array([9])).labels.tolist() == [9]
    with pytest.raises(IndexError, match=r"must lie in 0 .. 9"):
        data.take(_text(), np.array([10]))
    data.validate(_text())


def test_a_leaf_of_another_length_is_named():
    dataset = _text()
    dataset.inputs["mask"] = dataset.inputs["mask"][:9]
    with pytest.raises(ValueError, match=r"`inputs/mask` has shape \(9, 5\)"):
        data.validate(dataset)


def test_take_shares_no_memory():
    dataset = _dataset()
    taken = data.take(dataset, np.arange(10))
    taken.inputs[:] = -1
    assert dataset.inputs[0, 0, 0, 0] == 0


def test_take_accepts_a_mask_and_refuses_an_index_outside():
    assert data.take(_dataset(), np.arange(10) > 7).labels.tolist() == [8, 9]
    with pytest.raises(IndexError):
        data.take(_dataset(), np.array([10]))


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([3, -1], r"`indices` \(=-1, at 1\) must lie in 0 .. 9"),
        ([10], r"`indices` \(=10, at 0\) must lie in 0 .. 9"),
        ([0.0, 1.0], r"`indices` \(float64 \(2,\)\) must be int \[K\] or bool \[10\]"),
        ([[0, 1]], r"`indices` \(int64 \(1, 2\)\) must be int"),
        ([True, False], r"`indices` \(bool \(2,\)\) must be int"),
    ],
)
def test_take_refuses_what_numpy_would_count_from_the_end_or_broadcast(
    indices, message
):
    with pytest.raises(IndexError, match=message):
        data.take(_dataset(), np.array(indices))


def test_taking_nothing_leaves_an_empty_data_set():
    for nothing in ([], np.zeros(10, bool), np.zeros(0, int)):
        assert data.take(_dataset(), nothing).inputs.shape == (0, 3, 2, 1)


@pytest.mark.parametrize("num_examples", [1, 10, 11, 17])
def test_a_split_is_disjoint_and_covers_everything(num_examples):
    parts = data.split(_dataset(num_examples), seed=0)
    labels = np.concatenate([part.labels for part in parts])
    assert sorted(labels.tolist()) == list(range(num_examples))


def test_split_sizes_round_the_cumulated_fractions():
    # 11 examples: round(8.8) = 9, round(9.9) = 10, 11, so 9, 1 and 1.
    assert [len(part.labels) for part in data.split(_dataset(11), seed=0)] == [9, 1, 1]
    parts = data.split(_dataset(11), seed=0, fractions=(0.5, 0.5))
    assert [len(part.labels) for part in parts] == [6, 5]  # round(5.5) = 6


def test_a_split_is_decided_by_its_seed_and_shuffles():
    first, again, other = (data.split(_dataset(50), seed=s)[0] for s in (3, 3, 4))
    assert first.labels.tolist() == again.labels.tolist()
    assert first.labels.tolist() != other.labels.tolist()
    assert first.labels.tolist() != sorted(first.labels.tolist())


def test_the_split_and_the_first_epoch_of_one_seed_are_different_permutations():
    (everything,) = data.split(_dataset(50), seed=0, fractions=(1.0,))
    epoch = data.batch_indices(50, batch_size=50, seed=0, step=0)
    assert everything.labels.tolist() != epoch.tolist()


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.4), (1.2, -0.2), (np.nan, 1.0), (np.inf, -np.inf), ()]
)
def test_split_refuses_fractions_that_are_no_partition(fractions):
    with pytest.raises(ValueError, match=r"`fractions` .* must be at least 0 and sum"):
        data.split(_dataset(), seed=0, fractions=fractions)


def test_a_good_data_set_passes():
    boxes = np.array([[[0, 0, 2, 2], [9, 9, 1, 1]]] * 10, np.float32)
    boxes_valid = np.array([[True, False]] * 10)  # the inverted one is not used
    data.validate(_dataset(boxes=boxes, boxes_valid=boxes_valid))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_named_with_its_row(value):
    dataset = _dataset()
    dataset.inputs[4, 2, 1, 0] = value
    with pytest.raises(
        ValueError, match=r"`inputs` \(=.*\) in row 4, at \[2, 1, 0\] must be finite"
    ):
        data.validate(dataset)
    region = np.zeros((10, 3, 2), np.float32)
    region[9, 0, 1] = value
    with pytest.raises(ValueError, match=r"`region` .* in row 9, at \[0, 1\]"):
        data.validate(_dataset(region=region))


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_out_of_range_is_named_with_its_row(label):
    dataset = _dataset()
    dataset.labels[6] = label
    with pytest.raises(
        ValueError, match=rf"`labels` \(={label}\) in row 6 must lie in"
    ):
        data.validate(dataset)


def test_labels_must_be_whole_numbers():
    batch = {"inputs": np.zeros((2, 3)), "labels": np.zeros(2)}
    with pytest.raises(ValueError, match=r"`labels` .float64 .2,.. must be whole"):
        data.validate_batch(batch, num_classes=2)


def test_an_inverted_box_is_named_and_a_box_outside_is_not():
    boxes = np.zeros((10, 2, 4), np.float32)
    boxes[1, 0] = [90, 90, 95, 95]  # clipped later; no mistake of the annotator's form
    boxes[2, 1] = [3, 0, 1, 2]
    with pytest.raises(ValueError, match=r"`boxes` .* in row 2, at \[1\] .*inverted"):
        data.validate(_dataset(boxes=boxes))
    boxes[2, 1] = [0, 0, np.nan, 2]
    with pytest.raises(ValueError, match=r"`boxes` .* in row 2, .* must be finite"):
        data.validate(_dataset(boxes=boxes))
    with pytest.raises(ValueError, match=r"`boxes` has shape \(10, 8\)"):
        data.validate(_dataset(boxes=boxes.reshape(10, 8)))


def test_annotations_of_another_length_and_missing_keys_are_refused():
    with pytest.raises(ValueError, match=r"`region` has shape \(9, 3, 2\).* 10 ex"):
        data.validate(_dataset(region=np.zeros((9, 3, 2))))
    with pytest.raises(ValueError, match=r"a batch needs \['labels'\]; it has"):
        data.validate_batch({"inputs": np.zeros((2, 3))}, num_classes=2)


def test_every_stream_has_its_numbers_and_the_older_two_keep_theirs():
    drawn = {s: data.generator(s, 3).integers(1 << 60) for s in data.Stream}
    assert len(set(drawn.values())) == len(data.Stream)
    older = {data.Stream.RANDOM_BOXES: 5, data.Stream.ANNOTATOR: 7}
    for stream, mark in older.items():
        assert drawn[stream] == np.random.default_rng((3, mark)).integers(1 << 60)
