"""What a step is fed: batches as a function of the step, so that resuming is exact."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.running import flags
from xguide_jax import data

# step -> the batch of this process
BatchAt = Callable[[int], Mapping[str, Any]]


def batches_of(
    dataset: data.Dataset,
    *,
    batch_size: int,
    seed: int,
    augment: data.Augment | None = None,
) -> BatchAt:
    """Batches of a data set, each example once an epoch.

    Args:
      dataset: the training part.
      batch_size: examples a step, over all processes.
      seed: of this repetition.
      augment: as for `data.make_batch`.

    Returns:
      step -> batch.

    Raises:
      RefusedError: if there are fewer examples than a batch has.
    """
    indices_at = _indices_of(dataset, batch_size=batch_size, seed=seed)
    return lambda step: data.make_batch(
        dataset, indices_at(step), augment=augment, seed=seed, step=step
    )


def described_batches(dataset: data.Dataset, *, batch_size: int, seed: int) -> BatchAt:
    """Batches of described images, of each image one of its texts at random.

    Args:
      dataset: the training part, with 'texts' as `data.encode_described` makes them.
      batch_size: examples a step, over all processes.
      seed: of this repetition.

    Returns:
      step -> batch.

    Raises:
      RefusedError: if there are fewer examples than a batch has.
    """
    indices_at = _indices_of(dataset, batch_size=batch_size, seed=seed)

    def batch_at(step: int) -> Mapping[str, Any]:
        indices = indices_at(step)
        batch = data.make_batch(dataset, indices, seed=seed, step=step)
        chosen = data.choose_texts(batch, indices, seed=seed, step=step)
        # The others are not sent to the devices.
        every = ("texts", "texts_mask", "texts_valid")
        return {name: value for name, value in chosen.items() if name not in every}

    return batch_at


def streamed_batches(
    dataset: data.Dataset,
    read: Callable[[np.ndarray], np.ndarray],
    *,
    batch_size: int,
    seed: int,
) -> BatchAt:
    """Batches whose inputs are read from disk, each example once an epoch.

    Args:
      dataset: the training part, of which 'inputs' are rows.
      read: rows -> inputs.
      batch_size: examples a step, over all processes.
      seed: of this repetition.

    Returns:
      step -> batch.

    Raises:
      RefusedError: if there are fewer examples than a batch has.
    """
    _check_size(dataset, batch_size)
    return data.streamed_batches(
        dataset,
        read,
        batch_size=batch_size,
        seed=seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def batches_by_length(
    dataset: data.Dataset,
    *,
    buckets: Sequence[int],
    batch_size: int,
    seed: int,
    augment: data.Augment | None = None,
) -> BatchAt:
    """Batches of texts of about one length, each example at most once an epoch.

    Args:
      dataset: the training part.
      buckets: as for `data.bucketed_batches`.
      batch_size: examples a step, over all processes.
      seed: of this repetition.
      augment: as for `data.make_batch`.

    Returns:
      step -> batch.

    Raises:
      RefusedError: if there are fewer examples than a batch has.
    """
    _check_size(dataset, batch_size)
    return data.bucketed_batches(
        dataset,
        buckets=buckets,
        batch_size=batch_size,
        seed=seed,
        augment=augment,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def batches_with_a_share(
    dataset: data.Dataset,
    chosen: np.ndarray,
    *,
    num_chosen: int,
    batch_size: int,
    seed: int,
) -> BatchAt:
    """Batches of which a fixed number comes from a few chosen examples.

    Args:
      dataset: the training part.
      chosen: int [K], indices of the chosen examples.
      num_chosen: how many of a batch are drawn from them; they stand first.
      batch_size: examples a step, over all processes.
      seed: of this repetition.

    Returns:
      step -> batch.
    """
    draw = _drawing(seed)
    rest = batch_size - num_chosen

    def batch_at(step: int) -> Mapping[str, Any]:
        first = chosen[draw(len(chosen), batch_size=num_chosen, step=step)]
        others = draw(len(dataset.labels), batch_size=rest, step=step)
        indices = np.concatenate([first, others])
        return data.make_batch(dataset, indices, seed=seed, step=step)

    return batch_at


def _indices_of(
    dataset: data.Dataset, *, batch_size: int, seed: int
) -> Callable[[int], np.ndarray]:
    """Step -> the examples of its batch, each once an epoch."""
    _check_size(dataset, batch_size)
    draw = functools.partial(_drawing(seed), len(dataset.labels), batch_size=batch_size)
    return lambda step: draw(step=step)


def _check_size(dataset: data.Dataset, batch_size: int) -> None:
    if batch_size > len(dataset.labels):
        raise flags.RefusedError(
            f"`batch_size` (={batch_size}) must be at most {len(dataset.labels)}, the "
            "number of training examples."
        )


def _drawing(seed: int) -> Callable[..., np.ndarray]:
    """`data.batch_indices` of this process."""
    return functools.partial(
        data.batch_indices,
        seed=seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
