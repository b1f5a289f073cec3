import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics

amplification = metrics.bias_amplification_attribute_to_task


def test_accuracy_within_each_group():
    correct = jnp.array([1, 0, 1, 1, 0, 1], bool)
    groups = jnp.array([0, 0, 2, 2, 2, 0])
    accuracy, count = metrics.group_accuracy(correct, groups, num_groups=4)
    # Group 0: 1, 0, 1; group 2: 1, 1, 0; groups 1 and 3 have no example.
    np.testing.assert_allclose(accuracy, [2 / 3, np.nan, 2 / 3, np.nan])
    np.testing.assert_array_equal(count, [3, 0, 3, 0])
    correct = jnp.array([0, 0, 1, 1, 0, 1], bool)
    accuracy, _ = metrics.group_accuracy(correct, groups, num_groups=3)
    np.testing.assert_allclose(accuracy, [1 / 3, np.nan, 2 / 3])


def test_group_accuracies_average_to_the_accuracy():
    rng = np.random.default_rng(0)
    correct, groups = rng.uniform(size=50) < 0.7, rng.integers(5, size=50)
    accuracy, count = metrics.group_accuracy(correct, groups, num_groups=5)
    np.testing.assert_allclose(np.sum(accuracy * count) / 50, correct.mean())
    for group in range(5):
        np.testing.assert_allclose(accuracy[group], correct[groups == group].mean())


def test_the_worst_group_is_the_worst_that_has_examples():
    assert metrics.worst_group(np.array([0.9, np.nan, 0.25, 0.5])) == 0.25
    assert metrics.worst_group(jnp.array([0.75])) == 0.75
    assert np.isnan(metrics.worst_group(np.array([np.nan, np.nan])))


def test_an_undefined_row_is_left_out_and_hides_no_group():
    correct = np.array([1.0, 1.0, 0.0, np.nan])
    groups = np.array([0, 0, 1, 1])
    accuracy, count = metrics.group_accuracy(correct, groups, num_groups=2)
    np.testing.assert_array_equal(accuracy, [1.0, 0.0])
    np.testing.assert_array_equal(count, [2, 2])
    assert metrics.worst_group(accuracy) == 0.0
    undefined = metrics.group_undefined(correct, groups, num_groups=2)
    np.testing.assert_array_equal(undefined, [0, 1])


def test_undefined_rows_weigh_nothing_in_the_mean_of_their_group():
    correct = np.array([1.0, np.nan, 0.0, np.nan, 1.0, 0.5])
    groups = np.array([2, 2, 2, 0, 2, 2])
    accuracy, count = metrics.group_accuracy(correct, groups, num_groups=3)
    # Group 2 over its four defined rows: (1 + 0 + 1 + 0.5) / 4.
    np.testing.assert_array_equal(accuracy, [np.nan, np.nan, 0.625])
    np.testing.assert_array_equal(count, [1, 0, 5])
    undefined = metrics.group_undefined(correct, groups, num_groups=3)
    np.testing.assert_array_equal(undefined, [1, 0, 1])
    assert undefined.dtype == np.int64


def test_a_group_of_undefined_rows_is_not_an_empty_group():
    # The last has examples, and nobody knows how bad it is.
    accuracy = np.array([0.9, np.nan, np.nan])
    assert np.isnan(metrics.worst_group(accuracy, count=np.array([5, 0, 2])))
    assert metrics.worst_group(accuracy, count=np.array([5, 0, 0])) == 0.9
    assert metrics.worst_group(jnp.array([0.9, 0.5]), count=np.array([5, 2])) == 0.5
    assert np.isnan(metrics.worst_group(accuracy[1:], count=np.array([0, 0])))
    with pytest.raises(AssertionError, match="shape"):
        metrics.worst_group(accuracy, count=np.array([5, 0]))


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, "bfloat16", "float16"])
def test_groups_are_counted_exactly_in_any_type(dtype):
    # 776 of 777 would be 1 in bfloat16, and the sum of a uint8 would wrap.
    correct = np.ones(777).astype(jnp.dtype(dtype))
    correct[5] = 0
    accuracy, count = metrics.group_accuracy(correct, 0 * np.arange(777), num_groups=1)
    np.testing.assert_allclose(accuracy, 776 / 777, rtol=1e-15)
    assert count == 777
    assert metrics.worst_group(jnp.asarray([0.5, 1.0], jnp.bfloat16)) == 0.5


@pytest.mark.parametrize("group", [-1, 3])
def test_a_group_out_of_range_is_named(group):
    groups = np.array([0, 2, group, group])
    with pytest.raises(
        ValueError, match=rf"`groups`\[2\] \(={group}\) must lie in \[0"
    ):
        metrics.group_accuracy(np.ones(4, bool), groups, num_groups=3)


def test_without_groups_there_is_nothing_to_measure():
    with pytest.raises(ValueError, match=r"`num_groups` \(=0\) must be at least 1"):
        metrics.group_accuracy(np.ones(1, bool), np.zeros(1, int), num_groups=0)
    with pytest.raises(AssertionError, match="shape"):
        metrics.group_accuracy(np.ones(2, bool), np.zeros(1, int), num_groups=1)


def test_predictions_that_follow_the_attribute_amplify_the_bias():
    # Attribute in the first four of eight; the task in 3 of these and in 1 of the rest.
    attributes = np.array([[1]] * 4 + [[0]] * 4)
    tasks = np.array([1, 1, 1, 0, 1, 0, 0, 0])[:, None]
    # y = sign(3/8 - 1/2 * 1/2) = 1; P(T̂ | A) - P(T | A) = 4/4 - 3/4.
    assert amplification(attributes, tasks, attributes) == 0.25
    # Without the attribute y = sign(1/8 - 1/4) = -1, and 0/4 - 1/4 amplifies as well.
    both = np.concatenate([attributes, 1 - attributes], axis=1)
    assert amplification(attributes, tasks, both) == 0.25
    # Predictions against the attribute: 0/4 - 3/4.
    assert amplification(1 - attributes, tasks, attributes) == -0.75


def test_perfect_predictions_amplify_nothing():
    rng = np.random.default_rng(1)
    tasks, attributes = rng.integers(2, size=(2, 30, 4))
    assert amplification(tasks, tasks, attributes) == 0.0


def test_an_independent_attribute_counts_nothing():
    attributes, tasks = (
        np.array(flags)[:, None]
        for flags in zip(*itertools.product([0, 1], [0, 1]), strict=True)
    )
    assert amplification(attributes, tasks, attributes) == 0.0


def test_equals_the_definition_in_probabilities():
    rng = np.random.default_rng(2)
    predicted, tasks = rng.integers(2, size=(2, 40, 3)).astype(bool)
    attributes = rng.integers(2, size=(40, 2)).astype(bool)
    pairs = []
    for a, t in itertools.product(range(2), range(3)):
        chosen = attributes[:, a]
        joint = np.mean(chosen & tasks[:, t])
        sign = np.sign(joint - np.mean(chosen) * np.mean(tasks[:, t]))
        pairs.append(sign * (predicted[chosen, t].mean() - tasks[chosen, t].mean()))
    assert abs(np.mean(pairs)) > 1e-3
    np.testing.assert_allclose(
        amplification(predicted, tasks, attributes), np.mean(pairs), rtol=1e-12
    )


def test_attributes_that_never_occur_are_left_out():
    attributes = np.array([[1, 0]] * 4 + [[0, 0]] * 4)
    tasks = np.array([1, 1, 1, 0, 1, 0, 0, 0])[:, None]
    assert amplification(attributes[:, :1], tasks, attributes) == 0.25
    assert np.isnan(amplification(tasks, tasks, 0 * attributes))


def test_only_zeros_and_ones_are_counted():
    flags = np.zeros((3, 1), int)
    for name, arguments in (
        ("predicted_tasks", (flags + 2, flags, flags)),
        ("tasks", (flags, flags - 1, flags)),
        ("attributes", (flags, flags, flags + 0.5)),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must hold 0 and 1 only"):
            amplification(*arguments)
    with pytest.raises(AssertionError, match="shape"):
        amplification(flags, flags[:2], flags)


def test_the_mean_of_a_metric_by_group():
    energy = np.array([0.5, 0.25, np.nan, 1.0])
    mean, count = metrics.group_mean(energy, np.array([1, 1, 2, 1]), num_groups=4)
    np.testing.assert_allclose(mean, [np.nan, 1.75 / 3, np.nan, np.nan])
    np.testing.assert_array_equal(count, [0, 3, 1, 0])


def test_amplification_from_the_task_to_the_attribute():
    backwards = metrics.bias_amplification_task_to_attribute
    # The attribute is in 3 of the 4 with the task, and in 1 of the 4 without.
    tasks = np.array([[1]] * 4 + [[0]] * 4)
    attributes = np.array([1, 1, 1, 0, 1, 0, 0, 0])[:, None]
    assert backwards(tasks, attributes, tasks) == 0.25  # 4/4 - 3/4
    assert backwards(1 - tasks, attributes, tasks) == -0.75
    assert backwards(attributes, attributes, tasks) == 0
    assert np.isnan(backwards(attributes, attributes, 0 * tasks))
    rng = np.random.default_rng(3)
    predicted, first = rng.integers(2, size=(2, 40, 3))
    second = rng.integers(2, size=(40, 2))
    assert backwards(predicted, first, second) == amplification(
        predicted, first, second
    )
    with pytest.raises(ValueError, match="`predicted_attributes` must hold 0 and 1"):
        backwards(2 * tasks, attributes, tasks)
    with pytest.raises(AssertionError, match="shape"):
        backwards(tasks[:3], attributes, tasks)
    with pytest.raises(AssertionError, match="shape"):
        backwards(tasks, attributes, tasks[:3])
