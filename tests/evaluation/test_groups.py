"""Accuracy by group and the amplification of a bias."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import evaluation, metrics

NAN = np.nan


def test_accuracy_by_group_by_hand():
    correct = np.array([1, 0, 1, 1, NAN, 0, 1])
    groups = np.array([0, 0, 0, 1, 1, 3, 3])
    found = evaluation.accuracy_by_group(correct, groups, num_groups=4)
    np.testing.assert_allclose(found.accuracy, [2 / 3, 1, NAN, 0.5])
    np.testing.assert_array_equal(found.num_examples, [3, 2, 0, 2])
    np.testing.assert_array_equal(found.num_undefined, [0, 1, 0, 0])
    assert found.worst == 0.5
    np.testing.assert_allclose(found.balanced, (2 / 3 + 1 + 0.5) / 3)


def test_a_group_of_which_nothing_is_known_may_be_the_worst():
    correct, groups = np.array([1, 0, NAN]), np.array([0, 0, 1])
    found = evaluation.accuracy_by_group(correct, groups, num_groups=2)
    assert np.isnan(found.worst)
    assert found.balanced == 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lost = evaluation.accuracy_by_group(
            np.full(3, NAN), np.array([0, 1, 1]), num_groups=2
        )
    assert np.isnan([lost.worst, lost.balanced]).all()


def test_logits_with_a_nan_predict_nothing():
    logits = jnp.array([[0.0, 1.0], [NAN, 1.0], [2.0, 1.0], [0.0, NAN]])
    predicted = evaluation.top_class(logits)
    np.testing.assert_array_equal(predicted, [1, -1, 0, -1])
    narrow = evaluation.top_class(logits.astype(jnp.bfloat16))
    np.testing.assert_array_equal(narrow, predicted)


def amplification(predicted, labels, attributes, **sizes):
    sizes = {"num_classes": 2, "num_attributes": 2} | sizes
    return evaluation.bias_amplification(
        np.array(predicted), np.array(labels), np.array(attributes), **sizes
    )


def test_bias_amplification_by_hand():
    # P(label 0 | attribute 0) = 2/3 and of 1 1/3: above independence for equal ones.
    labels, attributes = [0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1]
    # Predictions that are the attribute change all four by 1/3 in its direction.
    found = amplification(attributes, labels, attributes)
    np.testing.assert_allclose(found.value, 1 / 3)
    assert amplification(labels, labels, attributes) == (0.0, 6, 6)


def test_bias_is_measured_where_there_is_a_prediction():
    rng = np.random.default_rng(0)
    # Of two attributes, not to be the one is to be the other.
    labels, attributes, predicted = rng.integers(3, size=(3, 40))
    known = np.arange(40) % 3 > 0
    sizes = {"num_classes": 3, "num_attributes": 3}
    part = amplification(predicted[known], labels[known], attributes[known], **sizes)
    found = amplification(
        np.where(known, predicted, evaluation.NO_CLASS), labels, attributes, **sizes
    )
    assert found == (part.value, known.sum(), 40)
    expected = metrics.bias_amplification_attribute_to_task(
        *(np.eye(3, dtype=int)[v[known]] for v in (predicted, labels, attributes)),
    )
    assert found.value == expected != 0


def test_errors():
    with pytest.raises(ValueError, match="2 `predicted`, 1 `labels` and 2"):
        amplification([0, 1], [0], [0, 1])
    with pytest.raises(ValueError, match=r"`labels` must lie in \[0, 2\)"):
        amplification([0, 1], [0, -1], [0, 1])
    with pytest.raises(ValueError, match=r"`predicted` must lie in \[-1, 2\)"):
        amplification([0, 2], [0, 1], [0, 1])


def test_macro_f1_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, -1, 0])
    # 2 TP / (2 TP + FP + FN): class 0 has 2 hits of 3 said and 3 true, class 1 one of
    # two and two, class 2 none.
    f1 = [4 / 6, 2 / 4, 0.0]
    found = evaluation.macro_f1(predicted, labels, num_classes=3)
    assert found == pytest.approx(np.mean(f1))
    # A class that nobody knows is left out, and a constant answer is no good one.
    assert evaluation.macro_f1(predicted, labels, num_classes=4) == found
    assert evaluation.macro_f1([0, 0], [0, 1], num_classes=2) == pytest.approx(1 / 3)
    assert np.isnan(evaluation.macro_f1([], [], num_classes=2))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([0], [0, 1], 2), "must both be"),
        (([0], [2], 2), "`labels` must lie in 0 .. 1"),
        (([0], [0], 0), "`num_classes` .=0."),
    ],
)
def test_macro_f1_refuses_what_does_not_fit(given, message):
    predicted, labels, num_classes = given
    with pytest.raises(ValueError, match=message):
        evaluation.macro_f1(predicted, labels, num_classes=num_classes)
