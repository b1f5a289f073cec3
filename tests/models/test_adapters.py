import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from xguide_jax import models
from xguide_jax.types import ModelOutput


class LinenCNN(nn.Module):
    """conv - norm - ReLU - dropout - mean - dense; sows and perturbs besides."""

    dropout: float = 0.5

    @nn.compact
    def __call__(self, inputs, *, train=False, overrides=None):
        hidden = nn.Conv(3, (3, 3), name="conv")(inputs)
        hidden = nn.BatchNorm(not train, momentum=0.9, name="norm")(hidden)
        features = models.override("features", nn.relu(hidden), overrides)
        self.sow("intermediates", "features", features)
        hidden = self.perturb("tap", features)
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        logits = nn.Dense(2, name="head")(jnp.mean(hidden, (1, 2)))
        return ModelOutput(logits, {"features": features})


class NnxCNN(nnx.Module):
    """The same network in the other library."""

    def __init__(self, rngs, dropout=0.5):
        self.conv = nnx.Conv(1, 3, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(3, momentum=0.9, rngs=rngs)
        self.dropouts = nnx.List([nnx.Dropout(dropout, rngs=rngs) for _ in range(2)])
        self.head = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, inputs, *, overrides=None):
        hidden = nnx.relu(self.norm(self.conv(inputs)))
        features = models.override("features", hidden, overrides)
        hidden = features
        for dropout in self.dropouts:
            hidden = dropout(hidden)
        logits = self.head(jnp.mean(hidden, (1, 2)))
        return ModelOutput(logits, {"features": features})


class PlainLinen(nn.Module):
    """Neither mode nor overrides, and logits alone."""

    @nn.compact
    def __call__(self, inputs):
        return nn.Dense(2)(inputs)


class PlainNnx(nnx.Module):
    """Neither mode nor overrides, and logits alone."""

    def __init__(self, rngs):
        self.dense = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, inputs):
        return self.dense(inputs)


class CountingLinen(nn.Module):
    """Counts the passes in which its counter may change."""

    @nn.compact
    def __call__(self, inputs):
        calls = self.variable("counters", "calls", lambda: jnp.zeros((), jnp.int32))
        if self.is_mutable_collection("counters") and not self.is_initializing():
            calls.value += 1
        return nn.Dense(2)(inputs)


class CountingNnx(nnx.Module):
    """Counts its passes, and keeps its last mean as an intermediate."""

    def __init__(self, rngs):
        self.dense = nnx.Linear(3, 2, rngs=rngs)
        self.calls = nnx.Variable(jnp.zeros((), jnp.int32))
        self.seen = nnx.Intermediate(jnp.zeros(()))

    def __call__(self, inputs):
        self.calls[...] += 1
        self.seen[...] = jnp.mean(inputs)
        return self.dense(inputs)


INPUTS = np.random.default_rng(0).normal(size=(4, 5, 5, 1)).astype(np.float32)


def linen_model(dropout=0.5):
    module = LinenCNN(dropout)
    params, state = models.init_linen(module, jax.random.key(0), jnp.asarray(INPUTS))
    return models.linen_apply_fn(module), params, state


def nnx_model(dropout=0.5):
    return models.nnx_apply_fn(NnxCNN(nnx.Rngs(1), dropout))


MODELS = {"linen": linen_model, "nnx": nnx_model}


@pytest.fixture(params=MODELS)
def make(request):
    return MODELS[request.param]


def jitted(apply_fn):
    return jax.jit(apply_fn, static_argnames="train")


def test_linen_init_keeps_parameters_and_statistics_only():
    _, params, state = linen_model()
    assert set(params) == {"conv", "norm", "head"}
    chex.assert_trees_all_equal(
        state, {"batch_stats": {"norm": {"mean": jnp.zeros(3), "var": jnp.ones(3)}}}
    )


def test_nnx_parameters_and_statistics_are_plain_dicts_without_random_streams():
    _, params, state = nnx_model()
    assert type(params) is type(state) is dict
    assert set(params) == {"conv", "norm", "head"}
    chex.assert_trees_all_equal(
        state, {"norm": {"mean": jnp.zeros(3), "var": jnp.ones(3)}}
    )


def test_both_libraries_give_one_network_one_output_and_one_next_state():
    linen_fn, params, linen_state = linen_model(dropout=0.0)
    nnx_fn, nnx_params, nnx_state = nnx_model(dropout=0.0)
    chex.assert_trees_all_equal_shapes(params, nnx_params)
    for train in (False, True):
        key = jax.random.key(2)
        ours, ours_state = linen_fn(params, linen_state, INPUTS, train=train, key=key)
        theirs, theirs_state = nnx_fn(params, nnx_state, INPUTS, train=train, key=key)
        chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=1e-6)
        chex.assert_trees_all_close(
            ours_state["batch_stats"], theirs_state, rtol=1e-5, atol=1e-6
        )


def test_training_moves_the_statistics_to_those_of_the_batch(make):
    apply_fn, params, state = make()
    identity = {"kernel": jnp.zeros((3, 3, 1, 3)).at[1, 1].set(1.0)}
    params = {**params, "conv": {**identity, "bias": jnp.zeros(3)}}
    _, state = jitted(apply_fn)(
        params, state, INPUTS, train=True, key=jax.random.key(0)
    )
    mean, variance = jax.tree.leaves(state)
    # Momentum 0.9 from a mean of 0 and a variance of 1.
    np.testing.assert_allclose(mean, np.full(3, 0.1 * INPUTS.mean()), rtol=1e-4)
    np.testing.assert_allclose(variance, np.full(3, 0.9 + 0.1 * INPUTS.var()), 1e-4)


def test_evaluation_is_deterministic_and_leaves_the_state_alone(make):
    apply_fn, params, state = make()
    call = functools.partial(jitted(apply_fn), params, state, INPUTS, train=False)
    outputs = [call(), call(key=jax.random.key(0)), call(key=jax.random.key(1))]
    for output, next_state in outputs:
        chex.assert_trees_all_equal(next_state, state)
        chex.assert_trees_all_equal(output, outputs[0][0])


def test_dropout_is_a_function_of_the_key(make):
    apply_fn, params, state = make()
    call = functools.partial(jitted(apply_fn), params, state, INPUTS, train=True)
    one, again, other = (call(key=jax.random.key(seed))[0].logits for seed in (0, 0, 1))
    chex.assert_trees_all_equal(one, again)
    assert not jnp.allclose(one, other)


def test_dropout_layers_of_one_nnx_model_draw_masks_of_their_own():
    apply_fn, params, state = nnx_model()
    # One feature, constant 1, and a head that passes its mean on.
    zeros = jax.tree.map(jnp.zeros_like, params)
    zeros["norm"]["bias"] = jnp.ones(3)
    zeros["head"]["kernel"] = jnp.ones((3, 2))
    inputs = np.zeros((1, 64, 64, 1), np.float32)
    output, _ = apply_fn(zeros, state, inputs, train=True, key=jax.random.key(0))
    # Kept twice with probability 1/4 and then scaled by 4: mean 1, three channels.
    # One mask used twice would keep 1/2 and give 2 each. The standard error of the
    # sum is sqrt(3 * 3 / 4096) = 0.047.
    np.testing.assert_allclose(output.logits, np.full((1, 2), 3.0), atol=0.25)


def test_the_nnx_model_itself_is_left_as_it_was():
    model = NnxCNN(nnx.Rngs(1))
    before = jax.tree.map(jnp.copy, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)))
    apply_fn, params, state = models.nnx_apply_fn(model)
    for train in (True, False):
        apply_fn(params, state, INPUTS, train=train, key=jax.random.key(0))
        assert not model.dropouts[0].deterministic
        assert not model.norm.use_running_average
    after = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    chex.assert_trees_all_equal(after, before)
    assert int(model.dropouts[0].rngs.count[...]) == 0


def test_an_override_replaces_the_activation_and_takes_its_gradient(make):
    apply_fn, params, state = make()
    features = jnp.ones((4, 5, 5, 3))

    def logit(features):
        output, _ = apply_fn(
            params, state, INPUTS, train=False, overrides={"features": features}
        )
        return jnp.sum(output.logits[:, 0])

    expected = jnp.broadcast_to(params["head"]["kernel"][:, 0] / 25, features.shape)
    np.testing.assert_allclose(jax.grad(logit)(features), expected, rtol=1e-5)
    output, _ = apply_fn(
        params, state, INPUTS, train=False, overrides={"features": features}
    )
    chex.assert_trees_all_equal(output.intermediates["features"], features)


def test_one_gradient_under_jit_vmap_and_pmap(make):
    apply_fn, params, state = make(dropout=0.0)

    def loss(params, state, inputs):
        output, state = apply_fn(
            params, state, inputs, train=True, key=jax.random.key(0)
        )
        return jnp.sum(output.logits**2), state

    gradient = jax.grad(loss, has_aux=True)
    halves = INPUTS.reshape(2, 2, 5, 5, 1)
    expected = [jax.jit(gradient)(params, state, half) for half in halves]
    for lift in (
        lambda f: jax.jit(jax.vmap(f, in_axes=(None, None, 0))),
        lambda f: jax.pmap(f, in_axes=(None, None, 0)),
    ):
        lifted = lift(gradient)(params, state, halves)
        for index in range(2):
            chex.assert_trees_all_close(
                jax.tree.map(lambda leaf, i=index: leaf[i], lifted),
                expected[index],
                rtol=1e-4,
                atol=1e-5,
            )


def test_an_optimiser_takes_the_parameters(make):
    apply_fn, params, state = make(dropout=0.0)

    def loss(params):
        output, _ = apply_fn(params, state, INPUTS, train=False)
        labels = jnp.array([0, 1, 0, 1])
        losses = optax.softmax_cross_entropy_with_integer_labels(output.logits, labels)
        return jnp.mean(losses)

    optimizer = optax.sgd(0.1)
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    updates, _ = optimizer.update(gradient, optimizer.init(params))
    assert float(loss(optax.apply_updates(params, updates))) < float(value)


@pytest.mark.parametrize("library", MODELS)
def test_plain_networks_return_their_logits_in_either_mode(library):
    inputs = jnp.ones((4, 3))
    if library == "linen":
        module = PlainLinen()
        params, state = models.init_linen(module, jax.random.key(0), inputs)
        apply_fn, layer = models.linen_apply_fn(module), params["Dense_0"]
    else:
        apply_fn, params, state = models.nnx_apply_fn(PlainNnx(nnx.Rngs(0)))
        layer = params["dense"]
    assert state == {}
    for train in (False, True):
        output, next_state = apply_fn(params, state, inputs, train=train)
        np.testing.assert_allclose(
            output.logits, inputs @ layer["kernel"] + layer["bias"], rtol=1e-6
        )
        assert output.intermediates == {}
        assert next_state == {}
    message = r"`overrides` names \['features'\], but the `__call__` of Plain\w+ takes"
    with pytest.raises(ValueError, match=message):
        apply_fn(params, state, inputs, train=False, overrides={"features": inputs})


@pytest.mark.parametrize("library", MODELS)
def test_state_of_any_kind_changes_in_train_mode_only(library):
    inputs = jnp.ones((4, 3))
    model = CountingNnx(nnx.Rngs(0))
    if library == "linen":
        module = CountingLinen()
        params, state = models.init_linen(module, jax.random.key(0), inputs)
        apply_fn, name = models.linen_apply_fn(module), "counters"
        assert set(state) == {"counters"}
    else:
        apply_fn, params, state = models.nnx_apply_fn(model)
        name = "calls"
        assert set(state) == {"calls"}
    for train, count in ((True, 1), (False, 1), (True, 2)):
        _, state = jitted(apply_fn)(params, state, inputs, train=train)
        assert jax.tree.leaves(state[name]) == [count]
    assert int(model.calls[...]) == 0
    assert float(model.seen[...]) == 0.0


def test_names_that_the_network_does_not_expose_are_refused(make):
    apply_fn, params, state = make()
    message = r"`overrides` names \['feature'\]; the model exposes \['features'\]"
    with pytest.raises(ValueError, match=message):
        apply_fn(params, state, INPUTS, train=False, overrides={"feature": INPUTS})


def test_an_nnx_model_with_dropout_needs_a_key_to_train():
    apply_fn, params, state = nnx_model()
    with pytest.raises(ValueError, match=r"`key` \(=None\) must be given with `train"):
        apply_fn(params, state, INPUTS, train=True)


def test_a_linen_module_with_dropout_needs_a_key_to_train():
    apply_fn, params, state = linen_model()
    with pytest.raises(Exception, match="dropout"):
        apply_fn(params, state, INPUTS, train=True)


def test_the_reference_networks_work_through_the_adapter():
    module = models.SmallCNN(2, channels=(2, 3), strides=(1, 2), normalise="batch")
    params, state = models.init_linen(module, jax.random.key(0), jnp.asarray(INPUTS))
    output, state = models.linen_apply_fn(module)(params, state, INPUTS, train=True)
    chex.assert_shape(output.logits, (4, 2))
    chex.assert_shape(output.intermediates["features"], (4, 3, 3, 3))
    assert float(jnp.max(jnp.abs(state["batch_stats"]["BatchNorm_1"]["mean"]))) > 0
