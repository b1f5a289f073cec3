"""Guidance of heads without a softmax: one logit, many labels, numbers."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import attributions, guidance, losses, ops, training
from xguide_jax.types import ModelOutput

ZEROS = functools.partial(ops.constant_fill, value=0.0)


def tanh_network(num_logits):
    """s = Σ tanh(w x): as the one logit s, or as the two logits (0, s)."""

    def apply_fn(params, state, inputs, *, train, key=None, overrides=None):
        logit = jnp.sum(jnp.tanh(inputs * params), axis=(1, 2, 3))[:, None]
        two = jnp.concatenate([jnp.zeros_like(logit), logit], axis=-1)
        return ModelOutput(logit if num_logits == 1 else two), state

    return apply_fn


def tanh_batch():
    inputs = jax.random.normal(jax.random.key(0), (4, 4, 4, 1), jnp.float32)
    return {
        "inputs": inputs.astype(jnp.result_type(float)),
        "labels": jnp.array([0, 1, 0, 1]),
        "region": jnp.zeros((4, 4, 4)).at[:, :2].set(1.0),
    }


def guide(term, apply_fn, params, batch, **arguments):
    """The loss of the term, and its gradient in the network."""

    def loss_fn(params):
        return training.guidance_loss(
            apply_fn, {"guided": term}, {"model": params}, (), {}, batch,
            key=jax.random.key(1), step=0, **arguments,
        )[0]  # fmt: skip

    return jax.value_and_grad(loss_fn)(params)


def terms(score_fn, consistency):
    saliency_guided = guidance.saliency_guided(
        mask_fraction=0.5, fill=ZEROS, rank_fn=ops.mean_magnitude, score_fn=score_fn,
        consistency=consistency,
    )  # fmt: skip
    return guidance.right_for_right_reasons(
        explain=guidance.explain(
            functools.partial(attributions.input_gradient, score_fn=score_fn)
        )
    ), saliency_guided


@pytest.mark.parametrize(
    ("sigmoid", "softmax", "expected"),
    [
        (
            attributions.sigmoid_sum_log_probabilities,
            attributions.sum_log_probabilities,
            (1.42575566, 0.21202722),
        ),
        (
            attributions.sigmoid_log_probability,
            attributions.target_log_probability,
            (None, None),
        ),
    ],
)
def test_one_logit_is_guided_like_the_two_logits_zero_and_it(
    x64, sigmoid, softmax, expected
):
    batch, params = tanh_batch(), jnp.ones(())
    one = terms(sigmoid, losses.bernoulli_consistency)
    two = terms(softmax, losses.kl_consistency)
    for ours, theirs, value in zip(one, two, expected, strict=True):
        actual = guide(ours, tanh_network(1), params, batch)
        right = guide(theirs, tanh_network(2), params, batch)
        np.testing.assert_allclose(actual, right, rtol=1e-12)
        assert abs(actual[1]) > 0.1
        if value is not None:
            np.testing.assert_allclose(actual[0], value, rtol=1e-7)


def test_one_logit_is_as_consistent_as_the_two_logits_zero_and_it(x64):
    batch, params = tanh_batch(), jnp.ones(())
    outside_zero = batch["inputs"] * batch["region"][..., None]

    def mean(loss_fn, num_logits):
        apply_fn = tanh_network(num_logits)
        both = [
            apply_fn(params, (), inputs, train=True)[0].logits
            for inputs in (batch["inputs"], outside_zero)
        ]
        return jnp.mean(loss_fn(*both))

    actual = mean(losses.bernoulli_consistency, 1)
    np.testing.assert_allclose(actual, 0.21695291, rtol=1e-7)
    np.testing.assert_allclose(actual, mean(losses.kl_consistency, 2), rtol=1e-12)


@pytest.mark.parametrize("which", [0, 1])
def test_a_softmax_term_on_one_logit_is_refused_and_the_sibling_named(which):
    softmax = (
        attributions.sum_log_probabilities, losses.kl_consistency
    )  # fmt: skip
    sigmoid_score = attributions.sigmoid_sum_log_probabilities
    run = functools.partial(
        guide, apply_fn=tanh_network(1), params=jnp.ones(()), batch=tanh_batch()
    )
    with pytest.raises(ValueError, match="sigmoid_sum_log_probabilities"):
        run(terms(*softmax)[which])
    if which == 1:  # with the score put right, the divergence is named
        with pytest.raises(ValueError, match="bernoulli_consistency"):
            run(terms(sigmoid_score, losses.kl_consistency)[which])


def linear(params, state, inputs, *, train, key=None, overrides=None):
    """logits = x W for images [B, 1, 2, 1]; W [2, C]."""
    return ModelOutput(inputs.reshape(len(inputs), 2) @ params), state


def test_many_labels_are_guided_by_the_class_that_targets_names():
    # W = [[1, 0, 5], [2, 0, 0]], x = (1, 1): the labels are multi-hot, class 0 is
    # explained. Its logit has the gradient (1, 2), so pixel 1 is masked, and the
    # logits fall from (3, 0, 5) to (2, 0, 0).
    weights = jnp.array([[1.0, 0.0, 5.0], [2.0, 0.0, 0.0]])
    batch = {
        "inputs": jnp.ones((1, 1, 2, 1)),
        "labels": jnp.array([[1, 0, 1]]),
        "targets": jnp.array([0]),
    }
    term = guidance.saliency_guided(
        mask_fraction=0.5, fill=ZEROS, rank_fn=ops.signed_channel_mean,
        score_fn=attributions.sigmoid_logit, consistency=losses.bernoulli_consistency,
    )  # fmt: skip
    loss, _ = guide(term, linear, weights, batch)
    p, q = (1 / (1 + np.exp(-np.array(s))) for s in ([3.0, 0.0, 5.0], [2.0, 0.0, 0.0]))
    expected = np.sum(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    # Explaining class 2, with the gradient (5, 0), pixel 2 is masked instead.
    loss, _ = guide(term, linear, weights, {**batch, "targets": jnp.array([2])})
    q = 1 / (1 + np.exp(-np.array([1.0, 0.0, 5.0])))
    expected = np.sum(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_regression_is_guided_in_its_own_units():
    # y = x_1 + 2 x_2 = 3 with the gradient (1, 2): pixel 1 is masked, y~ = 2, and the
    # loss is (3 - 2)²; its gradient in W is 2 (y - y~) (x - x~) = (2, 0).
    batch = {"inputs": jnp.ones((1, 1, 2, 1)), "labels": jnp.array([2.7])}
    term = guidance.saliency_guided(
        mask_fraction=0.5, fill=ZEROS, rank_fn=ops.mean_magnitude,
        score_fn=attributions.regression_output,
        consistency=losses.squared_consistency,
    )  # fmt: skip
    loss, gradient = guide(term, linear, jnp.array([[1.0], [2.0]]), batch)
    np.testing.assert_allclose(loss, 1.0, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[2.0], [0.0]], rtol=1e-6)
    # Right reasons: only pixel 2 counts, whose gradient is 2.
    term = guidance.right_for_right_reasons(
        explain=guidance.explain(
            functools.partial(
                attributions.input_gradient, score_fn=attributions.regression_output
            )
        )
    )
    batch["region"] = jnp.array([[[1.0, 0.0]]])
    loss, gradient = guide(term, linear, jnp.array([[1.0], [2.0]]), batch)
    np.testing.assert_allclose(loss, 4.0, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[0.0], [4.0]], rtol=1e-6)


@pytest.mark.parametrize("frozen_teacher", [False, True])
def test_a_step_on_one_logit_trains(frozen_teacher, standard_promotion):
    score_fn = attributions.sigmoid_log_probability
    term = guidance.saliency_guided(
        mask_fraction=0.5, fill=ZEROS, rank_fn=ops.mean_magnitude, score_fn=score_fn,
        consistency=losses.bernoulli_consistency, frozen_teacher=frozen_teacher,
    )  # fmt: skip
    batch, params = tanh_batch(), jnp.full((4, 4, 1), 0.1)
    optimizer = optax.sgd(0.5)

    def task_loss(output, batch):
        return -score_fn(output.logits, batch["labels"])

    begin = training.init_train_state(
        jax.random.key(0), params, (), {"guided": term}, optimizer, batch
    )
    step = training.make_train_step(
        tanh_network(1), {"guided": term}, optimizer, task_loss=task_loss
    )
    step, state = jax.jit(step), begin
    values = []
    for _ in range(20):
        state, metrics = step(state, batch)
        values.append(float(metrics["loss"]))
    chex.assert_tree_all_finite(state.params)
    assert metrics["guided"] > 0
    assert values[-1] < 0.5 * values[0]
