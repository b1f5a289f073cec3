"""Accuracy by group and the amplification of a bias, of whole numbers on the host."""

from typing import Any, NamedTuple

import numpy as np

from xguide_jax import metrics
from xguide_jax.evaluation import summary
from xguide_jax.types import Array

# Of `top_class`: no label is -1, so such a prediction is wrong.
NO_CLASS = -1


class GroupAccuracy(NamedTuple):
    """How often predictions are right, group by group.

    Attributes:
      accuracy: float64 [G], NaN of a group without a defined row.
      num_examples: int64 [G], the examples a group, undefined ones too.
      num_undefined: int64 [G], the rows a group that the accuracy leaves out.
      worst: the smallest accuracy; NaN where a group has examples and no defined row.
      balanced: the mean accuracy of the groups that have one.
    """

    accuracy: np.ndarray
    num_examples: np.ndarray
    num_undefined: np.ndarray
    worst: float
    balanced: float


class BiasAmplification(NamedTuple):
    """How far predictions follow an attribute beyond what the labels do.

    Attributes:
      value: in [−1, 1], above 0 for an amplified bias; NaN if no attribute occurs.
      num_defined: the predictions that it rests on.
      num_values: how many there were.
    """

    value: float
    num_defined: int
    num_values: int


def top_class(logits: Array | np.ndarray) -> np.ndarray:
    """The top class of each row, and −1 of a row that holds a NaN.

    `argmax` alone returns the place of a NaN: a network that broke would predict its
    first class, and be right as often as that class occurs.

    Args:
      logits: float [N, C].

    Returns:
      int64 [N].
    """
    values = np.asarray(logits, np.float64)
    return np.where(np.isnan(values).any(axis=-1), NO_CLASS, values.argmax(axis=-1))


def macro_f1(
    predicted: Array | np.ndarray, labels: Array | np.ndarray, *, num_classes: int
) -> float:
    """The mean over the classes of 2 TP / (2 TP + FP + FN), rare classes alike.

    Args:
      predicted: int [N], −1 for no class, as `top_class` has it: a miss of the label.
      labels: int [N], in [0, num_classes).
      num_classes: C, at least 1.

    Returns:
      In [0, 1]. A class that neither occurs nor is predicted is left out; NaN if none
      is left.

    Raises:
      ValueError: if the two differ in shape, are not [N], a label is out of range or
        `num_classes` is less than 1.
    """
    said, true = np.asarray(predicted), np.asarray(labels)
    if said.shape != true.shape or said.ndim != 1:
        raise ValueError(
            f"`predicted` {said.shape} and `labels` {true.shape} must both be [N]."
        )
    if num_classes < 1:
        raise ValueError(f"`num_classes` (={num_classes}) must be at least 1.")
    if len(true) and not 0 <= true.min() <= true.max() < num_classes:
        raise ValueError(
            f"`labels` must lie in 0 .. {num_classes - 1}, not {true.min()} .. "
            f"{true.max()}."
        )
    scores = []
    for number in range(num_classes):
        found = np.sum((said == number) & (true == number))
        wanted = np.sum(said == number) + np.sum(true == number)
        if wanted:
            scores.append(2 * found / wanted)
    return float(np.mean(scores)) if scores else float("nan")


def accuracy_by_group(
    correct: Array | np.ndarray, groups: Array | np.ndarray, *, num_groups: int
) -> GroupAccuracy:
    """Accuracy within each group, in the worst, and with all groups counted alike.

    Args:
      correct: bool or float [N], NaN where undefined; of a `top_class` that is none,
        `predicted == labels` is False: wrong, not undefined.
      groups: int [N], in [0, num_groups).
      num_groups: G, at least 1.

    Returns:
      A `GroupAccuracy`.

    Raises:
      ValueError: if `num_groups` is below 1, or a group is out of range.
      AssertionError: if the shapes differ or are not rank 1, or groups are not int.
    """
    rows: Any = (correct, groups)
    accuracy: Any
    count: Any
    accuracy, count = metrics.group_accuracy(*rows, num_groups=num_groups)
    return GroupAccuracy(
        accuracy=accuracy,
        num_examples=count,
        num_undefined=metrics.group_undefined(*rows, num_groups=num_groups),
        worst=metrics.worst_group(accuracy, count=count),
        balanced=summary.summarise(accuracy).mean,
    )


def bias_amplification(
    predicted: np.ndarray,
    labels: np.ndarray,
    attributes: np.ndarray,
    *,
    num_classes: int,
    num_attributes: int,
) -> BiasAmplification:
    """Directional amplification, from attribute to class, of one label an example.

    `metrics.bias_amplification_attribute_to_task` of the one-hot classes and
    attributes, over the examples that have a prediction.

    Args:
      predicted: int [N], in [0, num_classes), or −1 where there is no prediction.
      labels: int [N], in [0, num_classes).
      attributes: int [N], in [0, num_attributes).
      num_classes: C, at least 1.
      num_attributes: A, at least 1.

    Returns:
      A `BiasAmplification`.

    Raises:
      ValueError: if the lengths differ or a number is out of range.
    """
    if not len(predicted) == len(labels) == len(attributes):
        raise ValueError(
            f"{len(predicted)} `predicted`, {len(labels)} `labels` and "
            f"{len(attributes)} `attributes` must be of the same examples."
        )
    defined = np.asarray(predicted) != NO_CLASS
    sides = (
        ("predicted", predicted, num_classes),
        ("labels", labels, num_classes),
        ("attributes", attributes, num_attributes),
    )
    flags: Any = [_one_hot(name, v, size)[defined] for name, v, size in sides]
    value = metrics.bias_amplification_attribute_to_task(*flags)
    return BiasAmplification(value, int(defined.sum()), len(defined))


def _one_hot(name: str, values: np.ndarray, size: int) -> np.ndarray:
    """Int [N, size]; an index of −1 would otherwise be the last class."""
    values = np.asarray(values)
    lowest = NO_CLASS if name == "predicted" else 0
    if np.any((values < lowest) | (values >= size)):
        raise ValueError(f"`{name}` must lie in [{lowest}, {size}).")
    return (values[:, None] == np.arange(size)).astype(int)
