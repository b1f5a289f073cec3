"""One program for any number of examples."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, evaluation
from xguide_jax.types import ModelOutput

LOGIT = attributions.target_logit
GRADIENT = functools.partial(attributions.input_gradient, score_fn=LOGIT)
KEY = jax.random.key(0)


def network(params, model_state, inputs, *, train, key=None, overrides=None):
    assert not train
    assert key is None
    hidden = jnp.tanh(inputs @ params["first"])
    hidden = (overrides or {}).get("hidden", hidden)
    logits = hidden @ params["second"] * model_state
    return ModelOutput(logits, {"hidden": hidden}), model_state


def drawn(num_examples, seed=1):
    keys = jax.random.split(jax.random.key(seed), 4)
    params = {
        "first": jax.random.normal(keys[0], (5, 4)),
        "second": jax.random.normal(keys[1], (4, 3)),
    }
    inputs = jax.random.normal(keys[2], (num_examples, 5))
    targets = jax.random.randint(keys[3], (num_examples,), 0, 3)
    return params, jnp.float32(2.0), inputs, targets


def noise(forward, inputs, targets, keys):
    return jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys)


def pair(forward, inputs, targets, keys):
    return forward(inputs).logits, targets


FNS = {
    "inputs": evaluation.of_inputs(GRADIENT),
    "hidden": evaluation.of_layer(GRADIENT, "hidden"),
    "noise": noise,
    "pair": pair,
}


def test_maps_are_those_of_each_explainer_by_itself():
    params, scale, inputs, targets = drawn(3)
    maps = evaluation.make_explain(network, FNS, batch_size=3)(
        params, scale, inputs, targets, key=KEY
    )
    predict = lambda x: network(params, scale, x, train=False)[0].logits
    expected = GRADIENT(predict, inputs, targets)
    np.testing.assert_allclose(maps["inputs"], expected, rtol=1e-5)
    # Of a linear head the gradient is the target's column.
    column = 2.0 * params["second"].T[targets]
    np.testing.assert_allclose(maps["hidden"], column, rtol=1e-6)
    np.testing.assert_allclose(maps["pair"][0], predict(inputs), rtol=1e-5)
    np.testing.assert_array_equal(maps["pair"][1], targets)
    assert list(maps) == list(FNS)


@pytest.mark.parametrize("batch_size", [1, 4, 7, 20])
def test_maps_do_not_depend_on_the_batch_size(batch_size):
    data = drawn(7)
    together = evaluation.make_explain(network, FNS, batch_size=7)(*data, key=KEY)
    explain = evaluation.make_explain(network, FNS, batch_size=batch_size)
    # Values reach 6, and those that nearly cancel have the rounding of the large ones.
    close = functools.partial(chex.assert_trees_all_close, rtol=1e-5, atol=1e-6)
    close(explain(*data, key=KEY), together)
    keys = jax.vmap(functools.partial(jax.random.fold_in, KEY))(jnp.arange(7))
    close(explain(*data, key=keys), together)


def test_an_example_keeps_its_noise_whoever_stands_behind_it():
    params, scale, inputs, targets = drawn(7)
    explain = evaluation.make_explain(network, {"noise": noise}, batch_size=4)
    seven = explain(params, scale, inputs, targets, key=KEY)["noise"]
    five = explain(params, scale, inputs[:5], targets[:5], key=KEY)["noise"]
    np.testing.assert_array_equal(seven[:5], five)
    assert len(np.unique(seven)) == seven.size


def test_one_program_serves_any_number_of_examples_and_any_weights():
    traced = []

    def seen(forward, inputs, targets, keys):
        traced.append(inputs.shape)
        return inputs

    explain = evaluation.make_explain(network, {"seen": seen}, batch_size=4)
    for num_examples in (1, 4, 9):
        params, scale, inputs, targets = drawn(num_examples, seed=num_examples)
        maps = explain(params, scale, inputs, targets, key=KEY)
        np.testing.assert_array_equal(maps["seen"], inputs)
    assert traced == [(4, 5)]


def test_inputs_may_be_a_tree_and_the_padding_is_an_example():
    seen = []

    def both(forward, inputs, targets, keys):
        jax.debug.callback(lambda values: seen.append(np.asarray(values)), inputs["a"])
        return inputs["a"] + inputs["b"][:, 0]

    explain = evaluation.make_explain(network, {"both": both}, batch_size=2)
    inputs = {"a": np.array([1.0, 2.0, 3.0]), "b": np.ones((3, 2))}
    maps = explain((), (), inputs, np.zeros(3, int), key=KEY)
    np.testing.assert_array_equal(maps["both"], [2, 3, 4])
    jax.effects_barrier()
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), [1, 2, 3, 3])


def test_what_trains_a_network_may_judge_it():
    params, scale, inputs, targets = drawn(3)
    product = functools.partial(attributions.gradient_x_input, score_fn=LOGIT)

    def explain(context):
        head_fn, features = attributions.split_at(
            context.forward, context.batch["inputs"], "hidden", output=context.output
        )
        assert context.axis_name is None
        return product(head_fn, features, context.batch["labels"])

    fns = {
        "term": evaluation.of_explain(explain),
        "hidden": evaluation.of_layer(product, "hidden"),
    }
    maps = evaluation.make_explain(network, fns, batch_size=2)(
        params, scale, inputs, targets, key=KEY
    )
    np.testing.assert_array_equal(maps["term"], maps["hidden"])


def test_what_only_training_has_is_refused():
    data = drawn(2)
    in_train_mode = lambda context: (
        context.forward(context.batch["inputs"], train=True).logits
    )
    of_the_loss = lambda context: context.task_input_gradient()
    for explain, message in (
        (in_train_mode, "evaluated in eval mode"),
        (of_the_loss, "which an evaluation has not"),
    ):
        fns = {"x": evaluation.of_explain(explain)}
        with pytest.raises(ValueError, match=message):
            evaluation.make_explain(network, fns, batch_size=2)(*data, key=KEY)


def test_errors():
    data = drawn(3)
    with pytest.raises(ValueError, match=r"`batch_size` \(=0\) must be at least 1"):
        evaluation.make_explain(network, FNS, batch_size=0)
    with pytest.raises(ValueError, match="`explain_fns` must hold at least one"):
        evaluation.make_explain(network, {}, batch_size=1)
    mean = {"mean": lambda forward, inputs, targets, keys: jnp.mean(inputs)}
    with pytest.raises(ValueError, match=r"\['mean'\] must return 2 maps, .* \[\]"):
        evaluation.make_explain(network, mean, batch_size=2)(*data, key=KEY)
    explain = evaluation.make_explain(network, FNS, batch_size=2)
    with pytest.raises(ValueError, match="must begin with as many examples"):
        explain(*data[:3], data[3][:2], key=KEY)
    with pytest.raises(ValueError, match="at least one"):
        explain(*data[:2], data[2][:0], data[3][:0], key=KEY)
    with pytest.raises(ValueError, match=r"it exposes \['hidden'\]"):
        evaluation.make_explain(
            network, {"x": evaluation.of_layer(GRADIENT, "x")}, batch_size=2
        )(*data, key=KEY)
