"""Training a part of a network: what moves, what it costs, what is cached."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import models, testing, training

FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "bert"
OPTIMIZER = optax.sgd(0.1)


@functools.cache
def network():
    module, params = models.load_bert(
        FOLDER, num_classes=3, pooling="mean", key=jax.random.key(0)
    )
    module = module.clone(dropout=0.0, attention_dropout=0.0)
    return models.linen_apply_fn(module), params


def batch():
    mask = np.arange(5) < np.array([5, 3])[:, None]
    inputs = {
        "tokens": jnp.asarray(np.where(mask, [[1, 5, 2, 7, 2], [1, 4, 2, 0, 0]], 0)),
        "mask": jnp.asarray(mask),
        "segments": jnp.zeros((2, 5), int),
    }
    return {"inputs": inputs, "labels": jnp.array([0, 2])}


def frozen(num_layers):
    apply_fn, params = network()
    trained = models.top_layers(params, num_layers=num_layers)
    return models.freeze(apply_fn, params, {}, trained=trained)


def start(params, state, batch):
    return training.init_train_state(
        jax.random.key(1), params, state, {}, OPTIMIZER, batch
    )


def cost(apply_fn, params, state, batch):
    step = training.make_train_step(apply_fn, {}, OPTIMIZER)
    compiled = jax.jit(step).lower(start(params, state, batch), batch).compile()
    return compiled.cost_analysis()["flops"]


def test_top_layers_are_the_last_ones_with_the_head():
    _, params = network()
    names = lambda number: [
        name
        for name, tree in models.top_layers(params, num_layers=number).items()
        if all(jax.tree.leaves(tree))
    ]
    assert sorted(names(0)) == ["classifier"]
    assert sorted(names(1)) == ["classifier", "layer_1"]
    assert sorted(names(2)) == ["classifier", "layer_0", "layer_1"]
    for number in (-1, 3):
        with pytest.raises(ValueError, match=r"must be 0 to 2, the layers of `params`"):
            models.top_layers(params, num_layers=number)


def test_a_step_moves_what_is_trained_and_nothing_else():
    """And it does so as the step of the whole network does."""
    apply_fn, params, state = frozen(1)
    whole_fn, whole = network()
    assert sorted(params) == ["classifier", "layer_1"]
    assert not set(state["frozen"]) & set(params)
    examples = batch()
    step = lambda apply_fn, params, state: jax.jit(
        training.make_train_step(apply_fn, {}, OPTIMIZER)
    )(start(params, state, examples), examples)
    after, metrics = step(apply_fn, params, state)
    of_whole, of_whole_metrics = step(whole_fn, whole, {})
    np.testing.assert_allclose(metrics["loss"], of_whole_metrics["loss"], rtol=1e-6)
    for name, tree in after.params["model"].items():
        assert not np.allclose(
            jax.tree.leaves(tree)[0], jax.tree.leaves(params[name])[0], atol=1e-6
        )
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, atol=1e-6),
            tree,
            of_whole.params["model"][name],
        )
    jax.tree.map(np.testing.assert_array_equal, after.model_state, state)


def test_labels_for_an_optimiser_that_holds_the_rest():
    """The same by optax, which computes gradients of all and throws some away."""
    _, params = network()
    labels = models.top_layers(params, num_layers=1)
    optimizer = optax.partition({True: OPTIMIZER, False: optax.set_to_zero()}, labels)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    moved = {name for name, tree in updates.items() if optax.tree.norm(tree) > 0}
    assert moved == {"classifier", "layer_1"}


def test_stored_states_of_a_layer_stand_for_all_below_it():
    apply_fn, params, state = frozen(1)
    examples = batch()
    run = lambda apply_fn, inputs: jax.jit(
        lambda inputs: apply_fn(params, state, inputs, train=False)[0]
    )(inputs)
    whole = run(apply_fn, examples["inputs"])
    hidden = whole.intermediates["hidden_0"]
    inputs = {**examples["inputs"], "hidden_0": hidden}
    upper_fn = models.above_layer(apply_fn, 0)
    upper = run(upper_fn, inputs)
    np.testing.assert_allclose(upper.logits, whole.logits, rtol=1e-6)
    assert sorted(upper.intermediates) == ["attention_1", "hidden_0", "hidden_1"]
    half = run(upper_fn, {**inputs, "hidden_0": hidden.astype(jnp.float16)})
    np.testing.assert_allclose(half.logits, whole.logits, atol=5e-3)
    assert half.logits.dtype == jnp.float32
    # The tokens are dead: what they are no longer matters.
    other = run(upper_fn, {**inputs, "tokens": inputs["tokens"] * 0})
    np.testing.assert_array_equal(other.logits, upper.logits)
    testing_inputs = {**inputs, "mask": jnp.ones((2, 5), bool)}
    gradient = jax.grad(
        lambda hidden: jnp.sum(
            upper_fn(
                params, state, testing_inputs, train=False,
                overrides={"hidden_0": hidden},
            )[0].logits
        )
    )(hidden)  # fmt: skip
    assert np.any(gradient)


def test_each_way_costs_less():
    """In forward passes of one of two equal layers: whole 6, one frozen 4, above 3."""
    whole_fn, whole = network()
    apply_fn, params, state = frozen(1)
    examples = batch()
    inputs = {**examples["inputs"], "hidden_0": jnp.zeros((2, 5, 8))}
    of_whole = cost(whole_fn, whole, {}, examples)
    of_frozen = cost(apply_fn, params, state, examples)
    upper_fn = models.above_layer(apply_fn, 0)
    of_upper = cost(upper_fn, params, state, {**examples, "inputs": inputs})
    assert of_upper < 0.65 * of_whole
    assert of_upper < 0.85 * of_frozen < 0.75 * of_whole


def test_it_keeps_the_contract_of_a_network_with_batch_norm():
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=True
    )
    trained = jax.tree.map(lambda leaf: leaf.ndim == 1, params)
    inputs = jax.random.normal(jax.random.key(1), (3, 6, 6, 2))
    frozen_fn, moving, state = models.freeze(
        apply_fn, params, model_state, trained=trained
    )
    run = lambda apply_fn, params, state: apply_fn(params, state, inputs, train=True)
    output, after = run(apply_fn, params, model_state)
    same, state_after = run(frozen_fn, moving, state)
    np.testing.assert_array_equal(same.logits, output.logits)
    jax.tree.map(np.testing.assert_array_equal, state_after["network"], after)


def test_what_does_not_fit_is_refused():
    apply_fn, params = network()
    trained = models.top_layers(params, num_layers=1)
    freeze = functools.partial(models.freeze, apply_fn, params, {})
    lacking = {name: tree for name, tree in trained.items() if name != "layer_0"}
    with pytest.raises(ValueError, match=r"layer_0.* is in one of them"):
        freeze(trained=lacking)
    with pytest.raises(ValueError, match="True somewhere"):
        freeze(trained=jax.tree.map(lambda leaf: False, trained))
    with pytest.raises(ValueError, match=r"`layer` \(=-1\) must not be negative"):
        models.above_layer(apply_fn, -1)
    upper_fn = models.above_layer(apply_fn, 0)
    inputs = batch()["inputs"]
    with pytest.raises(ValueError, match="must hold 'hidden_0'"):
        upper_fn(params, {}, inputs, train=False)
    inputs["hidden_0"] = jnp.zeros((2, 5, 8))
    for name, error in (
        ("embeddings", r"names \['embeddings'\]; the network starts from 'hidden_0'"),
        ("attention_0", r"names \['attention_0'\]; the network starts"),
        ("hidden_7", r"names \['hidden_7'\]; the model exposes"),
    ):
        with pytest.raises(ValueError, match=error):
            upper_fn(params, {}, inputs, train=False, overrides={name: jnp.zeros(2)})
