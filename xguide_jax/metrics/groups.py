"""Means by group, and how far predictions amplify a bias of the data.

Groups and attributes are used for evaluation only. Everything here runs on the host,
over a whole evaluation set rather than a batch. How far groups are apart: `parity`.
"""

import functools

import chex
import numpy as np

from xguide_jax.types import Array


def group_accuracy(
    correct: Array, groups: Array, *, num_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy within each group, over the rows where it is defined.

    A group without examples and a group of which every example is undefined both have
    NaN; the first has a count of 0. `group_undefined` says how many rows were left out.

    Args:
      correct: bool or float [N], whether each example was predicted correctly; NaN
        where that is undefined, as `removal_curve` has it.
      groups: int [N], the group of each example, in [0, num_groups).
      num_groups: G, at least 1.

    Returns:
      float64 [G], NaN for a group without a defined row; int64 [G], the examples a
      group, undefined ones too.

    Raises:
      ValueError: if `num_groups` is below 1, or a group is out of range (the first such
        row is named).
      AssertionError: if the shapes differ or are not rank 1, or groups are not int.
    """
    return group_mean(correct, groups, num_groups=num_groups)


def group_mean(
    values: Array, groups: Array, *, num_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of a metric within each group, over the rows where it is defined.

    Of the energy pointing game it is the energy by group, of a removal curve's area the
    faithfulness by group. Undefined rows as for `group_accuracy`.

    Args:
      values: bool or float [N], one value an example; NaN where undefined.
      groups: int [N], the group of each example, in [0, num_groups).
      num_groups: G, at least 1.

    Returns:
      float64 [G], NaN for a group without a defined row; int64 [G], the examples a
      group, undefined ones too.

    Raises:
      ValueError: if `num_groups` is below 1, or a group is out of range (the first such
        row is named).
      AssertionError: if the shapes differ or are not rank 1, or groups are not int.
    """
    numbers, group = _checked(values, groups, num_groups)
    defined = ~np.isnan(numbers)
    total = functools.partial(np.bincount, minlength=num_groups)
    sums = total(group[defined], weights=numbers[defined])
    count = total(group[defined])
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan), total(group)


def group_undefined(correct: Array, groups: Array, *, num_groups: int) -> np.ndarray:
    """How many rows `group_accuracy` leaves out of each group.

    Args:
      correct: bool or float [N], NaN where undefined.
      groups: int [N], the group of each example, in [0, num_groups).
      num_groups: G, at least 1.

    Returns:
      int64 [G].

    Raises:
      ValueError: if `num_groups` is below 1, or a group is out of range (the first such
        row is named).
      AssertionError: if the shapes differ or are not rank 1, or groups are not int.
    """
    hit, group = _checked(correct, groups, num_groups)
    return np.bincount(group[np.isnan(hit)], minlength=num_groups)


def worst_group(accuracy: Array, *, count: Array | None = None) -> float:
    """Accuracy of the worst group.

    Args:
      accuracy: float [G], NaN for groups without a defined row.
      count: int [G], the examples a group, as `group_accuracy` returns them. With it, a
        group that has examples and no defined row is not passed over: nobody knows
        whether it is the worst. Without it, it is taken for a group without examples.

    Returns:
      the smallest number, in the range of the accuracy; NaN if there is none, and for
      such a group.

    Raises:
      AssertionError: if `accuracy` is not rank 1, or the shapes differ.
    """
    chex.assert_rank(accuracy, 1)
    values = np.asarray(accuracy, np.float64)
    if count is not None:
        chex.assert_equal_shape([accuracy, count])
        if np.any(np.isnan(values) & (np.asarray(count) > 0)):
            return float("nan")
    # fmin returns the number where one of two is NaN.
    return float(np.fmin.reduce(values, initial=np.nan))


def bias_amplification_attribute_to_task(
    predicted_tasks: Array, tasks: Array, attributes: Array
) -> float:
    """Directional bias amplification from attributes to tasks.

    The mean over pairs (a, t) of y_at (P(T̂_t = 1 | A_a = 1) − P(T_t = 1 | A_a = 1)),
    y_at = sign(P(A_a = 1, T_t = 1) − P(A_a = 1) P(T_t = 1)): above 0 if predictions
    follow the attribute more than the labels do. Counts are whole numbers, so
    independence gives y_at = 0.

    Args:
      predicted_tasks: bool or int [N, T] of 0 and 1.
      tasks: bool or int [N, T] of 0 and 1, the labels.
      attributes: bool or int [N, A] of 0 and 1, e.g. sensitive ones.

    Returns:
      the mean in [−1, 1], over the attributes that occur; NaN if none does.

    Raises:
      ValueError: if an argument holds anything but 0 and 1.
      AssertionError: if the shapes do not fit.

    Source: BiasAmp_{A→T} as the public code of directional bias amplification has it
      (princetonvisualai, `directional-bias-amp`).
    """
    chex.assert_rank([predicted_tasks, tasks, attributes], 2)
    chex.assert_equal_shape([predicted_tasks, tasks])
    chex.assert_equal_shape_prefix([tasks, attributes], 1)
    return _amplification(
        _counts(predicted_tasks, name="predicted_tasks"),
        _counts(tasks, name="tasks"),
        _counts(attributes, name="attributes"),
    )


def bias_amplification_task_to_attribute(
    predicted_attributes: Array, attributes: Array, tasks: Array
) -> float:
    """Directional bias amplification from tasks to attributes.

    The mean over pairs (a, t) of y_at (P(Â_a = 1 | T_t = 1) − P(A_a = 1 | T_t = 1)),
    y_at as for the other direction: above 0 if a network that predicts the attribute
    follows the task more than the labels do.

    Args:
      predicted_attributes: bool or int [N, A] of 0 and 1.
      attributes: bool or int [N, A] of 0 and 1, the labels.
      tasks: bool or int [N, T] of 0 and 1.

    Returns:
      the mean in [−1, 1], over the tasks that occur; NaN if none does.

    Raises:
      ValueError: if an argument holds anything but 0 and 1.
      AssertionError: if the shapes do not fit.

    Source: BiasAmp_{T→A}, Wang, Russakovsky, "Directional Bias Amplification", ICML
      2021; the public code, as above.
    """
    chex.assert_rank([predicted_attributes, attributes, tasks], 2)
    chex.assert_equal_shape([predicted_attributes, attributes])
    chex.assert_equal_shape_prefix([attributes, tasks], 1)
    return _amplification(
        _counts(predicted_attributes, name="predicted_attributes"),
        _counts(attributes, name="attributes"),
        _counts(tasks, name="tasks"),
    )


def _amplification(
    predicted: np.ndarray, labels: np.ndarray, present: np.ndarray
) -> float:
    """How much more predictions than labels go along with what is present."""
    occurrences = present.sum(axis=0)[:, None]
    together = present.T @ labels
    sign = np.sign(len(labels) * together - occurrences * labels.sum(axis=0))
    change = (present.T @ predicted - together) / np.maximum(occurrences, 1)
    occurring = occurrences[:, 0] > 0
    return float((sign * change)[occurring].mean()) if occurring.any() else float("nan")


def _checked(
    correct: Array, groups: Array, num_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Both on the host, `correct` as float64."""
    chex.assert_rank([correct, groups], 1)
    chex.assert_equal_shape([correct, groups])
    chex.assert_type(groups, int)
    if num_groups < 1:
        raise ValueError(f"`num_groups` (={num_groups}) must be at least 1.")
    group = np.asarray(groups)
    outside = (group < 0) | (group >= num_groups)
    if np.any(outside):
        row = np.argmax(outside)
        raise ValueError(
            f"`groups`[{row}] (={group[row]}) must lie in [0, {num_groups})."
        )
    return np.asarray(correct, np.float64), group


def _counts(flags: Array, *, name: str) -> np.ndarray:
    values = np.asarray(flags)
    if not np.isin(values, (0, 1)).all():
        raise ValueError(f"`{name}` must hold 0 and 1 only.")
    return values.astype(np.int64)
