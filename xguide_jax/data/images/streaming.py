"""Batches whose inputs are read when they are needed: images, or features of them.

A data set's inputs are then row numbers, int [N], which splits and samples carry along;
labels and annotations lie in memory. A batch is the one that would have come if the
inputs lay there too.
"""

import functools
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from xguide_jax.data import batching, datasets

# int [B] -> [B, ...]: `functools.partial(read_images, images)`, for instance.
ReadRows = Callable[[np.ndarray], np.ndarray]


def streamed_batches(
    dataset: datasets.Dataset,
    read: ReadRows,
    *,
    batch_size: int,
    seed: int,
    augment: batching.Augment | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Callable[[int], batching.HostBatch]:
    """Batches as a function of the step, their inputs read from disk.

    Equal, bit for bit, to `make_batch` of `batch_indices` with all inputs in memory;
    there is no state to save. `training.fit` calls the function two batches ahead, in a
    thread. In a loop of one's own that is `prefetch`, which also passes on errors and
    ends its thread when it is closed:

        batches = data.prefetch(map(batch_at, range(first, num_steps)), size=4)

    Args:
      dataset: N examples, of which 'inputs', int [N], are what `read` takes.
      read: rows -> inputs of the network; it must depend on the rows alone.
      batch_size: B, the examples of all processes together.
      seed: decides all permutations, and the noise of `augment`.
      augment: as for `make_batch`; it sees what `read` returns.
      process_index: p, in 0 .. process_count - 1; the batch of this process is the p-th
        of equal slices.
      process_count: a divisor of `batch_size`.

    Returns:
      step -> batch, as `make_batch` makes it.

    Raises:
      ValueError: if the inputs are no row numbers, or as `batch_indices`.
    """
    _check_rows(dataset)
    indices_at = functools.partial(
        batching.batch_indices,
        len(dataset.labels),
        batch_size=batch_size,
        seed=seed,
        process_index=process_index,
        process_count=process_count,
    )
    indices_at(step=0)  # refuses sizes that do not fit before anything is trained

    def batch_at(step: int) -> batching.HostBatch:
        indices = indices_at(step=step)
        return _make_batch(
            dataset, read, indices, augment=augment, seed=seed, step=step
        )

    return batch_at


def streamed_eval_batches(
    dataset: datasets.Dataset, read: ReadRows, *, batch_size: int
) -> Iterator[batching.HostBatch]:
    """Every example once, in order, in batches of one shape, inputs read from disk.

    Args:
      dataset: as for `streamed_batches`.
      read: likewise.
      batch_size: B >= 1.

    Yields:
      As `eval_batches`, with 'weight' 0 for padding.

    Raises:
      ValueError: if the inputs are no row numbers, or `batch_size` is less than 1.
    """
    _check_rows(dataset)
    for batch in batching.eval_batches(dataset, batch_size=batch_size):
        yield {**batch, "inputs": read(batch["inputs"])}


def _make_batch(
    dataset: datasets.Dataset,
    read: ReadRows,
    indices: np.ndarray,
    *,
    augment: batching.Augment | None,
    seed: int,
    step: int,
) -> batching.HostBatch:
    if augment is None:
        batch = batching.make_batch(dataset, indices, seed=seed, step=step)
        return {**batch, "inputs": read(batch["inputs"])}

    def read_and_augment(
        rng: np.random.Generator, row: np.ndarray, known: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        return augment(rng, read(row[None])[0], known)

    return batching.make_batch(
        dataset, indices, augment=read_and_augment, seed=seed, step=step
    )


def _check_rows(dataset: datasets.Dataset) -> None:
    rows = np.asarray(dataset.inputs)
    if rows.shape != dataset.labels.shape[:1] or rows.dtype.kind not in "iu":
        raise ValueError(
            f"`inputs` ({rows.dtype} {rows.shape}) must be row numbers, int "
            f"[{len(dataset.labels)}], to be streamed: np.arange(N)."
        )
