"""What a data set is here: arrays that share their first axis.

`N` is the number of examples, that of the labels. Inputs are one array, or a dict of
them where a network takes several: {'tokens', 'mask', 'segments'}. Annotations stand
beside the inputs under the names that guidance terms ask for: 'region' [N, H, W],
'boxes' [N, boxes, 4] with 'boxes_valid', 'region_valid' [N], groups, token marks and
the like.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from xguide_jax.data import seeds, trees


class Dataset(NamedTuple):
    """Examples with labels and annotations, all indexed by their first axis.

    Attributes:
      inputs: [N, ...], float32 for the image loaders of this package; or a dict
        of such arrays, nested or not: {'tokens': int32 [N, T], 'mask': bool [N, T]}.
      labels: int32 [N], in 0 .. len(class_names) - 1; or, where an example may have
        several classes or none, multi-hot [N, len(class_names)] of 0 and 1.
      class_names: what the labels stand for.
      annotations: {name: [N, ...]}.
    """

    inputs: Any
    labels: np.ndarray
    class_names: tuple[str, ...]
    annotations: Mapping[str, np.ndarray] = {}


def take(dataset: Dataset, indices: np.ndarray) -> Dataset:
    """The examples at `indices`, in that order, with their annotations.

    Args:
      dataset: N examples.
      indices: int [K] in 0 .. N - 1, or bool [N].

    Returns:
      A data set that shares no memory with `dataset`.

    Raises:
      IndexError: if an index lies outside, also below 0, where NumPy counts from the
        end; or if the indices are no list of whole numbers and no mask of all N.
    """
    indices = _checked_indices(np.asarray(indices), len(dataset.labels))
    return dataset._replace(
        inputs=trees.map_leaves(lambda leaf: leaf[indices], dataset.inputs),
        labels=dataset.labels[indices],
        annotations={k: v[indices] for k, v in dataset.annotations.items()},
    )


def split(
    dataset: Dataset, *, seed: int, fractions: Sequence[float] = (0.8, 0.1, 0.1)
) -> tuple[Dataset, ...]:
    """Disjoint parts that cover the data set, by a seeded permutation.

    Part i holds the permuted examples from round(N Σ_{j<i} f_j) to round(N Σ_{j<=i}
    f_j). Sorted data sets are so shuffled on the way.

    Args:
      dataset: N examples.
      seed: decides the permutation, together with N alone.
      fractions: the share of each part, usually training, validation and test.

    Returns:
      One data set for each fraction, in order.

    Raises:
      ValueError: if the fractions are negative, no numbers, or do not sum to 1.
    """
    # Said this way round, NaN does not pass.
    partition = (
        all(share >= 0 for share in fractions) and abs(sum(fractions) - 1) <= 1e-6
    )
    if not partition:
        raise ValueError(
            f"`fractions` (={tuple(fractions)}) must be at least 0 and sum to 1."
        )
    num_examples = len(dataset.labels)
    order = seeds.generator(seeds.Stream.SPLIT, seed).permutation(num_examples)
    ends = np.rint(np.cumsum(fractions) * num_examples).astype(int)
    return tuple(take(dataset, part) for part in np.split(order, ends[:-1]))


def check_names(dataset: Dataset) -> None:
    """Refuses annotations that would take the place of inputs or labels in a batch.

    Args:
      dataset: any.

    Raises:
      ValueError: naming them.
    """
    taken = sorted({"inputs", "labels"} & dataset.annotations.keys())
    if taken:
        raise ValueError(f"annotations must not be called {taken}: a batch has those.")


def _checked_indices(indices: np.ndarray, num_examples: int) -> np.ndarray:
    if indices.size == 0 and indices.ndim == 1:
        return indices.astype(int)
    is_mask = indices.dtype == bool and indices.shape == (num_examples,)
    if not is_mask and (indices.ndim != 1 or indices.dtype.kind not in "iu"):
        raise IndexError(
            f"`indices` ({indices.dtype} {indices.shape}) must be int [K] or bool "
            f"[{num_examples}]."
        )
    outside = np.flatnonzero((indices < 0) | (indices >= num_examples))
    if not is_mask and len(outside):
        raise IndexError(
            f"`indices` (={indices[outside[0]]}, at {outside[0]}) must lie in 0 .. "
            f"{num_examples - 1}."
        )
    return indices
