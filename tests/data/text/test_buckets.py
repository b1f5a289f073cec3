"""Batches of one shape each, a function of the seed and the step."""

import functools

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from experiments.running import feeding, flags
from xguide_jax import data, testing


def _dataset(lengths, max_length=8):
    """Example i has i on its tokens."""
    rows = np.arange(len(lengths), dtype=np.int32)
    mask = np.arange(max_length) < np.array(lengths)[:, None]
    inputs = {"tokens": mask * rows[:, None], "mask": mask}
    annotations = {"rationale": mask.astype(np.float32), "row": rows}
    return data.Dataset(inputs, rows, ("a",) * len(rows), annotations)


_LENGTHS = [3, 1, 8, 5, 2, 4, 4, 7, 3, 2, 1, 6]  # eight up to 4, four beyond
_FEED = functools.partial(data.bucketed_batches, buckets=(4, 8), batch_size=3, seed=0)


def test_an_epoch_has_every_example_at_most_once_in_the_shortest_bucket_that_fits():
    batch_at = _FEED(_dataset(_LENGTHS))
    batches = [batch_at(step) for step in range(4)]
    rows = np.concatenate([batch["row"] for batch in batches])
    assert sorted(rows.tolist()) == list(range(12))
    shapes = sorted(batch["inputs"]["mask"].shape for batch in batches)
    # Of eight short ones two batches; the two left over are with the four long ones.
    assert shapes == [(3, 4), (3, 4), (3, 8), (3, 8)]
    for batch in batches:
        whole = data.take(_dataset(_LENGTHS), batch["row"])
        length = batch["inputs"]["mask"].shape[1]
        for found, full in [
            (batch["inputs"]["tokens"], whole.inputs["tokens"]),
            (batch["rationale"], whole.annotations["rationale"]),
        ]:
            np.testing.assert_array_equal(found, full[:, :length])
            assert not full[:, length:].any()
        assert batch["labels"].tolist() == batch["row"].tolist()


def test_the_order_of_batches_is_mixed_and_epochs_differ():
    lengths = [1] * 30 + [8] * 30
    batch_at = data.bucketed_batches(
        _dataset(lengths), buckets=(4, 8), batch_size=3, seed=0
    )
    widths = [batch_at(step)["inputs"]["mask"].shape[1] for step in range(40)]
    assert widths[:20] != sorted(widths[:20])
    assert widths[:20].count(4) == widths[20:].count(4) == 10
    first, second = (
        [batch_at(n + e)["row"].tolist() for n in range(20)] for e in (0, 20)
    )
    assert first != second


def test_an_epoch_puts_other_examples_together():
    batch_at = data.bucketed_batches(
        _dataset([1] * 12), buckets=(4, 8), batch_size=3, seed=0
    )
    together = [frozenset(batch_at(step)["row"].tolist()) for step in range(8)]
    assert set(together[:4]) != set(together[4:])


@hypothesis.given(
    lengths=st.lists(st.integers(1, 8), min_size=4, max_size=30),
    seed=st.integers(0, 2**32),
)
def test_an_epoch_has_as_many_batches_as_without_buckets(lengths, seed):
    batch_at = data.bucketed_batches(
        _dataset(lengths), buckets=(2, 4, 8), batch_size=4, seed=seed
    )
    rows = np.concatenate([batch_at(n)["row"] for n in range(len(lengths) // 4)])
    assert len(set(rows.tolist())) == len(rows) == len(lengths) // 4 * 4


def test_a_batch_is_a_function_of_seed_and_step_whatever_was_asked_before():
    at = lambda step, seed=0: _FEED(_dataset(_LENGTHS), seed=seed)(step)["row"].tolist()
    batch_at = _FEED(_dataset(_LENGTHS))
    in_order = [batch_at(n)["row"].tolist() for n in range(12)]
    assert [at(n) for n in reversed(range(12))][::-1] == in_order
    assert [at(n, seed=1) for n in range(12)] != in_order


def test_the_slices_of_all_processes_joined_are_the_batch_of_one():
    for step in range(6):
        whole = _FEED(_dataset(_LENGTHS), batch_size=4)(step)
        slices = [
            _FEED(_dataset(_LENGTHS), batch_size=4, process_index=p, process_count=2)(
                step
            )
            for p in range(2)
        ]
        tokens = [part["inputs"]["tokens"] for part in slices]
        np.testing.assert_array_equal(np.concatenate(tokens), whole["inputs"]["tokens"])


def test_a_network_says_the_same_of_a_text_however_far_it_is_padded():
    dataset = _dataset(_LENGTHS)
    apply_fn, params, state = testing.token_network(
        jax.random.key(0), vocabulary_size=len(_LENGTHS)
    )
    predict = jax.jit(lambda x: apply_fn(params, state, x, train=False)[0].logits)
    for step in range(4):
        batch = _FEED(dataset)(step)
        padded = data.make_batch(dataset, batch["row"], seed=0, step=step)
        logits, expected = predict(batch["inputs"]), predict(padded["inputs"])
        np.testing.assert_allclose(logits, expected, rtol=1e-5)


def test_evaluation_sees_every_example_once_and_pads_with_weight_zero():
    batches = list(
        data.bucketed_eval_batches(_dataset(_LENGTHS), buckets=(4, 8), batch_size=4)
    )
    assert [b["inputs"]["mask"].shape for b in batches] == [(4, 4)] * 2 + [(4, 8)]
    rows = np.concatenate([b["row"] for b in batches])
    weight = np.concatenate([b["weight"] for b in batches])
    assert sorted(rows[weight > 0].tolist()) == list(range(12))


def test_an_unused_bucket_is_no_batch():
    dataset = _dataset([8, 8])
    shapes = [
        batch["inputs"]["mask"].shape
        for batch in data.bucketed_eval_batches(dataset, buckets=(4, 8), batch_size=2)
    ]
    assert shapes == [(2, 8)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"buckets": (4, 6)},
            r"`buckets` \(=\(4, 6\)\) must hold every .* has 8 tokens",
        ),
        ({"buckets": (8, 4)}, r"`buckets` \(=\(8, 4\)\) must be lengths that rise"),
        ({"buckets": (0, 8)}, "must be lengths that rise"),
        ({"buckets": ()}, "must be lengths that rise"),
        ({"batch_size": 13}, r"`batch_size` \(=13\) must lie in 1 .. 12"),
        ({"process_count": 2}, r"`process_count` \(=2\) must divide"),
    ],
)
def test_what_cannot_be_dealt_out_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _FEED(_dataset(_LENGTHS), **options)


def test_inputs_without_a_mask_and_steps_before_the_first_are_refused():
    dataset = _dataset(_LENGTHS)
    bare = dataset._replace(inputs={"tokens": dataset.inputs["tokens"]})
    with pytest.raises(ValueError, match=r"needs 'mask' .*; it has \['tokens'\]"):
        _FEED(bare)
    with pytest.raises(ValueError, match=r"`step` \(=-1\) must be at least 0"):
        _FEED(dataset)(-1)


def test_experiments_feed_the_same_batches():
    options = {"buckets": (4, 8), "seed": 0}
    batch_at = feeding.batches_by_length(_dataset(_LENGTHS), batch_size=3, **options)
    for step in range(5):
        expected = _FEED(_dataset(_LENGTHS))(step)["row"].tolist()
        assert batch_at(step)["row"].tolist() == expected
    with pytest.raises(
        flags.RefusedError, match=r"`batch_size` \(=13\) must be at most"
    ):
        feeding.batches_by_length(_dataset(_LENGTHS), batch_size=13, **options)
