"""What a data set is here: arrays that share their first axis, and checks on them.

`N` is the number of examples. Annotations stand beside the inputs under the names that
guidance terms ask for: 'region' [N, H, W], 'boxes' [N, boxes, 4] with 'boxes_valid',
'region_valid' [N], groups, token marks and the like.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Stream(enum.IntEnum):
    """One stream of random numbers for each thing that a seed decides.

    Without it, the split and the first epoch drawn with one seed would be the same
    permutation: trailing zeros of a NumPy seed sequence do not count.
    """

    SPLIT = 1
    BATCHES = 2
    AUGMENTATION = 3
    ANNOTATED = 4
    TEXTURES = 5
    SWATCHES = 6


def generator(stream: Stream, *numbers: int) -> np.random.Generator:
    """The random numbers of one stream, a function of the numbers alone.

    Args:
      stream: what they decide.
      numbers: whole numbers at least 0, e.g. seed and step.

    Returns:
      A NumPy generator.
    """
    return np.random.default_rng((int(stream), *numbers))


class Dataset(NamedTuple):
    """Examples with labels and annotations, all indexed by their first axis.

    Attributes:
      inputs: [N, ...], float32 for the loaders of this package.
      labels: int32 [N], in 0 .. len(class_names) - 1.
      class_names: what the labels stand for.
      annotations: {name: [N, ...]}.
    """

    inputs: np.ndarray
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
      IndexError: if an index lies outside.
    """
    indices = np.asarray(indices)
    return dataset._replace(
        inputs=dataset.inputs[indices],
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
      ValueError: if the fractions are negative or do not sum to 1.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(
            f"`fractions` (={tuple(fractions)}) must be at least 0 and sum to 1."
        )
    num_examples = len(dataset.labels)
    order = generator(Stream.SPLIT, seed).permutation(num_examples)
    ends = np.rint(np.cumsum(fractions) * num_examples).astype(int)
    return tuple(take(dataset, part) for part in np.split(order, ends[:-1]))


def validate(dataset: Dataset) -> None:
    """Checks a data set on the host, where a bad value can still be named.

    Inside a compiled step a label out of range becomes NaN or vanishes silently.

    Args:
      dataset: N examples.

    Raises:
      ValueError: naming the array and the row, if lengths differ, a number is NaN or
        infinite, a label is no index into `class_names`, or a box is inverted.
    """
    rows = {"inputs": dataset.inputs, "labels": dataset.labels, **dataset.annotations}
    validate_batch(rows, num_classes=len(dataset.class_names))


def validate_batch(batch: Mapping[str, np.ndarray], *, num_classes: int) -> None:
    """Checks one batch as `validate` checks a data set.

    Args:
      batch: 'inputs' [B, ...], 'labels' [B] and annotations [B, ...]. 'boxes' are
        `(x0, y0, x1, y1)`; those not in 'boxes_valid' [B, N] may hold anything.
      num_classes: C; labels lie in 0 .. C - 1.

    Raises:
      ValueError: as `validate`, or if 'inputs' or 'labels' are missing.
    """
    arrays = {name: np.asarray(array) for name, array in batch.items()}
    missing = sorted({"inputs", "labels"} - arrays.keys())
    if missing:
        raise ValueError(f"a batch needs {missing}; it has {sorted(arrays)}.")
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) != len(arrays["inputs"]):
            raise ValueError(
                f"`{name}` has shape {array.shape}, but `inputs` hold "
                f"{len(arrays['inputs'])} examples."
            )
    _check_labels(arrays["labels"], num_classes)
    used_boxes = arrays.get("boxes_valid")
    for name, array in arrays.items():
        if name == "boxes":
            _check_boxes(array, used_boxes)
        elif array.dtype.kind == "f":
            _raise_at_first(~np.isfinite(array), array, f"`{name}`", "be finite")


def _check_labels(labels: np.ndarray, num_classes: int) -> None:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`labels` ({labels.dtype} {labels.shape}) must be whole numbers, one an "
            "example."
        )
    outside = (labels < 0) | (labels >= num_classes)
    _raise_at_first(outside, labels, "`labels`", f"lie in 0 .. {num_classes - 1}")


def _check_boxes(boxes: np.ndarray, valid: np.ndarray | None) -> None:
    if boxes.ndim != 3 or boxes.shape[-1] != 4:
        raise ValueError(f"`boxes` has shape {boxes.shape}, not [B, N, 4].")
    used = np.ones(boxes.shape[:2], bool) if valid is None else valid.astype(bool)
    infinite = ~np.all(np.isfinite(boxes), axis=-1)
    _raise_at_first(infinite & used, boxes, "`boxes`", "be finite")
    inverted = np.any(boxes[..., 2:] < boxes[..., :2], axis=-1)
    _raise_at_first(
        inverted & used, boxes, "`boxes`", "have x0 <= x1 and y0 <= y1 (inverted)"
    )


def _raise_at_first(bad: np.ndarray, values: np.ndarray, name: str, rule: str) -> None:
    if bad.any():
        place = tuple(np.argwhere(bad)[0].tolist())
        where = f"row {place[0]}" + (f", at {list(place[1:])}" if place[1:] else "")
        raise ValueError(f"{name} (={values[place].tolist()}) in {where} must {rule}.")
