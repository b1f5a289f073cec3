"""Batches as a function of the seed and the step, with no state to save.

A run that was stopped and resumed asks for the batch of step n and gets the one it
would have got. `B` is the batch over all processes.
"""

import functools
import operator
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from xguide_jax.data import datasets, seeds, trees

Item = TypeVar("Item")
# Of arrays, but for 'inputs', which may be a dict of them.
HostBatch = dict[str, Any]

# (rng, inputs, annotations of one example) -> both, changed together.
Augment = Callable[
    [np.random.Generator, Any, Mapping[str, np.ndarray]],
    tuple[Any, Mapping[str, np.ndarray]],
]


def batch_indices(
    num_examples: int,
    *,
    batch_size: int,
    seed: int,
    step: int,
    process_index: int = 0,
    process_count: int = 1,
) -> np.ndarray:
    """Which examples this process trains on at this step.

    Each epoch is a permutation of its own, drawn from (seed, epoch), and consists of
    floor(N / B) batches; the examples left over at its end wait for another epoch.
    Process p gets the p-th of `process_count` equal slices of the batch, so that the
    slices joined in order are the batch of a single process.

    Args:
      num_examples: N.
      batch_size: B, the examples of all processes together.
      seed: decides all permutations.
      step: n >= 0, the number of batches before this one.
      process_index: p, in 0 .. process_count - 1.
      process_count: a divisor of `batch_size`.

    Returns:
      int [B / process_count].

    Raises:
      ValueError: if N holds no whole batch, the processes cannot share one equally, or
        an index lies outside its range.
    """
    if not 1 <= batch_size <= num_examples:
        raise ValueError(
            f"`batch_size` (={batch_size}) must lie in 1 .. {num_examples}, the number "
            "of examples."
        )
    if process_count < 1 or batch_size % process_count:
        raise ValueError(
            f"`process_count` (={process_count}) must divide `batch_size` "
            f"(={batch_size})."
        )
    if not 0 <= process_index < process_count:
        raise ValueError(
            f"`process_index` (={process_index}) must lie in 0 .. {process_count - 1}."
        )
    if step < 0:
        raise ValueError(f"`step` (={step}) must be at least 0.")
    epoch, batch = divmod(operator.index(step), num_examples // batch_size)
    share = batch_size // process_count
    start = batch * batch_size + process_index * share
    return _permutation(num_examples, seed, epoch)[start : start + share].copy()


def make_batch(
    dataset: datasets.Dataset,
    indices: np.ndarray,
    *,
    augment: Augment | None = None,
    seed: int,
    step: int,
) -> HostBatch:
    """The examples at `indices` as one flat dict, augmented if asked.

    The noise of an example is drawn from (seed, step, its index), so it does not depend
    on how many processes share the batch.

    Args:
      dataset: N examples.
      indices: int [B] in 0 .. N - 1, or bool [N].
      augment: changes the inputs and annotations of one example together, e.g.
        `functools.partial(transform_together, flip=True, pad_crop=4)`.
      seed: with `step`, decides the augmentation; nothing else.
      step: n >= 0.

    Returns:
      'inputs' [B, ...] or a dict as in the data set, 'labels' [B] or multi-hot [B, C],
      and each annotation [B, ...], those that `augment` adds to every example included.

    Raises:
      IndexError: as `take`.
      ValueError: if an annotation is called 'inputs' or 'labels', or `augment` makes
        examples of different shapes or with different annotations, naming the example.
    """
    datasets.check_names(dataset)
    rows = datasets.take(dataset, indices)
    # A mask picks examples, but their noise comes from their numbers.
    numbers = np.arange(len(dataset.labels))[indices]
    inputs, annotations = rows.inputs, dict(rows.annotations)
    if augment is not None and len(numbers):
        examples = []
        for row, index in enumerate(numbers.tolist()):
            rng = seeds.generator(seeds.Stream.AUGMENTATION, seed, step, index)
            example = {name: values[row] for name, values in annotations.items()}
            one = trees.map_leaves(operator.itemgetter(row), inputs)
            examples.append(augment(rng, one, example))
        inputs, annotations = _stacked(examples, numbers)
    return {"inputs": inputs, "labels": rows.labels, **annotations}


def _stacked(
    examples: list[tuple[Any, Mapping[str, np.ndarray]]], indices: np.ndarray
) -> tuple[Any, dict[str, np.ndarray]]:
    """NumPy says of examples that do not fit together neither which nor why."""
    rows = [{"inputs": inputs, **known} for inputs, known in examples]
    shapes = [trees.map_leaves(np.shape, row) for row in rows]
    for index, found in zip(indices.tolist(), shapes, strict=True):
        if found != shapes[0]:
            raise ValueError(
                f"`augment` must make examples of one kind: example {index} has the "
                f"shapes {found}, example {indices[0]} {shapes[0]}."
            )
    stacked = trees.map_leaves(lambda *leaves: np.stack(leaves), *rows)
    return stacked.pop("inputs"), stacked


def eval_batches(dataset: datasets.Dataset, *, batch_size: int) -> Iterator[HostBatch]:
    """Every example once, in order, in batches of one shape.

    The last batch repeats its last example up to the batch size and gives the copies
    weight 0.

    Args:
      dataset: N examples.
      batch_size: B >= 1.

    Yields:
      As `make_batch`, with 'weight' float32 [B]: 1, or the data set's own 'weight', and
      0 for padding. ceil(N / B) batches.

    Raises:
      ValueError: if `batch_size` is less than 1.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` (={batch_size}) must be at least 1.")
    num_examples = len(dataset.labels)
    for start in range(0, num_examples, batch_size):
        rows = np.arange(start, start + batch_size)
        batch = make_batch(dataset, np.minimum(rows, num_examples - 1), seed=0, step=0)
        weight = (rows < num_examples) * batch.get("weight", np.float32(1))
        yield {**batch, "weight": weight.astype(np.float32)}


def prefetch(items: Iterable[Item], *, size: int = 2) -> Iterator[Item]:
    """The same items, made by a thread up to `size` ahead of their use.

    An error while making an item is raised where that item would have come. Closing the
    iterator early, or leaving it to be collected, ends the thread once the item it is
    making is done.

    Args:
      items: what to iterate over; used by the thread only from here on.
      size: how many finished items may wait, at least 1.

    Returns:
      An iterator over the items, in order.

    Raises:
      ValueError: if `size` is less than 1.
    """
    if size < 1:
        raise ValueError(f"`size` (={size}) must be at least 1.")
    return _prefetched(items, size)


def _prefetched(items: Iterable[Item], size: int) -> Iterator[Item]:
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(size)
    closed = threading.Event()

    def produce() -> None:
        try:
            for item in items:
                ready.put(("item", item))
                if closed.is_set():
                    return
            last: tuple[str, Any] = ("end", None)
        except BaseException as error:
            last = ("error", error)
        if not closed.is_set():
            ready.put(last)

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        while (result := ready.get())[0] == "item":
            yield result[1]
        if result[0] == "error":
            raise result[1]
    finally:
        closed.set()
        # A thread that waits for room puts one more item and then sees it is over.
        while not ready.empty():
            ready.get_nowait()
        thread.join()


# An epoch asks for the same permutation at every step; two for training and a copy.
@functools.lru_cache(maxsize=4)
def _permutation(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    rng = seeds.generator(seeds.Stream.BATCHES, seed, epoch)
    order = rng.permutation(num_examples)
    order.setflags(write=False)
    return order
