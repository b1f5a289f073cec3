"""Modules of other people: names of the switch, random streams, sown values."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

from xguide_jax import models, training

INPUTS = jnp.ones((4, 100))
KEY = jax.random.key(1)


class Deterministic(nn.Module):
    @nn.compact
    def __call__(self, inputs, deterministic=True):
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=deterministic)(inputs))


class Training(nn.Module):
    @nn.compact
    def __call__(self, inputs, training=False):
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not training)(inputs))


class IsTraining(nn.Module):
    @nn.compact
    def __call__(self, inputs, *, is_training):
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not is_training)(inputs))


class RunningAverage(nn.Module):
    @nn.compact
    def __call__(self, inputs, use_running_average=True):
        return nn.Dense(3)(nn.BatchNorm(use_running_average)(inputs))


class Forwarding(nn.Module):
    @nn.compact
    def __call__(self, inputs, **keywords):
        keep = nn.Dropout(0.5, deterministic=not keywords.get("train", False))
        return nn.Dense(3)(keep(inputs))


def passes(module, **settings):
    """The logits in train and in eval mode."""
    params, state = models.init_linen(module, jax.random.key(0), INPUTS, **settings)
    apply_fn = models.linen_apply_fn(module, **settings)
    inputs = INPUTS * jnp.arange(1.0, 5.0)[:, None]
    run = lambda train: (
        apply_fn(params, state, inputs, train=train, key=KEY if train else None)[
            0
        ].logits
    )
    return run(True), run(False)


@pytest.mark.parametrize(
    "module", [Deterministic(), Training(), IsTraining(), RunningAverage()]
)
def test_a_usual_name_of_the_switch_is_passed_on_with_its_sense(module):
    train, evaluation = passes(module)
    assert not np.allclose(train, evaluation)


def test_a_module_without_a_switch_is_refused_if_it_holds_dropout():
    with pytest.raises(ValueError, match=r"Forwarding.* runs Dropout at 'Dropout_0'"):
        passes(Forwarding())


def test_other_names_are_said_by_mode_arguments():
    settings = {"mode_arguments": lambda train: {"train": train}}
    train, evaluation = passes(Forwarding(), **settings)
    assert not np.allclose(train, evaluation)
    # That it is meant so can be said too.
    train, evaluation = passes(Forwarding(), mode_arguments=lambda train: {})
    np.testing.assert_array_equal(train, evaluation)


def test_a_mode_that_is_a_field_is_said_by_a_function():
    make = lambda train: nn.Sequential(
        [nn.Dropout(0.5, deterministic=not train), nn.Dense(3)]
    )
    train, evaluation = passes(make)
    assert not np.allclose(train, evaluation)
    with pytest.raises(ValueError, match="runs Dropout at"):
        passes(make(False))


@pytest.mark.parametrize(
    "layers",
    [[nn.Dense(3)], [nn.Dropout(0.0, deterministic=True), nn.Dense(3)]],
)
def test_a_module_that_needs_no_switch_is_not_refused(layers):
    train, evaluation = passes(nn.Sequential(layers))
    np.testing.assert_array_equal(train, evaluation)


class TwoStreams(nn.Module):
    """Dropout of ones by two random streams: which were kept, side by side."""

    @nn.compact
    def __call__(self, inputs, train=False):
        drop = lambda name: nn.Dropout(
            0.5, deterministic=not train, rng_collection=name
        )(inputs)
        return jnp.concatenate([drop("dropout"), drop("drop_path")], axis=-1)


def test_every_random_stream_is_fed_by_a_key_of_its_own():
    apply_fn = models.linen_apply_fn(TwoStreams())
    run = lambda key: apply_fn({}, {}, INPUTS, train=True, key=key)[0].logits
    one, two = jnp.split(run(KEY), 2, axis=-1)
    assert 0.3 < jnp.mean(one == 0) < 0.7
    assert 0.3 < jnp.mean(two == 0) < 0.7
    assert 0.3 < jnp.mean(one == two) < 0.7
    np.testing.assert_array_equal(run(KEY), jax.jit(run)(KEY))
    assert not np.array_equal(run(KEY), run(jax.random.key(2)))


class Sowing(nn.Module):
    @nn.compact
    def __call__(self, inputs, train=False):
        hidden = nn.BatchNorm(not train)(nn.Dense(8)(inputs))
        self.sow("losses", "activity", jnp.mean(hidden**2))
        carry = self.variable("carry", "pair", lambda: (jnp.zeros(()), jnp.ones(())))
        if train:
            carry.value = (carry.value[0] + 1, carry.value[1])
        return nn.Dense(3)(hidden)


def test_what_is_sown_is_no_state_and_a_tuple_that_is_kept_is():
    params, state = models.init_linen(Sowing(), jax.random.key(0), INPUTS)
    assert set(state) == {"batch_stats", "carry"}
    apply_fn, batch = (
        models.linen_apply_fn(Sowing()),
        {
            "inputs": INPUTS,
            "labels": jnp.array([0, 1, 2, 0]),
        },
    )
    optimizer = optax.sgd(0.1)
    step = jax.jit(training.make_train_step(apply_fn, {}, optimizer))
    current = training.init_train_state(
        jax.random.key(0), params, state, {}, optimizer, batch
    )
    for _ in range(2):
        current, _ = step(current, batch)
    assert current.model_state["carry"]["pair"] == (2, 1)
    # A state that somebody else made keeps its structure too.
    variables = Sowing().init(jax.random.key(0), INPUTS)
    own = {name: v for name, v in variables.items() if name != "params"}
    _, after = apply_fn(params, own, INPUTS, train=True)
    assert jax.tree.structure(after) == jax.tree.structure(own)


class Loss(nnx.Variable):
    pass


class SwitchedNnx(nnx.Module):
    def __init__(self, rngs):
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.dense = nnx.Linear(100, 3, rngs=rngs)

    def __call__(self, inputs, deterministic=True):
        self.sow(Loss, "activity", jnp.mean(inputs))
        return self.dense(self.dropout(inputs, deterministic=deterministic))


def test_an_nnx_model_is_told_by_its_own_switch_and_sows_no_state():
    apply_fn, params, state = models.nnx_apply_fn(SwitchedNnx(nnx.Rngs(0)))
    run = lambda train: apply_fn(params, state, INPUTS, train=train, key=KEY)
    (train, after), (evaluation, _) = run(True), run(False)
    assert after == state == {}
    assert not np.allclose(train.logits, evaluation.logits)


class ForwardingNnx(nnx.Module):
    """Passes its layers a mode of its own, which `train()` cannot change."""

    def __init__(self, rngs, layer):
        self.layer = layer
        self.dense = nnx.Linear(100, 3, rngs=rngs)

    def __call__(self, inputs, **keywords):
        train = keywords.get("inference", True) is False
        if isinstance(self.layer, nnx.BatchNorm):
            return self.dense(self.layer(inputs, use_running_average=not train))
        return self.dense(self.layer(inputs, deterministic=not train))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("layer", ["dropout", "norm"])
def test_an_nnx_model_that_hides_its_switch_is_refused_until_told(layer, jit):
    rngs = nnx.Rngs(0)
    layer = {
        "dropout": lambda: nnx.Dropout(0.5, rngs=rngs),
        "norm": lambda: nnx.BatchNorm(100, rngs=rngs),
    }[layer]()
    model = ForwardingNnx(rngs, layer)

    def run(train, **settings):
        apply_fn, params, state = models.nnx_apply_fn(model, **settings)
        call = lambda inputs: apply_fn(params, state, inputs, train=train, key=KEY)[0]
        inputs = INPUTS * jnp.arange(1.0, 5.0)[:, None]
        return (jax.jit(call) if jit else call)(inputs).logits

    with pytest.raises(ValueError, match=r"`model` \(ForwardingNnx\) runs its dropout"):
        run(True)
    run(False)
    told = {"mode_arguments": lambda train: {"inference": not train}}
    assert not np.allclose(run(True, **told), run(False, **told))


class FieldNnx(nnx.Module):
    """Keeps its mode in a field of its own."""

    def __init__(self, rngs):
        self.training = False
        self.dense = nnx.Linear(100, 3, rngs=rngs)

    def __call__(self, inputs):
        return self.dense(inputs) + (1.0 if self.training else 0.0)


def test_a_switch_that_is_a_field_of_an_nnx_model_is_set():
    model = FieldNnx(nnx.Rngs(0))
    apply_fn, params, state = models.nnx_apply_fn(model)
    train, evaluation = (
        apply_fn(params, state, INPUTS, train=train)[0].logits
        for train in (True, False)
    )
    np.testing.assert_allclose(train, evaluation + 1.0, rtol=1e-6)
    assert not model.training
