"""Batches of texts of about one length, so that padding costs little.

A compiled step takes one shape, and each further shape is compiled once more; a few
lengths, 64, 128 and 256 say, are a compromise. `T` is the length of the data set.
"""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from xguide_jax.data import batching, datasets, seeds, trees


def bucketed_batches(
    dataset: datasets.Dataset,
    *,
    buckets: Sequence[int],
    batch_size: int,
    seed: int,
    augment: batching.Augment | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Callable[[int], batching.HostBatch]:
    """Batches as a function of the step, each of examples that fit into one bucket.

    An example belongs to the shortest bucket that holds its tokens. Each epoch is a
    permutation drawn from (seed, epoch), dealt out bucket by bucket; what a bucket has
    left over stands first in the next longer one, so that an epoch has floor(N / B)
    batches and none of the shorter examples is forgotten because they are few. The
    batches then come in an order of the same draw. No example is seen twice in an
    epoch.

    Args:
      dataset: N examples with 'mask' [N, T] among the inputs, as of `tokenise`.
      buckets: lengths, rising, of which the last holds every example.
      batch_size: B, the examples of all processes together.
      seed: decides all permutations.
      augment: as for `make_batch`; it sees examples of length T.
      process_index: p, in 0 .. process_count - 1; the batch of this process is the p-th
        of equal slices.
      process_count: a divisor of `batch_size`.

    Returns:
      step -> batch, as `make_batch` makes it, with every array [B, T, ...] cut to the
      length of its bucket; a function of (seed, step) alone.

    Raises:
      ValueError: if the buckets do not rise or do not hold an example, the inputs have
        no mask, or as `batch_indices`.
    """
    num_examples = len(dataset.labels)
    bucket = _buckets_of(dataset, buckets)
    # Refuses sizes that cannot be dealt out, before anything is trained.
    deal = functools.partial(
        batching.batch_indices,
        batch_size=batch_size,
        seed=seed,
        process_index=process_index,
        process_count=process_count,
    )
    share = len(deal(num_examples, step=0))
    per_epoch = num_examples // batch_size

    @functools.lru_cache(maxsize=2)
    def plan(epoch: int) -> list[tuple[int, np.ndarray]]:
        rng = seeds.generator(seeds.Stream.BATCHES, seed, epoch)
        order = rng.permutation(num_examples)
        batches, left = [], order[:0]
        for number, length in enumerate(buckets):
            rows = np.concatenate([left, order[bucket[order] == number]])
            whole = len(rows) - len(rows) % batch_size
            parts = rows[:whole].reshape(-1, batch_size)
            batches += [(length, part) for part in parts]
            left = rows[whole:]
        return [batches[i] for i in rng.permutation(per_epoch)]

    def batch_at(step: int) -> batching.HostBatch:
        if step < 0:
            raise ValueError(f"`step` (={step}) must be at least 0.")
        epoch, number = divmod(operator.index(step), per_epoch)
        length, rows = plan(epoch)[number]
        mine = rows[process_index * share : (process_index + 1) * share]
        batch = batching.make_batch(
            dataset, mine, augment=augment, seed=seed, step=step
        )
        return _cut(batch, length)

    return batch_at


def bucketed_eval_batches(
    dataset: datasets.Dataset, *, buckets: Sequence[int], batch_size: int
) -> Iterator[batching.HostBatch]:
    """Every example once, the short ones first, in batches of one shape a bucket.

    Args:
      dataset: as for `bucketed_batches`.
      buckets: lengths, rising, of which the last holds every example.
      batch_size: B >= 1.

    Yields:
      As `eval_batches` of the examples of each bucket, cut to its length; the
      annotation 'row' says which they are.

    Raises:
      ValueError: if the buckets do not rise or do not hold an example, or the inputs
        have no mask.
    """
    bucket = _buckets_of(dataset, buckets)
    for number, length in enumerate(buckets):
        part = datasets.take(dataset, bucket == number)
        for batch in batching.eval_batches(part, batch_size=batch_size):
            yield _cut(batch, length)


def _buckets_of(dataset: datasets.Dataset, buckets: Sequence[int]) -> np.ndarray:
    """Int [N], the place of each example's bucket."""
    if "mask" not in dataset.inputs:
        raise ValueError(
            f"`dataset` needs 'mask' among its inputs; it has {sorted(dataset.inputs)}."
        )
    mask = dataset.inputs["mask"]
    if not buckets or np.any(np.diff([0, *buckets]) <= 0):
        raise ValueError(f"`buckets` (={tuple(buckets)}) must be lengths that rise.")
    # Up to the last token; of none, argmax says the same as of a whole row.
    padding = np.argmax(mask[:, ::-1], axis=1)
    lengths = np.where(mask.any(axis=1), mask.shape[1] - padding, 0)
    longest = int(np.max(lengths, initial=0))
    if longest > buckets[-1]:
        raise ValueError(
            f"`buckets` (={tuple(buckets)}) must hold every example; one has {longest} "
            "tokens."
        )
    return np.searchsorted(buckets, lengths)


def _cut(batch: batching.HostBatch, length: int) -> batching.HostBatch:
    full = batch["inputs"]["mask"].shape[1]

    def cut(leaf: np.ndarray) -> np.ndarray:
        return leaf[:, :length] if leaf.shape[1:2] == (full,) else leaf

    return trees.map_leaves(cut, batch)
