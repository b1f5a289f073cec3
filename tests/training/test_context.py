"""What a term sees of a step, on one device and on two."""

import core_terms
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import guidance, testing, training
from xguide_jax.types import GuidanceTerm, TermOutput


def dropping_half(apply_fn):
    """The network behind dropout of its inputs, one key a batch."""

    def with_dropout(params, state, inputs, *, train, key=None, overrides=None):
        if train:
            kept = jax.random.bernoulli(key, 0.5, inputs.shape)
            inputs = jnp.where(kept, 2 * inputs, 0.0)
        return apply_fn(params, state, inputs, train=train, overrides=overrides)

    return with_dropout


def reporting(read):
    """A term without loss whose next state is what `read` finds in the context."""

    def apply(params, state, context):
        nothing = jnp.zeros(len(context.batch["inputs"]))
        return TermOutput(nothing, nothing, read(context))

    return GuidanceTerm(guidance.no_variables, apply)


def seen_by_a_term(read, batch, *, devices=None, dropout=False):
    """What `read` finds; [devices, ...] where the batch is shared by some."""
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    apply_fn = dropping_half(apply_fn) if dropout else apply_fn
    terms = {"term": reporting(read)}
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, optax.identity(), batch
    )
    axis_name = None if devices is None else "devices"
    objective = training.make_objective(apply_fn, terms, axis_name=axis_name)
    see = lambda batch: objective(state.params, state, batch)[1].guidance_state["term"]
    if devices is None:
        return see(batch)
    split = lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:])
    return jax.vmap(see, axis_name=axis_name)(jax.tree.map(split, batch))


def passes(context):
    """Logits of the clean pass, of one more without a key, and of one with a key."""
    inputs = context.batch["inputs"]
    again = context.forward(inputs, train=True)
    other = context.forward(inputs, train=True, key=context.key[0])
    return context.output.logits, again.logits, other.logits


@pytest.mark.parametrize("devices", [None, 2])
def test_a_pass_without_a_key_has_the_dropout_of_the_clean_pass(devices):
    batch = testing.example_batch(jax.random.key(1))
    clean, again, other = seen_by_a_term(passes, batch, devices=devices, dropout=True)
    np.testing.assert_array_equal(again, clean)
    assert np.all(np.max(np.abs(other - clean), axis=-1) > 1e-3)


def test_dropout_differs_between_devices():
    """The same four examples on both: only the draws can tell the devices apart."""
    half = testing.example_batch(jax.random.key(1), batch_size=4)
    twice = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), half)
    logits = lambda context: context.output.logits
    first, second = seen_by_a_term(logits, twice, devices=2, dropout=True)
    assert np.all(np.max(np.abs(first - second), axis=-1) > 1e-3)
    first, second = seen_by_a_term(logits, twice, devices=2)
    np.testing.assert_array_equal(first, second)


def test_the_task_input_gradient_of_two_devices_is_that_of_one():
    batch = core_terms.uneven_batch(8)
    gradient = lambda context: context.task_input_gradient()
    expected = seen_by_a_term(gradient, batch)
    two = seen_by_a_term(gradient, batch, devices=2).reshape(expected.shape)
    size = np.max(np.abs(expected))
    np.testing.assert_allclose(two, expected, atol=1e-6 * size, rtol=0)


def test_the_keys_of_two_devices_are_those_of_one():
    batch = testing.example_batch(jax.random.key(1))
    keys = lambda context: jax.random.key_data(context.key)
    expected = seen_by_a_term(keys, batch)
    two = seen_by_a_term(keys, batch, devices=2).reshape(expected.shape)
    np.testing.assert_array_equal(two, expected)
    assert len(np.unique(expected, axis=0)) == 8


@pytest.mark.parametrize("kind", ["rbg", "unsafe_rbg"])
def test_a_run_whose_noise_would_depend_on_the_batch_is_refused(kind):
    """Draws of rbg keys under `vmap` depend on the other examples' keys."""

    def noise(context):
        draws = jax.vmap(jax.random.normal)(context.key)
        return draws, jnp.ones_like(draws)

    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1))
    key, optimizer = jax.random.key(0, impl=kind), optax.identity()

    def train(terms):
        state = training.init_train_state(
            key, params, model_state, terms, optimizer, batch
        )
        return training.make_train_step(apply_fn, terms, optimizer)(state, batch)

    with pytest.raises(ValueError, match=r"\(of kind .*rbg.*\) must be a threefry key"):
        train({"noise": guidance.stateless(noise)})
    train({})  # has no noise of its own


def test_a_legacy_key_is_refused():
    batch = testing.example_batch(jax.random.key(1))
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    with pytest.raises(ValueError, match="`key` must be a typed key"):
        training.guidance_loss(
            apply_fn, {"term": reporting(lambda context: ())}, {"model": params},
            model_state, {}, batch, step=0, key=jax.random.PRNGKey(2),
        )  # fmt: skip
