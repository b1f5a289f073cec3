"""The stateless sampler, batches, evaluation padding and prefetching."""

import functools
import threading

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from xguide_jax import data


def _dataset(num_examples):
    rows = np.arange(num_examples)
    inputs = np.tile(rows[:, None, None, None], (1, 4, 4, 1)).astype(np.float32)
    region = np.zeros((num_examples, 4, 4), np.float32)
    region[:, 1, 2] = 1
    annotations = {"region": region, "group": rows % 3}
    return data.Dataset(
        inputs, rows.astype(np.int32), ("a",) * num_examples, annotations
    )


def test_the_batches_of_an_epoch_are_disjoint_and_drop_the_remainder():
    # 11 examples in batches of 4: 2 batches an epoch, 3 examples left over.
    batches = [data.batch_indices(11, batch_size=4, seed=0, step=n) for n in range(4)]
    for epoch in (batches[:2], batches[2:]):
        seen = np.concatenate(epoch)
        assert len(set(seen.tolist())) == 8
        assert set(seen.tolist()) <= set(range(11))
    assert np.concatenate(batches[:2]).tolist() != np.concatenate(batches[2:]).tolist()


def test_every_example_is_drawn_sooner_or_later_though_each_epoch_drops_some():
    seen = {
        int(index)
        for step in range(40)
        for index in data.batch_indices(11, batch_size=4, seed=0, step=step)
    }
    assert seen == set(range(11))


@hypothesis.given(
    seed=st.integers(0, 2**32), step=st.integers(0, 10**9), log_count=st.integers(0, 3)
)
def test_the_slices_of_all_processes_joined_are_the_batch_of_one(seed, step, log_count):
    sample = functools.partial(
        data.batch_indices, 37, batch_size=16, seed=seed, step=step
    )
    count = 2**log_count
    slices = [sample(process_index=p, process_count=count) for p in range(count)]
    assert {len(part) for part in slices} == {16 // count}
    assert np.concatenate(slices).tolist() == sample().tolist()


def test_a_batch_is_a_function_of_its_step_whatever_was_asked_before():
    sample = functools.partial(data.batch_indices, 23, batch_size=5, seed=1)
    in_order = [sample(step=n).tolist() for n in range(30)]
    backwards = [sample(step=n).tolist() for n in reversed(range(30))][::-1]
    assert in_order == backwards


def test_seeds_and_epochs_give_different_orders():
    orders = {
        tuple(data.batch_indices(20, batch_size=20, seed=s, step=n).tolist())
        for s in range(4)
        for n in range(4)
    }
    assert len(orders) == 16


def test_changing_a_returned_batch_changes_no_later_one():
    first = data.batch_indices(8, batch_size=8, seed=0, step=0)
    kept = first.tolist()
    first[:] = -1
    assert data.batch_indices(8, batch_size=8, seed=0, step=0).tolist() == kept


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "`batch_size` .=0. must lie in 1 .. 9"),
        ({"batch_size": 10}, "`batch_size` .=10. must lie in 1 .. 9"),
        ({"process_count": 3}, "`process_count` .=3. must divide `batch_size` .=4."),
        ({"process_count": 0}, "`process_count` .=0. must divide"),
        ({"process_index": 1}, "`process_index` .=1. must lie in 0 .. 0"),
        ({"step": -1}, "`step` .=-1. must be at least 0"),
    ],
)
def test_the_sampler_refuses_what_it_cannot_deal_out(changes, message):
    with pytest.raises(ValueError, match=message):
        data.batch_indices(9, **{"batch_size": 4, "seed": 0, "step": 0, **changes})


def test_a_batch_holds_inputs_labels_and_annotations_of_the_same_rows():
    batch = data.make_batch(_dataset(9), np.array([5, 2]), seed=0, step=0)
    assert sorted(batch) == ["group", "inputs", "labels", "region"]
    assert batch["labels"].tolist() == [5, 2]
    assert batch["labels"].dtype == np.int32
    assert batch["inputs"][:, 0, 0, 0].tolist() == [5, 2]
    assert batch["group"].tolist() == [2, 2]


def test_inputs_that_are_a_dict_are_batched_augmented_and_padded_leaf_by_leaf():
    rows = np.arange(7, dtype=np.int32)
    inputs = {"tokens": np.tile(rows[:, None], (1, 3)), "mask": np.ones((7, 3), bool)}
    dataset = data.Dataset(inputs, rows, ("a",) * 7, {"group": rows % 3})
    batch = data.make_batch(dataset, [5, 2], seed=0, step=0)
    assert batch["inputs"]["tokens"].tolist() == [[5] * 3, [2] * 3]
    assert batch["inputs"]["mask"].shape == (2, 3)

    def first_two(rng, inputs, annotations):
        assert inputs["tokens"].shape == (3,)
        inputs = {name: leaf[:2] for name, leaf in inputs.items()}
        return inputs, {**annotations, "first": inputs["tokens"][0]}

    batch = data.make_batch(dataset, [5, 2], augment=first_two, seed=0, step=0)
    assert batch["inputs"]["tokens"].tolist() == [[5] * 2, [2] * 2]
    assert batch["first"].tolist() == [5, 2]
    (_, last) = data.eval_batches(dataset, batch_size=4)
    assert last["inputs"]["tokens"][:, 0].tolist() == [4, 5, 6, 6]
    assert last["weight"].tolist() == [1, 1, 1, 0]


def test_augmentation_moves_the_region_with_its_image():
    dataset = _dataset(9)
    region = dataset.annotations["region"]
    region[::2], region[::2, 2, 1] = 0, 1  # not the same in every example
    dataset.inputs[region == 1] = 100
    augment = functools.partial(data.transform_together, flip=True, pad_crop=1)
    batch = data.make_batch(dataset, np.arange(9), augment=augment, seed=0, step=3)
    marked = batch["inputs"][..., 0] == 100
    np.testing.assert_array_equal(marked, batch["region"] == 1)
    assert len({tuple(place) for place in np.argwhere(marked)[:, 1:]}) > 3
    assert batch["inputs"].dtype == np.float32


def test_augmentation_noise_depends_on_seed_step_and_example_alone():
    augment = functools.partial(data.transform_together, flip=True, pad_crop=2)

    def regions(rows, seed=0, step=0):
        batch = data.make_batch(
            _dataset(9), np.array(rows), augment=augment, seed=seed, step=step
        )
        return batch["region"]

    whole = regions([3, 1, 8, 6])
    halves = np.concatenate([regions([3, 1]), regions([8, 6])])
    np.testing.assert_array_equal(whole, halves)
    everything = list(range(9))
    assert not np.array_equal(regions(everything), regions(everything, seed=1))
    assert not np.array_equal(regions(everything), regions(everything, step=1))


def test_evaluation_sees_every_example_once_and_pads_with_weight_zero():
    batches = list(data.eval_batches(_dataset(7), batch_size=3))
    assert [batch["weight"].tolist() for batch in batches] == [
        [1, 1, 1],
        [1, 1, 1],
        [1, 0, 0],
    ]
    assert [batch["labels"].tolist() for batch in batches] == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 6, 6],
    ]
    assert {batch["weight"].dtype for batch in batches} == {np.dtype(np.float32)}
    assert {batch["inputs"].shape for batch in batches} == {(3, 4, 4, 1)}


def test_evaluation_keeps_the_weights_of_the_data_set():
    dataset = _dataset(3)
    dataset = dataset._replace(annotations={"weight": np.array([0.5, 0, 2])})
    weights = [b["weight"].tolist() for b in data.eval_batches(dataset, batch_size=2)]
    assert weights == [[0.5, 0], [2, 0]]


def test_evaluation_refuses_an_empty_batch():
    with pytest.raises(ValueError, match=r"`batch_size` .=0. must be at least 1"):
        next(data.eval_batches(_dataset(3), batch_size=0))


def _prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.mark.parametrize("size", [1, 2, 50])
def test_prefetching_changes_no_item_and_no_order(size):
    assert list(data.prefetch(iter(range(20)), size=size)) == list(range(20))
    assert list(data.prefetch([], size=size)) == []
    assert not _prefetch_threads()


def test_prefetching_works_ahead_of_use_but_no_further_than_its_size():
    made, third = [], threading.Event()

    def items():
        for i in range(100):
            made.append(i)
            if i == 3:
                third.set()
            yield i

    ahead = data.prefetch(items(), size=2)
    assert next(ahead) == 0
    # Items 1 and 2 wait, and 3 is made and in hand; 4 is not begun.
    assert third.wait(timeout=10)
    ahead.close()
    assert max(made) <= 4 + 1  # closing lets at most one more item be put


def test_an_error_is_raised_where_its_item_would_have_come():
    def items():
        yield 1
        yield 2
        raise RuntimeError("the third item is broken")

    ahead = data.prefetch(items(), size=5)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(RuntimeError, match="the third item is broken"):
        next(ahead)
    assert not _prefetch_threads()


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("used", [1, 3])
def test_closing_early_ends_the_thread(size, used):
    def forever():
        while True:
            yield 0

    ahead = data.prefetch(forever(), size=size)
    for _ in range(used):
        next(ahead)
    assert len(_prefetch_threads()) == 1
    ahead.close()
    assert not _prefetch_threads()


def test_prefetching_refuses_to_hold_nothing():
    with pytest.raises(ValueError, match=r"`size` .=0. must be at least 1"):
        data.prefetch([1], size=0)


def test_an_augmentation_may_add_an_annotation_and_none_is_dropped():
    def augment(rng, inputs, annotations):
        return inputs, {**annotations, "mean": inputs.mean()}

    batch = data.make_batch(_dataset(9), [5, 2], augment=augment, seed=0, step=0)
    assert batch["mean"].tolist() == [5, 2]
    assert batch["region"].shape == (2, 4, 4)


def test_an_augmentation_that_makes_examples_of_two_kinds_is_refused():
    def crops(rng, inputs, annotations):
        size = 3 if inputs[0, 0, 0] == 2 else 4
        return inputs[:size], {"region": annotations["region"][:size]}

    def forgets(rng, inputs, annotations):
        return inputs, annotations if inputs[0, 0, 0] == 5 else {}

    for augment in (crops, forgets):
        message = r"`augment` must make examples of one kind: example 2 has .*example 5"
        with pytest.raises(ValueError, match=message):
            data.make_batch(_dataset(9), [5, 2], augment=augment, seed=0, step=0)


def test_a_mask_of_examples_draws_the_noise_of_their_numbers():
    augment = functools.partial(data.transform_together, flip=True, pad_crop=2)
    batches = [
        data.make_batch(_dataset(9), rows, augment=augment, seed=0, step=0)["region"]
        for rows in (np.array([1, 5, 8]), np.isin(np.arange(9), [1, 5, 8]))
    ]
    np.testing.assert_array_equal(*batches)


@pytest.mark.parametrize("name", ["inputs", "labels"])
def test_an_annotation_does_not_take_the_place_of_inputs_or_labels(name):
    dataset = _dataset(9)._replace(annotations={name: np.zeros(9)})
    message = rf"annotations must not be called \['{name}'\]"
    with pytest.raises(ValueError, match=message):
        data.make_batch(dataset, [0], seed=0, step=0)
    with pytest.raises(ValueError, match=message):
        data.validate(dataset)


def test_a_step_between_two_steps_is_refused():
    with pytest.raises(TypeError, match="integer"):
        data.batch_indices(9, batch_size=4, seed=0, step=1.5)


def test_multi_hot_labels_are_batched_as_they_are():
    labels = np.eye(9, dtype=np.uint8)
    dataset = _dataset(9)._replace(labels=labels)
    batch = data.make_batch(dataset, np.array([5, 2]), seed=0, step=0)
    np.testing.assert_array_equal(batch["labels"], labels[[5, 2]])
    (_, last) = data.eval_batches(dataset, batch_size=5)
    np.testing.assert_array_equal(last["labels"], labels[[5, 6, 7, 8, 8]])
