"""Softmax and sigmoid heads: their losses, and what counts as right."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import testing, training
from xguide_jax.types import ModelOutput

NOTHING = optax.identity()
LOGITS = jnp.array([[2.0, -1.0, 0.5], [-3.0, 1.0, 0.0]])
MULTI_HOT = jnp.array([[1, 0, 0], [0, 1, 1]])


def test_one_logit_has_the_cross_entropy_of_two_of_which_one_is_zero(x64):
    logits = jnp.linspace(-4.0, 4.0, 7, dtype=jnp.float64)[:, None]
    two = jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
    for label in (0, 1):
        batch = {"labels": jnp.full(7, label)}
        one = training.sigmoid_cross_entropy(ModelOutput(logits), batch)
        expected = training.softmax_cross_entropy(ModelOutput(two), batch)
        np.testing.assert_allclose(one, expected, rtol=1e-12)


def test_multi_hot_labels_have_the_mean_cross_entropy_of_their_classes():
    # -log sigma(z) = log(1 + e^-z): the correct sign of each logit is written out.
    signed = np.array([[2.0, 1.0, -0.5], [3.0, 1.0, 0.0]])
    loss = training.sigmoid_cross_entropy(
        ModelOutput(LOGITS.astype(jnp.bfloat16)), {"labels": MULTI_HOT}
    )
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, np.log1p(np.exp(-signed)).mean(-1), rtol=1e-6)


def test_a_share_is_a_label_of_the_sigmoid_and_what_is_none_gives_not_a_number():
    batch = {"labels": jnp.array([0.25, 1.5, -0.5, jnp.nan])}
    loss = training.sigmoid_cross_entropy(ModelOutput(jnp.ones((4, 1))), batch)
    expected = 0.25 * np.log1p(np.exp(-1)) + 0.75 * np.log1p(np.exp(1))
    np.testing.assert_allclose(loss[0], expected, rtol=1e-6)
    assert np.isnan(loss[1:]).all()


def test_one_logit_is_right_on_its_side_of_zero():
    logits = jnp.array([[-2.0], [3.0], [0.0], [0.0], [1.0], [1.0]])
    labels = jnp.array([0, 1, 0, 1, 2, -1])
    expected = [1, 1, 1, 0, 0, 0]
    for given in (labels, labels[:, None]):
        np.testing.assert_array_equal(training.sigmoid_correct(logits, given), expected)


def test_many_sigmoids_are_right_by_the_share_of_their_classes():
    right = jax.jit(training.sigmoid_correct)(LOGITS, MULTI_HOT)
    # Signs + - + and - + 0 against 1 0 0 and 0 1 1: two of three each.
    np.testing.assert_allclose(right, [2 / 3, 2 / 3], rtol=1e-6)
    np.testing.assert_array_equal(
        training.sigmoid_correct(LOGITS[1:], jnp.array([[False, True, False]])), [1]
    )


@pytest.mark.parametrize(
    ("call", "sibling"),
    [
        (
            lambda logits, labels: training.softmax_cross_entropy(
                ModelOutput(logits), {"labels": labels}
            ),
            "task_loss=training.sigmoid_cross_entropy",
        ),
        (training.softmax_correct, "correct=training.sigmoid_correct"),
    ],
)
def test_the_softmax_of_one_logit_or_of_many_labels_names_its_sibling(call, sibling):
    message = rf"at least two logits, got \(2, 1\).*pass {sibling}\."
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(call, LOGITS[:, :1], jnp.array([0, 1]))
    message = rf"got labels of shape \(2, 3\)\. For multi-hot labels pass {sibling}\."
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(call, LOGITS, MULTI_HOT)


@pytest.mark.parametrize("labels", [jnp.array([0, 1]), MULTI_HOT[:, :2]])
def test_labels_of_another_shape_than_the_sigmoids_are_refused(labels):
    message = r"multi-hot labels of the shape of the logits \(2, 3\), or \[B\] for one"
    with pytest.raises(ValueError, match=message):
        training.sigmoid_correct(LOGITS, labels)
    with pytest.raises(ValueError, match=message):
        training.sigmoid_cross_entropy(ModelOutput(LOGITS), {"labels": labels})


def evaluate(logits, labels, **arguments):
    apply_fn = lambda params, state, inputs, **named: (ModelOutput(inputs), state)
    batch = {"inputs": logits, "labels": labels}
    _, params, model_state = testing.smooth_network(jax.random.key(0))
    state = training.init_train_state(
        jax.random.key(0), params, model_state, {}, NOTHING, batch
    )
    return jax.jit(training.make_eval_step(apply_fn, **arguments))(state, batch)


def test_evaluation_of_sigmoids_says_how_often_they_are_right():
    sigmoid = {
        "task_loss": training.sigmoid_cross_entropy,
        "correct": training.sigmoid_correct,
    }
    logits = jnp.array([[-2.0], [3.0], [1.0], [2.0]])
    assert evaluate(logits, jnp.array([0, 1, 1, 1]), **sigmoid)["accuracy"] == 1
    np.testing.assert_allclose(
        evaluate(LOGITS, MULTI_HOT, **sigmoid)["accuracy"], 2 / 3, rtol=1e-6
    )


def test_evaluation_of_one_logit_is_refused_without_its_own_correct():
    loss = training.sigmoid_cross_entropy
    with pytest.raises(ValueError, match=r"pass correct=training\.sigmoid_correct"):
        evaluate(LOGITS[:, :1], jnp.array([0, 1]), task_loss=loss)
    with pytest.raises(ValueError, match=r"pass correct=training\.sigmoid_correct"):
        evaluate(LOGITS, MULTI_HOT, task_loss=loss)


def test_evaluation_in_bfloat16_counts_every_row():
    """Above 256 bfloat16 has no odd numbers: 777 rows would weigh 776."""
    labels = jnp.arange(777) % 2
    logits = jax.nn.one_hot(jnp.where(jnp.arange(777) < 259, labels, 1 - labels), 2)
    narrow = lambda output, batch: training.softmax_cross_entropy(output, batch).astype(
        jnp.bfloat16
    )
    metrics = evaluate(logits, labels, task_loss=narrow)
    assert metrics["weight"] == 777
    np.testing.assert_allclose(metrics["accuracy"], 259 / 777, rtol=1e-6)
    # log(1 + e^-1) and log(1 + e) are .3125 and 1.3125 in bfloat16.
    np.testing.assert_allclose(metrics["loss"], 0.3125 + 2 / 3, rtol=1e-6)
    assert all(metric.dtype == jnp.float32 for metric in metrics.values())


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"correct": lambda logits, labels: logits > 0}, "correct"),
        ({"task_loss": lambda output, batch: output.logits}, "task_loss"),
        ({"task_loss": lambda output, batch: jnp.mean(output.logits)}, "task_loss"),
    ],
)
def test_evaluation_refuses_what_is_not_one_value_an_example(arguments, name):
    message = rf"`{name}` returned shape \(.*\); it must return one value an example"
    with pytest.raises(ValueError, match=message):
        evaluate(LOGITS, jnp.array([0, 1]), **arguments)
