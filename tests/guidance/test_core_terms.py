"""The core carries terms that look nothing like each other.

Each on networks with and without batch norm, on batches where only some examples are
annotated, or none. That devices agree about all four at once, also with batch norm, is
tested with the training step.
"""

import functools

import chex
import core_terms
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import attributions, losses, ops, testing, training

TERMS = core_terms.four_terms()
ANNOTATED = ("energy", "imputation", "robust")


@functools.cache
def make(*names, batch_norm):
    """A compiled step with some of the terms, its state and batch, made once."""
    terms = {name: TERMS[name] for name in names}
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=batch_norm
    )
    optimizer = optax.sgd(0.1, momentum=0.0)
    batch = core_terms.uneven_batch(12)
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, optimizer, batch
    )
    step = jax.jit(training.make_train_step(apply_fn, terms, optimizer))
    return step, state, batch


def gradient(state):
    return state.opt_state[0].trace


@pytest.mark.parametrize("name", sorted(TERMS))
def test_a_term_keeps_the_promises_of_the_core(name):
    testing.check_guidance_term(TERMS[name])


@pytest.mark.parametrize("batch_norm", [False, True])
def test_unannotated_examples_contribute_nothing(batch_norm):
    """Garbage on rows without annotation moves no loss; no annotation, no gradient."""
    step, state, batch = make(*TERMS, batch_norm=batch_norm)
    stepped, metrics = step(state, batch)
    assert all(metrics[name] > 0 for name in TERMS)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient(stepped)))

    valid = batch["region_valid"]
    assert 0 < 2 * int(jnp.sum(valid)) < len(valid)
    garbage = jnp.where(valid[:, None, None], batch["region"], 0.7)
    noise = jnp.where(valid[:, None, None], batch["annotations"], 1.0)
    other = {**batch, "region": garbage, "annotations": noise}
    other_stepped, other_metrics = step(state, other)
    chex.assert_trees_all_equal(other_metrics, metrics)
    chex.assert_trees_all_equal(gradient(other_stepped), gradient(stepped))

    none = {**batch, "region_valid": jnp.zeros_like(valid)}
    silent, metrics = step(state, none)
    assert all(metrics[name] == 0 for name in ANNOTATED)
    kernel = gradient(silent)["guidance"]["imputation"]["kernel"]
    np.testing.assert_array_equal(kernel, jnp.zeros((3, 3)))
    unguided_step, unguided, _ = make("prior", batch_norm=batch_norm)
    expected = gradient(unguided_step(unguided, none)[0])["model"]
    chex.assert_trees_all_close(gradient(silent)["model"], expected, atol=1e-7)


@pytest.fixture(scope="module")
def one_step():
    step, state, batch = make(*TERMS, batch_norm=False)
    stepped, metrics = step(state, batch)
    return state, stepped, metrics, batch, cams(state, batch)


def cams(state, batch):
    apply_fn, _, _ = testing.smooth_network(jax.random.key(0))
    forward = lambda inputs, overrides=None: apply_fn(
        state.params["model"], (), inputs, train=False, overrides=overrides
    )
    head_fn, features = attributions.split_at(forward, batch["inputs"], "features")
    return attributions.signed_grad_cam(
        head_fn, features, batch["labels"], score_fn=attributions.target_logit
    )


def annotated_mean(values, batch):
    weight = np.asarray(batch["weight"]) * np.asarray(batch["region_valid"])
    return np.sum(weight * values) / np.sum(weight)


def test_the_energy_is_the_mean_over_the_annotated(one_step):
    _, _, metrics, batch, maps = one_step
    region = ops.area_resize(batch["region"], shape=(3, 3))
    expected = annotated_mean(losses.energy(maps, region), batch)
    np.testing.assert_allclose(metrics["energy"], expected, rtol=1e-5)


def test_the_robust_loss_is_one_number_of_the_whole_batch(one_step):
    """One threshold and one slack, from annotated rows alone, in plain NumPy."""
    _, _, metrics, batch, maps = one_step
    valid = np.asarray(batch["region_valid"])
    maps = jax.nn.sigmoid(maps)[valid]
    signs = jnp.sign(ops.area_resize(batch["annotations"], shape=(3, 3)))[valid]
    threshold = ops.balanced_threshold(maps, signs)
    error = np.abs(np.tanh(5 * (maps - threshold)) - signs)
    expected = max(np.mean(error[np.asarray(signs) != 0]) - 0.05, 0)
    np.testing.assert_allclose(metrics["robust"], expected, rtol=1e-5)


def test_the_trained_kernel_is_updated_and_the_others_have_none(one_step):
    state, stepped, _, _, _ = one_step
    before, after = state.params["guidance"], stepped.params["guidance"]
    moved = after["imputation"]["kernel"] - before["imputation"]["kernel"]
    kernel_gradient = gradient(stepped)["guidance"]["imputation"]["kernel"]
    np.testing.assert_allclose(moved, -0.1 * kernel_gradient, atol=1e-7)
    assert jnp.max(jnp.abs(moved)) > 1e-4
    assert before["energy"] == before["prior"] == before["robust"] == ()


def test_the_prior_is_a_running_mean_of_each_class(one_step):
    _, stepped, metrics, batch, maps = one_step
    maps = np.asarray(ops.min_max_normalise(jax.nn.relu(maps)))
    labels = np.asarray(batch["labels"])
    means = np.stack([np.mean(maps[labels == c], axis=0) for c in range(3)])
    np.testing.assert_allclose(
        stepped.guidance_state["prior"], 0.7 * 0.5 + 0.3 * means, rtol=1e-5
    )
    distance = np.mean((maps - 0.5) ** 2, axis=(1, 2))
    expected = np.average(distance, weights=batch["weight"])
    np.testing.assert_allclose(metrics["prior"], expected, rtol=1e-5)


def test_a_class_that_is_not_in_the_batch_keeps_its_prior():
    state = jnp.linspace(0, 1, 27).reshape(3, 3, 3)
    batch = {**core_terms.uneven_batch(12), "labels": jnp.arange(12) % 2}
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    _, (states, _) = training.guidance_loss(
        apply_fn, {"prior": TERMS["prior"]}, {"model": params}, (), {"prior": state},
        batch, step=0, key=jax.random.key(1),
    )  # fmt: skip
    np.testing.assert_array_equal(states["prior"][2], state[2])
    assert np.all(np.any(states["prior"][:2] != state[:2], axis=(1, 2)))
