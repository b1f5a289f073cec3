"""Streamed batches are those of inputs in memory, bit for bit, and threads end."""

import functools
import itertools
import threading
import time

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xguide_jax import data

NUM, SHAPE = 11, (6, 8)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same examples, their inputs once on disk and once in memory."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    paths = []
    for number in range(NUM):
        pixels = rng.integers(0, 256, (9 + number, 20 - number, 3)).astype(np.uint8)
        paths.append(folder / f"{number}.png")
        PIL.Image.fromarray(pixels).save(paths[-1])
    images = data.decode_images(paths, folder / "cache", shape=SHAPE)
    read = functools.partial(data.read_images, images, mean=0.4, std=(0.2, 0.3, 0.4))
    known = {"region": rng.random((NUM, *SHAPE)) < 0.3, "groups": np.arange(NUM)}
    labels = rng.integers(0, 2, NUM).astype(np.int32)
    streamed = data.Dataset(np.arange(NUM), labels, ("a", "b"), known)
    pixels = np.stack(
        [data.resize(data.read_image(path), {}, shape=SHAPE)[0] for path in paths]
    )
    inputs = data.normalise_images(pixels, mean=0.4, std=(0.2, 0.3, 0.4))
    return streamed, read, streamed._replace(inputs=inputs)


def _same(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(found[name], expected[name])


def _resident(dataset, step, *, seed, augment=None, batch_size=4, **processes):
    indices = data.batch_indices(
        len(dataset.labels), batch_size=batch_size, seed=seed, step=step, **processes
    )
    return data.make_batch(dataset, indices, augment=augment, seed=seed, step=step)


_AUGMENT = functools.partial(data.transform_together, flip=True, pad_crop=2)


@given(
    seed=st.integers(0, 99),
    step=st.integers(0, 9),
    augment=st.sampled_from([None, _AUGMENT]),
    process=st.sampled_from([(0, 1), (0, 2), (1, 2)]),
)
def test_batches_are_those_of_inputs_in_memory(sources, seed, step, augment, process):
    streamed, read, resident = sources
    processes = dict(zip(("process_index", "process_count"), process, strict=True))
    batch_at = data.streamed_batches(
        streamed, read, batch_size=4, seed=seed, augment=augment, **processes
    )
    expected = _resident(resident, step, seed=seed, augment=augment, **processes)
    _same(batch_at(step), expected)


def test_splits_and_samples_carry_the_rows_along(sources):
    streamed, read, resident = sources
    parts = [data.split(d, seed=3, fractions=(0.6, 0.4)) for d in (streamed, resident)]
    for part, expected in zip(*parts, strict=True):
        batch_at = data.streamed_batches(part, read, batch_size=2, seed=1)
        for step in (0, 3):
            _same(batch_at(step), _resident(expected, step, seed=1, batch_size=2))


def test_every_example_is_evaluated_once_and_padding_weighs_nothing(sources):
    streamed, read, resident = sources
    found = data.streamed_eval_batches(streamed, read, batch_size=4)
    for batch, expected in zip(
        found, data.eval_batches(resident, batch_size=4), strict=True
    ):
        _same(batch, expected)
        data.validate_batch(batch, num_classes=2)


def _ahead(batch_at, **options):
    return data.prefetch(map(batch_at, itertools.count()), **options)


def test_a_thread_reads_ahead_so_far_and_no_further_and_ends(sources):
    streamed, read, resident = sources
    asked = []

    def counted(rows):
        asked.append(len(rows))
        return read(rows)

    before = threading.active_count()
    batch_at = data.streamed_batches(streamed, counted, batch_size=4, seed=0)
    batches = _ahead(batch_at, size=3)
    _same(next(batches), _resident(resident, 0, seed=0))
    until = time.monotonic() + 10
    while len(asked) < 5 and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(0.02)  # for one too many
    # One is used, three wait, and one more is held by the thread that waits for room.
    assert len(asked) == 5
    _same(next(batches), _resident(resident, 1, seed=0))
    batches.close()
    assert threading.active_count() == before


def test_an_error_of_the_thread_comes_where_its_batch_would_have(sources):
    streamed, read, _ = sources
    calls = itertools.count()

    def failing(rows):
        if next(calls) == 2:
            raise OSError("the disk is gone")
        return read(rows)

    before = threading.active_count()
    batches = _ahead(data.streamed_batches(streamed, failing, batch_size=4, seed=0))
    assert [next(batches)["inputs"].shape[0] for _ in range(2)] == [4, 4]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
    assert threading.active_count() == before


def test_what_cannot_be_streamed_is_refused_before_training(sources):
    streamed, read, resident = sources
    rule = r"`inputs` \(float32 \(11, 6, 8, 3\)\) must be row numbers, int \[11\]"
    with pytest.raises(ValueError, match=rule):
        data.streamed_batches(resident, read, batch_size=4, seed=0)
    with pytest.raises(ValueError, match=rule):
        next(data.streamed_eval_batches(resident, read, batch_size=4))
    with pytest.raises(ValueError, match=r"`batch_size` \(=12\) must lie in 1 \.\. 11"):
        data.streamed_batches(streamed, read, batch_size=12, seed=0)
    shifted = streamed._replace(inputs=streamed.inputs + 1)
    batch_at = data.streamed_batches(shifted, read, batch_size=NUM, seed=0)
    with pytest.raises(IndexError, match=r"`rows` \(=11\) must lie in 0 \.\. 10"):
        batch_at(0)
